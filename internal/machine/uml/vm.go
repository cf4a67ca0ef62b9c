package uml

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/initrd"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// VM is a running UML.
type VM struct {
	kernel   Kernel
	cmd      *exec.Cmd
	pid      int
	console  *os.File
	agent    *os.File
	mconsole mconsole

	done chan struct{} // closed when the first process has ended
	err  error         // how; to be read after done

	mu      sync.Mutex
	devices map[string]device // by the NIC's name in the guest
	units   map[string]int
}

// Ready tells what would keep machines from being started here, all of it at once: no
// kernel, no place for the guests' memory, a root that cannot be used. kept is the folder
// of the overlays that are kept.
func Ready(ctx context.Context, list []model.MachineConfig, kept string) error {
	var errs []error
	var memory int64
	for _, m := range list {
		memory += max(m.Memory, DefaultMemory)
		who, err := procs.UserOf(m.Owner)
		if err == nil {
			_, err = checkRoot(m, kept, who)
			_, ferr := find(ctx, m.Kernel, who)
			err = errors.Join(err, ferr)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("machine %s: %w", m.Name, err))
		}
	}
	if _, err := memoryDir(memory, procs.User{Name: "this user"}); err != nil {
		what := "machine " + list[0].Name
		if len(list) > 1 {
			what = fmt.Sprintf("%d machines", len(list))
		}
		errs = append(errs, fmt.Errorf("%s: %w", what, err))
	}
	return errors.Join(errs...)
}

// Start boots a machine in the working directory. init is the static executable that
// becomes the guest's /init, kept the folder of the overlays that are kept. The calling thread must be locked, and live as long as
// this process: the UML ends with it.
func Start(ctx context.Context, m model.MachineConfig, init, kept string) (*VM, error) {
	if m.Memory == 0 {
		m.Memory = DefaultMemory
	}
	who, err := procs.UserOf(m.Owner)
	if err != nil {
		return nil, err
	}
	r, err := checkRoot(m, kept, who)
	if err != nil {
		return nil, err
	}
	var program string
	if !r.embedded {
		program, m.Args = splitInit(m.Args)
	}
	k, err := find(ctx, m.Kernel, who)
	if err != nil {
		return nil, err
	}
	vm := &VM{
		kernel: k, done: make(chan struct{}), mconsole: mconsole{socketPath, mconsolePath, who},
		devices: map[string]device{}, units: map[string]int{},
	}
	var devices []device
	for _, nic := range m.NICs {
		if nic.Link == "" {
			continue
		}
		d, err := vm.addDevice(nic)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	size, err := writeInitrd(m, k, init, &r, program)
	if err != nil {
		return nil, err
	}
	m.Memory = max(m.Memory, leastMemory(size))
	dir, err := memoryDir(m.Memory, who)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Mkdir(umlDir, 0o700), who.OwnPath(umlDir)); err != nil {
		return nil, fmt.Errorf("uml: %w", err)
	}
	if who.Credential != nil {
		// It finds its files by names in its working directory, this one, to which nobody
		// else has a way: what lies above it is closed.
		if err := os.Chmod(".", 0o711); err != nil {
			return nil, fmt.Errorf("uml: %w", err)
		}
	}
	if err := r.prepare(m.Name); err != nil {
		return nil, err
	}
	if err := vm.start(m, devices, dir, init, &r); err != nil {
		return nil, errors.Join(err, Sweep("."))
	}
	return vm, nil
}

// find finds the kernel, which the machine's user must be able to run.
func find(ctx context.Context, path string, who procs.User) (Kernel, error) {
	k, err := Find(ctx, path)
	if err != nil {
		return k, err
	}
	if err := who.CanAccess(k.Path, unix.X_OK); err != nil {
		return k, fmt.Errorf("kernel %s: %w: %s, as whom the machine runs, may not run it: %w", k.Path, model.ErrDenied, who.Name, err)
	}
	return k, nil
}

