package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// The exit codes of a command that could not be started, as of env(1) and ip-netns.
const (
	exitCannotRun  = 126
	exitNotFound   = 127
	exitNoEnter    = 125
	exitSignalBase = 128 // plus the signal, as a shell reports it
)

// enter makes this process the command: args are the namespace, the working folder,
// and the command with its arguments. It returns only when that failed.
func enter(args []string) int {
	if len(args) < 3 {
		fmt.Fprintln(os.Stderr, "drawbridge lab enter: an inner command, see: drawbridge lab exec --help")
		return exitNoEnter
	}
	namespace, dir, argv := args[0], args[1], args[2:]
	if err := enterNamespace(namespace); err != nil {
		fmt.Fprintln(os.Stderr, "drawbridge: lab:", err)
		return exitNoEnter
	}
	if os.Chdir(dir) != nil {
		// The folder may be below the machine's /run, which the lab covers.
		if err := os.Chdir("/"); err != nil {
			fmt.Fprintln(os.Stderr, "drawbridge: lab:", err)
			return exitNoEnter
		}
	}
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = syscall.Exec(path, argv, os.Environ()) //nolint:gosec // running the user's command is what this is for
	}
	fmt.Fprintf(os.Stderr, "drawbridge: lab: run %s: %v\n", argv[0], err)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return exitNotFound
	}
	return exitCannotRun
}

// enterNamespace moves this thread into a network namespace, as "ip netns exec" does
// (iproute2, netns_switch): with a /sys that shows its interfaces, since sysfs shows
// the namespace of whoever mounted it, and with its name as the host name. The thread
// that calls execve(2) decides where the new program is.
func enterNamespace(name string) error {
	runtime.LockOSThread()
	fd, err := unix.Open(filepath.Join(netnsDir, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("namespace %s: unshare: %w", name, err)
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("namespace %s: set the host name: %w", name, err)
	}
	// Not to be seen by other commands: /sys is private, only /run/netns is shared.
	_ = unix.Unmount("/sys", unix.MNT_DETACH)
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("namespace %s: mount its /sys: %w", name, err)
	}
	return nil
}
