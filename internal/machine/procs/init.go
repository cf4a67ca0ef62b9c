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

// InitArguments are those of the executable that runs [RunInit] with a command.
func InitArguments(readOnly string, argv []string) []string {
	args := []string{InitCommand}
	if readOnly != "" {
		args = append(args, "--read-only", readOnly)
	}
	return append(append(args, "--"), argv...)
}

// RunInit is process 1 of a PID namespace: it keeps the folder readOnly, unless that is
// "", from being written to by anything below it, runs a command, reaps what that leaves,
// and ends with it, and everything in the namespace ends with process 1.
//
// A UML cannot be process 1 itself: when its kernel panics it sends itself SIGABRT
// until it dies (uml_abort), and that signal does not reach a process 1 from inside
// its namespace (pid_namespaces(7)), so that it spins for ever.
func RunInit(readOnly string, argv []string) (code int, err error) {
	if len(argv) == 0 {
		return 1, errors.New("no command to run")
	}
	if readOnly != "" {
		if err := seal(readOnly); err != nil {
			return 1, fmt.Errorf("%s cannot be made read-only for the machine: %w", readOnly, err)
		}
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

// seal makes a folder read-only, with all that is mounted in it, in this process's own
// mount namespace (mount_setattr(2), Linux 5.12).
func seal(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.MountSetattr(unix.AT_FDCWD, dir, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}
