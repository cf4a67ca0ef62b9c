package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// VM is a running QEMU.
type VM struct {
	host    *kernel.Kernel // the namespace of its taps
	kvm     bool
	cpus    int
	who     procs.User
	cmd     *exec.Cmd
	console *os.File
	agent   *os.File // nil where the guest is not ours
	monitor *monitor

	done chan struct{} // closed when it has ended
	err  error         // how; to be read after done

	release string // of the embedded guest's kernel

	mu      sync.Mutex
	ports   map[string]int    // of the PCIe ports, by the NIC's name
	how     map[string]string // each gets at its cable, by the NIC's name
	deleted map[string]chan struct{}
	end     shutdown // the last that the QEMU said of its end
}

// shutdown is the data of the event SHUTDOWN.
type shutdown struct {
	Guest  bool   `json:"guest"`
	Reason string `json:"reason"`
}

// Start boots a machine in the working directory. init is the static executable that
// becomes the embedded guest's /init, kept the folder of the overlays that are kept. The calling thread must be locked, and live as
// long as this process: the QEMU ends with it.
func Start(ctx context.Context, host *kernel.Kernel, m model.MachineConfig, init, kept string) (*VM, error) {
	p, err := prepare(ctx, m, kept)
	if err != nil {
		return nil, err
	}
	s := &starter{m: m, prepared: p, vm: &VM{
		host: host, kvm: p.kvm, cpus: max(m.CPUs, 1), who: p.who, done: make(chan struct{}),
		release: p.kernel.release, ports: map[string]int{}, how: map[string]string{}, deleted: map[string]chan struct{}{},
	}}
	defer s.closeFiles()
	if err := s.build(ctx, init); err != nil {
		return nil, errors.Join(err, s.undo())
	}
	if err := s.run(ctx); err != nil {
		return nil, errors.Join(err, s.undo())
	}
	return s.vm, nil
}

func (vm *VM) start(path string, args []string, files []*os.File, console *os.File) error {
	vm.cmd = exec.Command(path, args...)
	vm.cmd.Stdin, vm.cmd.Stdout, vm.cmd.Stderr = nil, console, console
	vm.cmd.ExtraFiles = files
	// The signal is the thread's: see Start. It outlives the change of the user, which
	// comes before it.
	vm.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: vm.who.Credential}
	if err := vm.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		err := vm.cmd.Wait()
		// What it said last is read to its end.
		<-vm.monitor.gone
		vm.err = vm.howEnded(err)
		close(vm.done)
	}()
	return nil
}

// howEnded makes one of how the process ended and of what it said before.
func (vm *VM) howEnded(err error) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	switch {
	case err != nil:
		return err
	case vm.end.Reason == "guest-panic":
		return errors.New("a panic of its kernel")
	case vm.end.Reason == "guest-reset":
		// With -no-reboot a guest that resets is one whose kernel has panicked.
		return errors.New("a reset by its kernel, as after a panic")
	default:
		return nil
	}
}

// event takes what the monitor tells unasked.
func (vm *VM) event(name string, data json.RawMessage) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	switch name {
	case "SHUTDOWN":
		_ = json.Unmarshal(data, &vm.end) // its reason is for words only
	case "DEVICE_DELETED":
		var d struct {
			Device string `json:"device"`
		}
		_ = json.Unmarshal(data, &d) // without a name: a part of a device
		if gone := vm.deleted[d.Device]; gone != nil {
			delete(vm.deleted, d.Device)
			close(gone)
		}
	}
}

// Accel is what carries out the guest's instructions: kvm or tcg.
func (vm *VM) Accel() string {
	if vm.kvm {
		return accelKVM
	}
	return accelTCG
}

// Booted frees what only the boot needed. The QEMU has its initrd open, and reads it
// again when the guest resets.
func (vm *VM) Booted() { _ = os.Remove(initrdFile) }

// Version is the guest's kernel, where it is known.
func (vm *VM) Version(context.Context) (string, error) {
	if vm.release == "" {
		return "", nil
	}
	return "Linux " + vm.release, nil
}

// Transport is how a NIC gets at its cable.
func (vm *VM) Transport(nic string) string {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.how[nic]
}

// Pause stops the guest's processors, Resume lets them go on.
func (vm *VM) Pause(ctx context.Context) error {
	_, err := vm.monitor.do(ctx, "stop", nil)
	return err
}

// Resume undoes Pause.
func (vm *VM) Resume(ctx context.Context) error {
	_, err := vm.monitor.do(ctx, "cont", nil)
	return err
}

// PID is the QEMU's process.
func (vm *VM) PID() int { return vm.cmd.Process.Pid }

// Console is the machine's serial line.
func (vm *VM) Console() io.ReadWriteCloser { return vm.console }

// Agent is the channel to the guest's agent, nil where the guest has none.
func (vm *VM) Agent() io.ReadWriteCloser {
	if vm.agent == nil {
		return nil
	}
	return vm.agent
}

// Done is closed when the machine has ended.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Err tells how it ended, nil for a halt.
func (vm *VM) Err() error {
	<-vm.done
	return vm.err
}

// Kill ends it at once.
func (vm *VM) Kill() { procs.Kill(vm.cmd) }

// Insist presses the power button, and pulls the plug when ctx ends and the guest has
// not shut down.
func (vm *VM) Insist(ctx context.Context) {
	if _, err := vm.monitor.do(ctx, "system_powerdown", nil); err == nil {
		select {
		case <-vm.done:
			return
		case <-ctx.Done():
		}
	}
	// Before it is killed: what it has not yet written to an image is written.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	_, _ = vm.monitor.do(ctx, "quit", nil)
	select {
	case <-vm.done:
	case <-ctx.Done():
	}
}

// Close closes the channels of an ended machine.
func (vm *VM) Close() error {
	errs := []error{vm.console.Close(), vm.monitor.close()}
	if vm.agent != nil {
		errs = append(errs, vm.agent.Close())
	}
	return errors.Join(errs...)
}

// unixConn makes a connection of one end of a socket pair.
func unixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("monitor: %w: no unix socket", model.ErrInvalid), c.Close())
	}
	return u, nil
}
