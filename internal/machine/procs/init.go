package procs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// InitCommand is the hidden command of the executable that runs [RunInit].
const InitCommand = "machine-init"

// RunInit is process 1 of a PID namespace: it runs a command, reaps what that leaves,
// and ends with it, and everything in the namespace ends with process 1.
//
// A UML cannot be process 1 itself: when its kernel panics it sends itself SIGABRT
// until it dies (uml_abort), and that signal does not reach a process 1 from inside
// its namespace (pid_namespaces(7)), so that it spins for ever.
func RunInit(argv []string) (code int, err error) {
	if len(argv) == 0 {
		return 1, errors.New("no command to run")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 1, err
	}
	// A group of its own: a UML that panics sends SIGTERM to its whole group.
	child, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2, 3},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 1, fmt.Errorf("%s: %w", path, err)
	}
	for fd := range 4 {
		_ = unix.Close(fd) // whoever reads the other ends shall see the child's end
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 1, err
		}
		if pid != child {
			continue
		}
		if status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return status.ExitStatus(), nil
	}
}

// ChildOf finds the first child of a process, as seen from here: what [RunInit] runs.
func ChildOf(parent int) (int, error) {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if pid := childOf(parent); pid != 0 {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("process %d has started nothing", parent)
}

func childOf(parent int) int {
	// The cheap way, where the kernel has it (CONFIG_PROC_CHILDREN).
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err == nil {
		if words := strings.Fields(string(b)); len(words) > 0 {
			pid, _ := strconv.Atoi(words[0])
			return pid
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (comm) state ppid ...; comm may hold anything, also ")".
		words := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(words) > 1 && words[1] == strconv.Itoa(parent) {
			return pid
		}
	}
	return 0
}
