package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/child"
	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/agent"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// The shim's patience.
const (
	bootTimeout = 60 * time.Second
	// Every instruction may be emulated.
	emulatedBootTimeout = 3 * time.Minute
	beginTime           = 500 * time.Millisecond // for a machine that tells nothing
	haltTimeout         = 3 * time.Second        // for a guest that was asked to halt
	// A guest that is not ours has services to end first.
	foreignHaltTimeout = 20 * time.Second
	nicTimeout         = 8 * time.Second // to configure, plug or unplug one
	tailLines          = 12              // of the console, in an error
)

// shim is the process of one machine.
type shim struct {
	dir    string
	config shimConfig
	kernel *kernel.Kernel
	listen *net.UnixListener

	console *console
	vm      vmm
	agent   *agent.Client

	// change is held while NICs or the machine's life are changed: one at a time.
	change sync.Mutex
	// mu guards the following, vm, agent and config.Machine.NICs.
	mu       sync.Mutex
	state    string
	failed   error // why there is no vm: it could not be started again
	restarts int
	lastEnd  string // how it ended before it was started again
	started  time.Time
	patience time.Duration // of who wants it stopped; 0 for what is usual

	stopOnce sync.Once
	stop     chan struct{} // closed when somebody wants it stopped
	finished chan struct{} // closed when it is gone, and all is cleaned up
	result   error         // of the clean-up; after finished
	note     string        // of the stop: how the guest was brought to it; after finished
	calls    sync.WaitGroup
}

// RunShim is the hidden command machine-shim: it runs the machine whose folder is dir
// until it ends. It is started by a [Manager], which waits for its report.
func RunShim(dir string) error {
	// The VMM ends with the thread that started it (PR_SET_PDEATHSIG): this one, which
	// lives as long as the shim.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
	unix.Umask(0o077)
	child.Inherit()
	s := &shim{dir: dir, state: stateStarting, stop: make(chan struct{}), finished: make(chan struct{})}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM)
	go func() {
		<-asked
		s.askStop()
	}()
	err := s.boot()
	if err != nil {
		err = errors.Join(err, s.discard())
	}
	child.Report(replyError(err))
	if err != nil {
		close(s.finished)
		s.calls.Wait()
		return err
	}
	return s.live()
}

func (s *shim) askStop() { s.stopOnce.Do(func() { close(s.stop) }) }

// boot starts the machine, and returns when its agent has answered.
func (s *shim) boot() error {
	// Unix sockets' paths have 108 bytes: all of ours are relative to here.
	if err := os.Chdir(s.dir); err != nil {
		return fmt.Errorf("machine's folder: %w", err)
	}
	if err := child.ReadJSON(configFile, &s.config); err != nil {
		return fmt.Errorf("machine's configuration: %w", err)
	}
	var err error
	if s.kernel, err = kernel.Open(); err != nil {
		return err
	}
	if s.console, err = openConsole(consoleFile); err != nil {
		return fmt.Errorf("console's log: %w", err)
	}
	if s.listen, err = net.ListenUnix("unix", &net.UnixAddr{Name: socketFile, Net: "unix"}); err != nil {
		return fmt.Errorf("shim's socket: %w", err)
	}
	go s.serve()
	return s.run()
}

// run starts the VMM, and returns when its guest has answered. After an error nothing of
// the VMM is left.
func (s *shim) run() error {
	patience := bootTimeout
	if s.config.Machine.VMM == vmmQEMU {
		patience = emulatedBootTimeout
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("no word from the guest's agent within %s", patience))
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := s.startVM(ctx)
	if err == nil {
		s.setState(stateRunning)
		return nil
	}
	if s.vm != nil {
		s.vm.Kill()
		<-s.vm.Done()
		err = errors.Join(err, s.release())
	}
	s.failed = err
	return err
}

func (s *shim) startVM(ctx context.Context) error {
	m := s.config.Machine
	for _, nic := range m.NICs {
		if nic.Link == "" {
			continue
		}
		if err := prepareCable(ctx, s.kernel, m, nic); err != nil {
			return err
		}
	}
	vm, err := startVMM(ctx, s.kernel, s.config)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.vm, s.started = vm, time.Now()
	if line := vm.Agent(); line != nil {
		s.agent = agent.NewClient(line)
	}
	s.mu.Unlock()
	go s.console.follow(vm.Console())
	if s.agent != nil {
		if err := s.greet(ctx); err != nil {
			return s.explain(ctx, err)
		}
	} else if err := s.watchBegin(); err != nil {
		return s.explain(ctx, err)
	}
	vm.Booted()
	return nil
}

// greet waits for the agent, and makes sure that every cabled NIC works.
func (s *shim) greet(ctx context.Context) error {
	if _, err := s.agent.WaitHello(ctx); err != nil {
		return err
	}
	for _, nic := range s.config.Machine.NICs {
		if nic.Link == "" {
			continue
		}
		if err := s.configureInside(ctx, nic); err != nil {
			return err
		}
	}
	return nil
}

// watchBegin looks at a machine without an agent for a moment: one that cannot start at
// all is gone by then.
func (s *shim) watchBegin() error {
	select {
	case <-s.vm.Done():
		return s.vm.Err()
	case <-s.stop:
		return errors.New("stopped")
	case <-time.After(beginTime):
		return nil
	}
}

