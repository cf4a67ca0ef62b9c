// Package procs starts a VMM's processes so that all of them end with their shim, and
// finds those that did not.
//
// In: a way to make a command. Out: the started command. It imports the standard
// library and x/sys/unix only.
//
// A UML is several processes: the first traces the others, and a survivor keeps the
// tap busy. In a PID namespace of their own the kernel ends all of them with the first
// (pid_namespaces(7)), and the first ends with its shim (PR_SET_PDEATHSIG).
package procs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Start starts the command that build makes, in a session of its own, bound to the
// life of the calling thread: the caller has locked it, and it lives as long as the
// process. flags are CLONE_NEW* that it must have; a PID namespace is added. Where
// these are not permitted a user namespace is made for them, in which the user is
// inside. Where that is not permitted either and must is false, it starts without any.
// It returns the flags that it got.
//
// who is whom a command without namespaces runs as; in namespaces the command is an init,
// which needs this user's rights and gives them up itself ([Init]).
func Start(build func(flags uintptr) *exec.Cmd, flags uintptr, inside int, who User, must bool) (*exec.Cmd, uintptr, error) {
	flags |= unix.CLONE_NEWPID
	tries := []uintptr{flags}
	if who.Credential == nil { // nobody else is known in a user namespace of one user
		tries = append(tries, flags|unix.CLONE_NEWUSER)
	}
	if !must {
		tries = append(tries, 0)
	}
	var errs []error
	for _, f := range tries {
		cmd := build(f)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: f}
		if f == 0 {
			cmd.SysProcAttr.Credential = who.Credential
		}
		if f&unix.CLONE_NEWUSER != 0 {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Geteuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getegid(), Size: 1}}
		}
		err := cmd.Start()
		if err == nil {
			return cmd, f, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EACCES) {
			break
		}
	}
	return nil, 0, errors.Join(errs...)
}

// Kill ends a started command with its whole session's group.
func Kill(cmd *exec.Cmd) {
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	_ = cmd.Process.Kill()
}

// In lists the processes whose working directory is dir, without this one: a machine's
// processes work in the machine's folder, and nobody else has business there.
func In(dir string) []int {
	want, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err == nil && cwd == want {
			out = append(out, pid)
		}
	}
	return out
}

// EndAll kills what [In] finds, and waits until it is gone.
func EndAll(dir string) error {
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := In(dir)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes of the machine in %s live on after a kill: %v", dir, left)
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// SocketPair is two connected stream sockets: ours, which the runtime polls, and one
// to hand to a child, which blocks.
func SocketPair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
