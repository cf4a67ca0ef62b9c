package lab

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper is the one that waits for processes in the lab. PID 1 is handed every
// orphan (UMLs, guards), so it must wait for any child; and a wait for any child
// takes the status away from whoever waits for one of them. So only the reaper waits.
type reaper struct {
	mu       sync.Mutex
	children map[int]chan unix.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{children: map[int]chan unix.WaitStatus{}}
	sigchld := make(chan os.Signal, 1)
	signal.Notify(sigchld, unix.SIGCHLD)
	go func() {
		for range sigchld {
			r.reap()
		}
	}()
	return r
}

// start starts a process and returns it with the channel that its status will come on.
// The lock is held over both, so that a child which ends at once is known when reaped.
func (r *reaper) start(path string, args []string, attr *os.ProcAttr) (*os.Process, <-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(path, args, attr)
	if err != nil {
		return nil, nil, err
	}
	status := make(chan unix.WaitStatus, 1)
	r.children[p.Pid] = status
	return p, status, nil
}

func (r *reaper) reap() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.mu.Lock()
		if c, ok := r.children[pid]; ok {
			c <- ws
			delete(r.children, pid)
		}
		r.mu.Unlock()
	}
}