// configureInside tells the guest a NIC's configuration, and checks the carrier of a
// UML's on a tap: it is the only sign that UML could open it. (A QEMU is given it open.)
func (s *shim) configureInside(ctx context.Context, nic model.NICConfig) error {
	if s.agent == nil {
		return nil // it was told at its start, or is told by DHCP
	}
	ctx, cancel := context.WithTimeout(ctx, nicTimeout)
	defer cancel()
	a, err := s.agent.Do(ctx, agent.Request{Do: agent.Configure, NIC: &nic})
	if s.config.Machine.VMM != vmmUML || transport(vmmUML, nic) != model.TransportTap {
		return err
	}
	var inside *agent.RemoteError
	if err == nil && !a.Carrier || errors.As(err, &inside) && !s.tapOpen(nic.Link) {
		if err != nil {
			return fmt.Errorf("NIC %s: tap %s: %w: the machine could not open it: %w", nic.Name, nic.Link, model.ErrBusy, err)
		}
		return fmt.Errorf("NIC %s: tap %s: %w: the machine's NIC has no carrier, so it could not open the tap (hint: `drawbridge draw` shows who holds it)", nic.Name, nic.Link, model.ErrBusy)
	}
	return err
}

// tapOpen tells whether this machine has the tap's wire end.
func (s *shim) tapOpen(tap string) bool {
	holders, err := s.kernel.FindTapHolders()
	return err == nil && slices.ContainsFunc(holders[tap], func(h model.Holder) bool { return h.PID == s.vm.PID() })
}

// explain adds to a failed boot how the VMM ended, and what its console said last.
func (s *shim) explain(ctx context.Context, err error) error {
	if errors.Is(err, agent.ErrGone) {
		// The channel ends a moment before the process is reaped.
		select {
		case <-s.vm.Done():
		case <-time.After(time.Second):
		}
	}
	select {
	case <-s.stop:
		return errors.New("stopped while it was starting")
	case <-s.vm.Done():
		err = fmt.Errorf("the machine ended while it was starting: %s", howEnded(s.vm.Err()))
	default:
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	time.Sleep(50 * time.Millisecond) // the console's last words are on their way
	if tail := s.console.tail(tailLines); tail != "" {
		err = fmt.Errorf("%w; the last lines of its console:\n%s", err, tail)
	}
	return err
}

func howEnded(err error) string {
	if err == nil {
		return "it halted"
	}
	return err.Error()
}

// discard undoes a failed boot: nothing is left over.
func (s *shim) discard() error {
	if s.listen != nil {
		_ = s.listen.Close()
	}
	if s.console != nil {
		s.console.close()
	}
	return s.forget()
}

// forget removes the machine's folder with all that it had.
func (s *shim) forget() error { return errors.Join(sweep(s.dir), os.RemoveAll(s.dir)) }

// leaveWord tells who looks later of an end that nobody asked for.
func (s *shim) leaveWord(end error) error {
	n := exitNote{State: stateStopped, Reason: "it halted by itself"}
	if end != nil {
		n = exitNote{State: stateFailed, Reason: fmt.Sprintf("it ended with %s; the last lines of its console:\n%s", end, s.console.tail(tailLines))}
	}
	return child.WriteJSON(filepath.Join(s.dir, exitFile), n)
}

// shutDown asks the guest, then the VMM, and then kills.
func (s *shim) shutDown() {
	s.mu.Lock()
	paused, asked := s.state == statePaused, s.patience
	s.mu.Unlock()
	if p, ok := s.vm.(pauser); ok && paused {
		ctx, cancel := context.WithTimeout(context.Background(), haltTimeout)
		defer cancel()
		_ = p.Resume(ctx) // one that is paused hears nothing
	}
	patience := haltTimeout
	if root := s.config.Machine.Root; root != "" && root != "embedded" {
		patience = foreignHaltTimeout
	}
	patience = cmp.Or(asked, patience)
	if s.agent != nil {
		if s.askToHalt(patience) {
			return
		}
		patience = haltTimeout // it had its time
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.vm.Insist(ctx)
	if ctx.Err() != nil {
		s.note = fmt.Sprintf("machine %s did not shut down, and was switched off", s.config.Machine.Name)
	}
	select {
	case <-s.vm.Done():
	case <-time.After(500 * time.Millisecond):
		s.vm.Kill()
		<-s.vm.Done()
	}
}

// askToHalt asks the guest's agent, and tells whether the machine has ended by it.
func (s *shim) askToHalt(patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.agent.Do(ctx, agent.Request{Do: agent.Halt}); err != nil {
		return false
	}
	select {
	case <-s.vm.Done():
		return true
	case <-ctx.Done():
		return false
	}
}

// release gives everything back that an ended VMM had of the host.
func (s *shim) release() error {
	s.mu.Lock()
	vm, client := s.vm, s.agent
	s.vm, s.agent = nil, nil
	s.mu.Unlock()
	errs := []error{procs.EndAll(s.dir), vm.Close()}
	if client != nil {
		_ = client.Close()
	}
	return errors.Join(append(errs, freeTaps(s.kernel, s.config.Machine))...)
}

func (s *shim) setState(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}
