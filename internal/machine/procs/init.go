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

// Init is what [RunInit] does for its command.
type Init struct {
	ReadOnly string // a folder that the command shall not write to, "" for none
	IDs      []int  // whom it runs as: user, group, further groups; none for this process's user
	Files    int    // how many descriptors it has, from 0 on
}

// Arguments are those of the executable that runs [RunInit] with a command.
func (i Init) Arguments(argv []string) []string {
	args := []string{InitCommand, "--files", strconv.Itoa(i.Files)}
	if i.ReadOnly != "" {
		args = append(args, "--read-only", i.ReadOnly)
	}
	for _, id := range i.IDs {
		args = append(args, "--id", strconv.Itoa(id))
	}
	return append(append(args, "--"), argv...)
}

// IDs are the user's, for [Init].
func (u User) IDs() []int {
	if u.Credential == nil {
		return nil
	}
	ids := []int{int(u.Credential.Uid), int(u.Credential.Gid)}
	for _, g := range u.Credential.Groups {
		ids = append(ids, int(g))
	}
	return ids
}

func (i Init) credential() (*syscall.Credential, error) {
	switch len(i.IDs) {
	case 0:
		return nil, nil //nolint:nilnil // nobody else
	case 1:
		return nil, errors.New("a user without a group")
	}
	c := &syscall.Credential{Uid: uint32(i.IDs[0]), Gid: uint32(i.IDs[1])}
	for _, g := range i.IDs[2:] {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c, nil
}

// RunInit is process 1 of a PID namespace: it keeps a folder from being written to by
// anything below it, runs a command as the user that it is told, reaps what that leaves,
// and ends with it, and everything in the namespace ends with process 1.
//
// A UML cannot be process 1 itself: when its kernel panics it sends itself SIGABRT
// until it dies (uml_abort), and that signal does not reach a process 1 from inside
// its namespace (pid_namespaces(7)), so that it spins for ever.
func RunInit(i Init, argv []string) (code int, err error) {
	if len(argv) == 0 {
		return 1, errors.New("no command to run")
	}
	credential, err := i.credential()
	if err != nil {
		return 1, err
	}
	if i.ReadOnly != "" {
		if err := seal(i.ReadOnly); err != nil {
			return 1, fmt.Errorf("%s cannot be made read-only for the machine: %w", i.ReadOnly, err)
		}
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 1, err
	}
	files := make([]uintptr, i.Files)
	for fd := range files {
		files[fd] = uintptr(fd)
	}
	// A group of its own: a UML that panics sends SIGTERM to its whole group.
	child, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true, Credential: credential},
	})
	if err != nil {
		return 1, fmt.Errorf("%s: %w", path, err)
	}
	for fd := range files {
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
