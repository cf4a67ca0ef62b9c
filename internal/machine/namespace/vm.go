// Package namespace plays a machine with a process in a network namespace of its own:
// the same guest as in a UML, started in milliseconds, cabled with a veth.
//
// In: a model.MachineConfig. Out: a [VM] with the same methods as a UML's. The VM's
// half of a veth pair is moved into the namespace when it is plugged, and given back
// when it is unplugged or the machine ends: that the pair lives on is why the VM
// keeps the namespace open.
//
// It imports model, kernel, machine/guest and machine/procs.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// GuestCommand is the hidden command of the executable that runs guest.Process.
const GuestCommand = "machine-guest"

// VM is a running machine.
type VM struct {
	host    *kernel.Kernel // the namespace that the cables lead to
	inside  *kernel.Kernel // the machine's own
	cmd     *exec.Cmd
	console *os.File
	agent   *os.File

	done chan struct{}
	err  error

	mu     sync.Mutex
	cables map[string]string // NIC in the guest to the host's link
}

// Start starts a machine with self, the executable that knows [GuestCommand]. The
// calling thread must be locked, and live as long as this process.
func Start(ctx context.Context, host *kernel.Kernel, m model.MachineConfig, self string) (*VM, error) {
	config, err := guest.NewConfig(model.MachineConfig{Name: m.Name, VMM: m.VMM}, "").Encode()
	if err != nil {
		return nil, err
	}
	vm := &VM{host: host, done: make(chan struct{}), cables: map[string]string{}}
	if err := vm.start(self, config); err != nil {
		return nil, err
	}
	// An open descriptor keeps the namespace when its last process has ended.
	vm.inside, err = kernel.OpenPath(fmt.Sprintf("/proc/%d/ns/net", vm.PID()))
	if err != nil {
		vm.Kill()
		<-vm.done
		return nil, errors.Join(err, vm.console.Close(), vm.agent.Close())
	}
	for _, nic := range m.NICs {
		if nic.Link == "" {
			continue
		}
		if err := vm.Plug(ctx, nic); err != nil {
			vm.Kill()
			<-vm.done
			return nil, errors.Join(err, vm.Close())
		}
	}
	return vm, nil
}

func (vm *VM) start(self string, config []byte) error {
	console, tty, err := openPTY()
	if err != nil {
		return err
	}
	defer tty.Close()
	line, theirLine, err := procs.SocketPair("agent")
	if err != nil {
		return errors.Join(err, console.Close())
	}
	defer theirLine.Close()
	told, tell, err := os.Pipe()
	if err != nil {
		return errors.Join(err, console.Close(), line.Close())
	}
	defer told.Close()
	vm.console, vm.agent = console, line
	flags := uintptr(unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWNS)
	build := func(uintptr) *exec.Cmd {
		cmd := exec.Command(self, GuestCommand)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.ExtraFiles = []*os.File{theirLine, told}
		cmd.Env = append(os.Environ(), guest.OwnNamespaces+"=um")
		return cmd
	}
	vm.cmd, _, err = procs.Start(build, flags, 0, procs.User{}, true)
	if err != nil {
		err = fmt.Errorf("network namespace of its own: %w: %w (hint: run as root, or where unprivileged user namespaces are allowed)", model.ErrDenied, err)
		return errors.Join(err, console.Close(), line.Close(), tell.Close())
	}
	go func() {
		vm.err = vm.cmd.Wait()
		close(vm.done)
	}()
	_, err = tell.Write(config)
	return errors.Join(err, tell.Close())
}

// Booted frees what only the boot needed: nothing.
func (vm *VM) Booted() {}

// PID is the machine's process.
func (vm *VM) PID() int { return vm.cmd.Process.Pid }

// Console is its terminal.
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

// Kill ends it at once.
func (vm *VM) Kill() { procs.Kill(vm.cmd) }

// Pause stops its process, Resume lets it go on.
func (vm *VM) Pause(context.Context) error { return unix.Kill(-vm.cmd.Process.Pid, unix.SIGSTOP) }

// Resume undoes Pause.
func (vm *VM) Resume(context.Context) error { return unix.Kill(-vm.cmd.Process.Pid, unix.SIGCONT) }

// Insist asks its process to end.
func (vm *VM) Insist(context.Context) { _ = vm.cmd.Process.Signal(unix.SIGTERM) }

// Plug moves the VM's half of the veth pair into the machine, under the NIC's name.
func (vm *VM) Plug(ctx context.Context, nic model.NICConfig) error {
	half := model.PeerName(nic.Link)
	move := model.MoveLink{Link: half, Namespace: fmt.Sprintf("pid:%d", vm.PID()), NewName: nic.Name}
	if _, err := vm.host.Do(ctx, move); err != nil {
		return fmt.Errorf("NIC %s: %w", nic.Name, err)
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.cables[nic.Name] = nic.Link
	return nil
}

// Unplug gives the half back to the host, under its old name.
func (vm *VM) Unplug(ctx context.Context, nic string) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	link, ok := vm.cables[nic]
	if !ok {
		return fmt.Errorf("NIC %s has no cable: %w", nic, model.ErrNotFound)
	}
	back := model.MoveLink{Link: nic, Namespace: fmt.Sprintf("pid:%d", os.Getpid()), NewName: model.PeerName(link)}
	// ErrNotFound: the host has deleted the pair meanwhile.
	if _, err := vm.inside.Do(ctx, back); err != nil && !errors.Is(err, model.ErrNotFound) {
		return fmt.Errorf("NIC %s: %w", nic, err)
	}
	delete(vm.cables, nic)
	return nil
}

// Close gives the cables of an ended machine back to the host.
func (vm *VM) Close() error {
	vm.mu.Lock()
	var nics []string
	for nic := range vm.cables {
		nics = append(nics, nic)
	}
	vm.mu.Unlock()
	var errs []error
	for _, nic := range nics {
		errs = append(errs, vm.Unplug(context.Background(), nic))
	}
	if vm.inside != nil {
		errs = append(errs, vm.inside.Close())
	}
	return errors.Join(append(errs, vm.console.Close(), vm.agent.Close())...)
}

// openPTY opens a terminal: our side, and the machine's.
func openPTY() (ours, theirs *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("console: /dev/ptmx: %w", err)
	}
	ours = os.NewFile(uintptr(fd), "console")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("console: unlock: %w", err), ours.Close())
	}
	// By number and not by name: /dev/pts may be another mount's (TIOCGPTPEER, Linux 4.13).
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, nil, errors.Join(fmt.Errorf("console: its terminal: %w", errno), ours.Close())
	}
	return ours, os.NewFile(peer, "tty"), nil
}
