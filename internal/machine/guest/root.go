package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Root is what a guest that is not ours runs from.
type Root struct {
	// Device is the block device, "" for a folder of the host.
	Device string `json:"device,omitempty"`
	// Type is the file system's: hostfs, ext4 ...
	Type     string `json:"type"`
	ReadOnly bool   `json:"read_only,omitempty"`
	// Scratch: what is written goes into the guest's memory, over a root that stays as it is.
	Scratch bool `json:"scratch,omitempty"`
	// Init is the program that becomes process 1, "" for the first that is there.
	Init string `json:"init,omitempty"`
}

// AgentName is how the agent of a guest that is not ours is called. systemd spares
// processes whose name begins with @ when it ends all others (systemd.io/ROOT_STORAGE_DAEMONS).
const AgentName = "@drawbridge-agent"

// IsAgent tells whether this process is such an agent.
func IsAgent() bool { return os.Args[0] == AgentName }

// Agent is the agent of a guest that is not ours: it was started by /init, keeps the
// initrd as its root, and looks after the NICs while the guest's own process 1 runs.
func Agent() {
	if err := runAgent(); err != nil {
		fmt.Println("drawbridge:", err)
		os.Exit(1)
	}
}

func runAgent() error {
	b, err := os.ReadFile(ConfigPath)
	if err != nil {
		return err
	}
	config, err := DecodeConfig(b)
	if err != nil {
		return err
	}
	line, err := openLine(config.Line)
	if err != nil {
		return err
	}
	g, err := newGuest(config, consoleStreams{}, askInit)
	if err != nil {
		return err
	}
	g.nics.names.use()
	return g.run(context.Background(), line)
}

// inits are the programs that a kernel tries (init/main.c, kernel_init).
var inits = []string{"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"}

const newRoot = "/root"

// enterRoot mounts the root, leaves an agent behind, and becomes the guest's own process 1.
func enterRoot(r Root) error {
	if err := mountRoot(r); err != nil {
		return err
	}
	program, err := findInit(r)
	if err != nil {
		return err
	}
	agent := exec.Command("/proc/self/exe")
	agent.Args = []string{AgentName}
	agent.Stdout, agent.Stderr = os.Stdout, os.Stderr
	agent.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := agent.Start(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	// Instances of their own: the agent keeps those of the initrd.
	for _, m := range []struct{ kind, on string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.kind, newRoot+m.on, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			fmt.Printf("drawbridge: the guest has no %s: %v\n", m.on, err) // its own init may make it
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	// What switch_root(8) does, but for emptying the initrd: the agent lives in it.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	terminal()
	fmt.Println("drawbridge: process 1 is", program)
	err = unix.Exec(program, []string{program}, []string{"HOME=/", "TERM=linux", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
	return fmt.Errorf("%s: %w", program, err)
}

func mountRoot(r Root) error {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	on, flags := newRoot, uintptr(0)
	if r.ReadOnly || r.Scratch {
		flags = unix.MS_RDONLY
	}
	if r.Scratch {
		on = "/below"
		if err := os.MkdirAll(on, 0o755); err != nil {
			return err
		}
	}
	source := r.Device
	if source == "" {
		source = "none"
	} else if err := waitFor(source); err != nil {
		return err
	}
	if err := unix.Mount(source, on, r.Type, flags, ""); err != nil {
		return fmt.Errorf("mount the root, %s from %s: %w", r.Type, source, err)
	}
	if !r.Scratch {
		return nil
	}
	if err := errors.Join(os.MkdirAll("/above", 0o755), unix.Mount("tmpfs", "/above", "tmpfs", 0, "mode=0755"),
		os.Mkdir("/above/upper", 0o755), os.Mkdir("/above/work", 0o755)); err != nil {
		return fmt.Errorf("room for what is written: %w", err)
	}
	if err := unix.Mount("overlay", newRoot, "overlay", 0, "lowerdir=/below,upperdir=/above/upper,workdir=/above/work"); err != nil {
		return fmt.Errorf("mount the overlay: %w", err)
	}
	return nil
}

// waitFor waits for a device to appear: partitions are found a moment after their disk.
func waitFor(device string) error {
	var err error
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err = os.Stat(device); err == nil {
			return nil
		}
	}
	return err
}

// findInit chooses what becomes process 1. Links in it lead within the new root, where
// they cannot be followed from here: that there is something is enough.
func findInit(r Root) (string, error) {
	tries := inits
	if r.Init != "" {
		tries = []string{r.Init}
	}
	for _, program := range tries {
		if _, err := os.Lstat(filepath.Join(newRoot, program)); err == nil {
			return program, nil
		}
	}
	return "", fmt.Errorf("the root has no %s", strings.Join(tries, ", no "))
}

// terminal makes the machine's terminal this process's: for a shell as process 1. An
// init opens its terminals itself.
func terminal() {
	fd, err := unix.Open("/dev/tty1", unix.O_RDWR, 0)
	if err != nil {
		return
	}
	_, _ = unix.Setsid()
	_ = unix.IoctlSetInt(fd, unix.TIOCSCTTY, 1)
	for std := range 3 {
		_ = unix.Dup3(fd, std, 0)
	}
	if fd > 2 {
		_ = unix.Close(fd)
	}
}

// guestRoot is the root of the guest's own process 1, seen from the agent.
const guestRoot = "/proc/1/root"

// askInit asks the guest's own process 1 to end the machine, in the one way that all of
// them have in common; where there is none, the kernel is.
func askInit(why string) {
	fmt.Println("drawbridge: power off:", why)
	for _, program := range []string{"/sbin/poweroff", "/usr/sbin/poweroff", "/bin/poweroff", "/usr/bin/poweroff"} {
		if _, err := os.Lstat(filepath.Join(guestRoot, program)); err != nil {
			continue
		}
		cmd := exec.Command(program)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: guestRoot}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err == nil {
			return
		}
	}
	powerOff(why)
}
