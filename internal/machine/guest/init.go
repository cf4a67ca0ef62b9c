package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// IsInit tells whether this process is the /init of a machine's initrd.
func IsInit() bool { return os.Getpid() == 1 && os.Args[0] == "/init" }

// Init is process 1 of a machine. It never returns: when process 1 ends, the kernel
// panics, so whatever goes wrong is printed, and the machine halts.
func Init() {
	defer func() {
		if r := recover(); r != nil {
			fmt.Println("drawbridge: panic:", r)
		}
		powerOff("init ended")
	}()
	if err := initMachine(); err != nil {
		fmt.Println("drawbridge:", err)
	}
}

// powerOff ends the machine, and waits for ever where that does not work.
func powerOff(why string) {
	fmt.Println("drawbridge: halt:", why)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func initMachine() error {
	for _, m := range []struct{ kind, on string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.on, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.on, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.on, err)
		}
	}
	// With CAD on, mconsole's cad resets at once; off, it is a SIGINT to process 1
	// (kernel/reboot.c, ctrl_alt_del).
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return fmt.Errorf("ctrl-alt-del: %w", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGPWR)
	go func() { powerOff((<-signals).String()) }()
	if err := loadModules(ModuleDir); err != nil {
		fmt.Println("drawbridge:", err) // without IPv6, but a machine
	}
	b, err := os.ReadFile(ConfigPath)
	if err != nil {
		return err
	}
	config, err := DecodeConfig(b)
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(config.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if config.Root != nil {
		return enterRoot(*config.Root)
	}
	line, err := openLine(config.Line)
	if err != nil {
		return err
	}
	g, err := newGuest(config, consoleStreams{}, powerOff)
	if err != nil {
		return err
	}
	g.nics.names.use()
	return g.run(context.Background(), line)
}

// loadModules loads the initrd's modules in the order of their names.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko*"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		flags := 0
		if filepath.Ext(name) != ".ko" {
			flags = unix.MODULE_INIT_COMPRESSED_FILE // .ko.xz, .ko.zst
		}
		err = unix.FinitModule(int(f.Fd()), "", flags)
		f.Close()
		_ = os.Remove(name) // the initrd's files are memory
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("module %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// openLine opens a serial line as a channel of bytes: no echo, no signals, no
// translation (cfmakeraw of termios(3)).
func openLine(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	for end := time.Now().Add(time.Second); err != nil && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if errors.Is(err, unix.ENOTTY) {
		return os.NewFile(uintptr(fd), path), nil // a QEMU's virtio port is no terminal
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// consoleStreams are this process's own.
type consoleStreams struct{}

func (consoleStreams) Read(b []byte) (int, error)  { return os.Stdin.Read(b) }
func (consoleStreams) Write(b []byte) (int, error) { return os.Stdout.Write(b) }