func writeInitrd(m model.MachineConfig, k Kernel, init string, r *root, program string) (size int64, err error) {
	c := guest.NewConfig(m, agentLine)
	c.Root = r.guest(program)
	config, err := c.Encode()
	if err != nil {
		return 0, err
	}
	i := initrd.Initrd{Init: init, Config: config}
	names := r.modules()
	if k.IPv6Module {
		names = append(names, "ipv6")
	}
	if len(names) > 0 {
		modules, err := initrd.ReadModules(filepath.Join(modulesRoot, k.Release))
		// Without its modules installed the machine has no IPv6, or cannot mount its root,
		// and says so itself.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		i.Modules, _ = modules.InOrder(names...)
	}
	f, err := os.OpenFile(initrdFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("initrd: %w", err)
	}
	err = errors.Join(r.who.Own(f), i.Write(f))
	if st, serr := f.Stat(); serr == nil {
		size = st.Size()
	}
	return size, errors.Join(err, f.Close())
}

func (vm *VM) start(m model.MachineConfig, devices []device, memory, init string, r *root) error {
	console, theirConsole, err := procs.SocketPair("console")
	if err != nil {
		return err
	}
	line, theirLine, err := procs.SocketPair("agent")
	if err != nil {
		return errors.Join(err, console.Close(), theirConsole.Close())
	}
	defer theirConsole.Close()
	defer theirLine.Close()
	vm.console, vm.agent = console, line
	files := []*os.File{theirLine}
	if r.given() {
		f, err := os.OpenFile(r.overlay, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			return errors.Join(fmt.Errorf("overlay: %w", err), console.Close(), line.Close())
		}
		defer f.Close()
		files = append(files, f)
	}
	argv := append([]string{vm.kernel.Path}, arguments(m, r, devices)...)
	build := func(flags uintptr) *exec.Cmd {
		cmd := exec.Command(argv[0], argv[1:]...)
		if flags&unix.CLONE_NEWPID != 0 {
			inside := procs.Init{ReadOnly: r.readOnlyFolder(), IDs: r.who.IDs(), Files: agentFD + len(files)}
			cmd = exec.Command(init, inside.Arguments(argv)...)
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirConsole, theirConsole, theirConsole
		cmd.ExtraFiles = files
		cmd.Env = append(os.Environ(), "TMPDIR="+memory)
		return cmd
	}
	var flags uintptr
	must, need := false, uintptr(0)
	if r.readOnlyFolder() != "" {
		must, need = true, unix.CLONE_NEWNS
	}
	err = withoutASLR(func() error {
		vm.cmd, flags, err = procs.Start(build, need, os.Geteuid(), r.who, must)
		return err
	})
	if err != nil && must {
		err = fmt.Errorf("the folder cannot be made read-only for the machine here: %w (hint: writes: through, if it may be written to)", err)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", vm.kernel.Path, err), console.Close(), line.Close())
	}
	go func() {
		vm.err = vm.cmd.Wait()
		// Where there was no PID namespace, its other processes live on.
		procs.Kill(vm.cmd)
		close(vm.done)
	}()
	vm.pid = vm.cmd.Process.Pid
	if flags&unix.CLONE_NEWPID != 0 {
		if pid, err := procs.ChildOf(vm.pid); err == nil {
			vm.pid = pid
		}
	}
	return nil
}

const addrNoRandomize = 0x0040000 // ADDR_NO_RANDOMIZE, personality(2)

// withoutASLR runs fn with address randomisation off for the processes that this
// thread starts: with it a UML's page tables take a random share of its memory.
func withoutASLR(fn func() error) error {
	old, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if errno == 0 {
		if _, _, errno = unix.RawSyscall(unix.SYS_PERSONALITY, old|addrNoRandomize, 0, 0); errno == 0 {
			defer func() { _, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, old, 0, 0) }()
		}
	}
	return fn()
}

// Booted frees what only the boot needed.
func (vm *VM) Booted() { _ = os.Remove(initrdFile) }

// PID is the UML's first process: the one that holds its taps.
func (vm *VM) PID() int { return vm.pid }

// Console is the machine's first console.
func (vm *VM) Console() io.ReadWriteCloser { return vm.console }

// Agent is the channel to the guest's agent.
func (vm *VM) Agent() io.ReadWriteCloser { return vm.agent }

