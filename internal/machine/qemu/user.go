package qemu

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// runAs is the user that a QEMU runs as: nobody else than this process's, or, where
// this is root, the owner of the machine's taps.
type runAs struct {
	credential *syscall.Credential // nil: this process's own user
	name       string
}

// userOf finds who a machine runs as.
func userOf(m model.MachineConfig) (runAs, error) {
	if m.Owner == nil || os.Geteuid() != 0 || *m.Owner == 0 {
		return runAs{name: "this user"}, nil
	}
	id := strconv.FormatUint(uint64(*m.Owner), 10)
	who := runAs{&syscall.Credential{Uid: *m.Owner, Gid: *m.Owner}, "user " + id}
	u, err := user.LookupId(id)
	if err != nil {
		return who, nil //nolint:nilerr // a number without a name may own a tap, too
	}
	who.name = u.Username
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return who, fmt.Errorf("group of %s: %w", u.Username, err)
	}
	who.credential.Gid = uint32(gid)
	groups, err := u.GroupIds()
	if err != nil {
		return who, fmt.Errorf("groups of %s: %w", u.Username, err)
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			who.credential.Groups = append(who.credential.Groups, uint32(n))
		}
	}
	return who, nil
}

// do runs fn with the user's rights on files. On a thread of its own, for they are the
// thread's (credentials(7), "NPTL threads"): the raw calls change this one alone. It is
// never used again: the runtime ends a thread whose goroutine ends with it locked.
func (u runAs) do(fn func() error) error {
	if u.credential == nil {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			groups := u.credential.Groups
			if len(groups) == 0 {
				groups = []uint32{u.credential.Gid}
			}
			if err := setThread(groups, u.credential.Uid, u.credential.Gid); err != nil {
				return fmt.Errorf("as %s: %w", u.name, err)
			}
			return fn()
		}()
	}()
	return <-done
}

// own gives a file to the user.
func (u runAs) own(f *os.File) error {
	if u.credential == nil {
		return nil
	}
	return f.Chown(int(u.credential.Uid), int(u.credential.Gid))
}

// canRead opens a file as the user would.
func (u runAs) canRead(path string) error {
	return u.do(func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

// canWrite opens a file for writing as the user would, and changes nothing.
func (u runAs) canWrite(path string) error {
	return u.do(func() error {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}
