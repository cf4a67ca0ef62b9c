package service

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// nobody is the user that servers run as. Nobody's other processes cannot reach what is
// its own: the folder of the leases is given to it by descriptor, below one that is root's.
const nobody = 65534

// nobodyHere tells whether servers can run as another user: not without root, nor in a
// user namespace that has no such user.
func nobodyHere() bool {
	if os.Geteuid() != 0 {
		return false
	}
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		var first, outside, count uint64
		if n, _ := fmt.Sscan(line, &first, &outside, &count); n == 3 && first <= nobody && nobody < first+count {
			return true
		}
	}
	return false
}

// startWithout starts a command that has none of this process's rights: another user where
// there is one, no capability, no way to get any by running a program. These are of a
// thread, and go to what it starts; the thread lives as long as the command, which is
// killed with it, and is then thrown away.
func startWithout(cmd *exec.Cmd, ended chan<- error) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if nobodyHere() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: nobody else gets this thread
		err := giveUpRights()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return <-started
}

// giveUpRights makes that nothing which this thread starts has a capability, though its
// user be 0 (capabilities(7), securebits).
func giveUpRights() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new rights: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	const noRoot, noRootLocked, noAmbient, noAmbientLocked = 1 << 0, 1 << 1, 1 << 6, 1 << 7
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noRoot|noRootLocked|noAmbient|noAmbientLocked, 0, 0, 0); err != nil {
		return fmt.Errorf("no rights of root: %w", err)
	}
	for c := range uintptr(64) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			if errors.Is(err, unix.EINVAL) {
				return nil // the last one that this kernel knows
			}
			return fmt.Errorf("capability %d: %w", c, err)
		}
	}
	return nil
}

// cage is the server's own part: of the file system it keeps the folder of the leases, of
// the network what a name server's questions need (Landlock, as far as this kernel has it).
// What is open already stays.
func cage(s model.Service, leases string) error {
	var rules []landlock.Rule
	if leases != "" {
		rules = append(rules, landlock.RWDirs(leases))
	}
	if s.DNS != nil {
		rules = append(rules, landlock.ConnectTCP(53))
		for _, u := range s.DNS.Upstreams {
			rules = append(rules, landlock.ConnectTCP(u.Port()))
		}
	}
	if err := landlock.V6.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	// Nobody's other processes may not look into this one.
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