// Done is closed when the machine has ended.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Err tells how it ended, nil for a halt.
func (vm *VM) Err() error {
	<-vm.done
	return vm.err
}

// Kill ends all of its processes at once.
func (vm *VM) Kill() { procs.Kill(vm.cmd) }

// Insist ends a machine whose agent did not: by Ctrl-Alt-Del, then by UML's own halt.
func (vm *VM) Insist(ctx context.Context) {
	for _, command := range []string{"cad", "halt"} {
		if _, err := vm.mconsole.do(ctx, command); err != nil && vm.ended(0) {
			return
		}
		if vm.ended(1500 * time.Millisecond) {
			return
		}
	}
}

func (vm *VM) ended(within time.Duration) bool {
	select {
	case <-vm.done:
		return true
	case <-time.After(within):
		return false
	}
}

// Pause stops the kernel: it answers its management console only.
func (vm *VM) Pause(ctx context.Context) error {
	_, err := vm.mconsole.do(ctx, "stop")
	return err
}

// Resume lets a paused kernel go on.
func (vm *VM) Resume(ctx context.Context) error {
	_, err := vm.mconsole.do(ctx, "go")
	return err
}

// SysRq presses a key of the kernel's magic SysRq, and returns what it says.
func (vm *VM) SysRq(ctx context.Context, key string) (string, error) {
	// Its answer is what the kernel prints on its console, which a quiet one keeps to
	// itself: the digits are keys, too, and set how much is printed.
	if _, err := vm.mconsole.do(ctx, "sysrq 7"); err != nil {
		return "", err
	}
	text, err := vm.mconsole.do(ctx, "sysrq "+key)
	if key >= "0" && key <= "9" {
		return text, err
	}
	// A key may have ended it.
	_, _ = vm.mconsole.do(context.WithoutCancel(ctx), "sysrq "+quietLevel)
	return text, err
}

// quietLevel is the log level of a kernel that is started with "quiet".
const quietLevel = "4"

// Version is the guest kernel's, as uname(1) tells it.
func (vm *VM) Version(ctx context.Context) (string, error) {
	text, err := vm.mconsole.do(ctx, "version")
	return strings.TrimSpace(text), err
}

// Transport is how a NIC gets at its cable.
func (vm *VM) Transport(nic string) string {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.devices[nic].transport
}

// Plug adds the NIC's device to the running kernel. Success does not mean that its
// transport works: UML opens that when the guest raises the device.
func (vm *VM) Plug(ctx context.Context, nic model.NICConfig) error {
	d, err := vm.addDevice(nic)
	if err != nil {
		return err
	}
	if _, err := vm.mconsole.do(ctx, "config "+d.argument()); err != nil {
		vm.forget(nic.Name)
		return err
	}
	return nil
}

// Unplug removes the NIC's device, which the guest has taken down before.
func (vm *VM) Unplug(ctx context.Context, nic string) error {
	vm.mu.Lock()
	d, ok := vm.devices[nic]
	vm.mu.Unlock()
	if !ok {
		return fmt.Errorf("NIC %s has no device: %w", nic, model.ErrNotFound)
	}
	// The kernel lets go of the device a little after the guest took it down.
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := vm.mconsole.do(ctx, "remove "+d.name)
		var refused *errMconsole
		if err == nil {
			break
		}
		if errors.As(err, &refused) && strings.Contains(refused.words, "doesn't exist") {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
	}
	vm.forget(nic)
	return nil
}

func (vm *VM) addDevice(nic model.NICConfig) (device, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	var taken []int
	for _, n := range vm.units {
		taken = append(taken, n)
	}
	unit, err := unitFor(nic.Name, taken)
	if err != nil {
		return device{}, err
	}
	d, err := newDevice(vm.kernel, unit, nic)
	if err != nil {
		return device{}, err
	}
	vm.units[nic.Name], vm.devices[nic.Name] = unit, d
	return d, nil
}

func (vm *VM) forget(nic string) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	delete(vm.units, nic)
	delete(vm.devices, nic)
}

// Close closes the channels of an ended machine.
func (vm *VM) Close() error { return errors.Join(vm.console.Close(), vm.agent.Close()) }
