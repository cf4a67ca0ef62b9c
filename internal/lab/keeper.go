package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Timeouts of a lab's beginning and end.
const (
	startTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
)

// Lab is a running lab whose keeper is this process.
type Lab struct {
	name     string
	pid      int
	place    *place
	listener *net.UnixListener
	link     *net.UnixConn // to the supervisor
	done     chan struct{} // closed when the supervisor and all in the lab are gone
	waitErr  error         // valid after done
	stopOnce sync.Once
}

// toSupervisor is what the keeper sends in: once the options, then connections
// (each with its descriptor) and at last the word to stop.
type toSupervisor struct {
	Options *Options `json:"options,omitempty"`
	Peer    *peer    `json:"peer,omitempty"`
	Stop    bool     `json:"stop,omitempty"`
}

// fromSupervisor is the one answer: the lab is up, or why it is not.
type fromSupervisor struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

// peer is who connected, as seen from outside the lab.
type peer struct {
	UID uint32 `json:"uid"`
	PID int32  `json:"pid"`
}

// Start brings a lab up and returns when its network is ready. It lasts until Stop,
// until someone asks it to stop over its socket, or until this process ends, however
// that happens.
func Start(ctx context.Context, o Options) (*Lab, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p, err := openPlace(true)
	if err != nil {
		return nil, err
	}
	listener, err := p.listen(o.Name)
	if err != nil {
		p.close()
		return nil, err
	}
	l := &Lab{name: o.Name, place: p, listener: listener, done: make(chan struct{})}
	if err := l.launch(); err != nil {
		l.release()
		return nil, err
	}
	if err := l.ready(ctx, o); err != nil {
		_ = unix.Kill(l.pid, unix.SIGKILL)
		<-l.done
		return nil, err
	}
	go l.accept()
	return l, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// PID is the supervisor's process id, as this process sees it.
func (l *Lab) PID() int { return l.pid }

// Done is closed when the lab is gone.
func (l *Lab) Done() <-chan struct{} { return l.done }

// Stop ends the lab and everything in it, and returns when all of it is gone.
func (l *Lab) Stop() error {
	l.stopOnce.Do(func() { _ = send(l.link, toSupervisor{Stop: true}) })
	select {
	case <-l.done:
	case <-time.After(stopTimeout):
		// PID 1 of a PID namespace cannot refuse the SIGKILL of its parent namespace.
		_ = unix.Kill(l.pid, unix.SIGKILL)
		<-l.done
	}
	return l.waitErr
}

// launch starts the supervisor. The thread that does so is kept for as long as the
// supervisor lives, since PR_SET_PDEATHSIG watches the parent's *thread* (prctl(2)).
func (l *Lab) launch() error {
	keepDescriptors()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	inner := os.NewFile(uintptr(pair[1]), "supervisor")
	defer inner.Close()
	if l.link, err = unixConn(os.NewFile(uintptr(pair[0]), "keeper")); err != nil {
		return err
	}
	cmd := supervisorCommand(inner)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		if err == nil {
			l.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		l.ended(cmd.Wait())
	}()
	if err := <-started; err != nil {
		_ = l.link.Close()
		return refusal(err)
	}
	return nil
}

// keepDescriptors marks every descriptor but the standard ones close-on-exec. What a
// careless parent left open (a pipe that it waits on) would else live as long as the lab.
func keepDescriptors() {
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) // Linux 5.11; without it we are as careless
}

func supervisorCommand(inner *os.File) *exec.Cmd {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true, // a Ctrl-C in the keeper's terminal is the keeper's alone
	}
	if needsUserNamespace() {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        internalArgs(stageSupervise),
		Env:         []string{"PATH=" + os.Getenv("PATH")},
		Dir:         "/",
		Stderr:      os.Stderr,
		ExtraFiles:  []*os.File{inner}, // descriptor 3
		SysProcAttr: attr,
	}
}

// ready hands the options in and waits for the answer.
func (l *Lab) ready(ctx context.Context, o Options) error {
	if err := send(l.link, toSupervisor{Options: &o}); err != nil {
		return fmt.Errorf("lab %q: %w", l.name, err)
	}
	type result struct {
		answer fromSupervisor
		err    error
	}
	got := make(chan result, 1)
	go func() {
		var r result
		_, r.err = receive(l.link, &r.answer)
		got <- r
	}()
	select {
	case r := <-got:
		switch {
		case errors.Is(r.err, io.EOF):
			<-l.done
			return fmt.Errorf("lab %q: the supervisor ended while it was setting up: %w", l.name, cmpErr(l.waitErr, io.EOF))
		case r.err != nil:
			return fmt.Errorf("lab %q: %w", l.name, r.err)
		case !r.answer.Ready:
			return fmt.Errorf("lab %q: %s", l.name, r.answer.Error)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lab %q: %w", l.name, ctx.Err())
	case <-time.After(startTimeout):
		return fmt.Errorf("lab %q: not ready after %v", l.name, startTimeout)
	}
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// accept judges who connects and hands the connection in. Only the lab's own user
// and root may: the socket's mode says so too, but a socket in /run of an odd
// machine may be reachable all the same.
func (l *Lab) accept() {
	for {
		c, err := l.listener.AcceptUnix()
		if err != nil {
			return // closed by ended
		}
		who, err := peerOf(c)
		if err == nil && who.UID != 0 && int(who.UID) != os.Geteuid() {
			err = fmt.Errorf("user %d may not use lab %q, which is user %d's", who.UID, l.name, os.Geteuid())
		}
		if err != nil {
			_ = send(c, reply{Error: err.Error()})
			_ = c.Close()
			continue
		}
		if f, err := c.File(); err == nil {
			_ = send(l.link, toSupervisor{Peer: &who}, f)
			_ = f.Close()
		}
		_ = c.Close()
	}
}

func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) //nolint:gosec // a descriptor fits an int
	})
	if err = errors.Join(err, credErr); err != nil {
		return peer{}, fmt.Errorf("who connects: %w", err)
	}
	return peer{UID: cred.Uid, PID: cred.Pid}, nil
}

// ended runs when the supervisor was waited for. The kernel lets a PID namespace's
// first process be reaped only after all others in it are gone (zap_pid_ns_processes).
func (l *Lab) ended(err error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL { //nolint:forcetypeassert // on Linux it is one
		err = nil // killed by Stop or by hand: the wanted end
	}
	l.waitErr = err
	l.release()
	close(l.done)
}

func (l *Lab) release() {
	_ = l.listener.Close()
	if l.link != nil {
		_ = l.link.Close()
	}
	l.place.remove(l.name)
	l.place.close()
}
