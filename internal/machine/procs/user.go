package procs

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is who a VMM runs as: nobody else than this process's user, or, where this is
// root, the owner of the machine's taps.
type User struct {
	Credential *syscall.Credential // nil: this process's own user
	Name       string
}

// UserOf finds who a machine with an owner runs as; nil for none.
func UserOf(owner *uint32) (User, error) {
	if owner == nil || os.Geteuid() != 0 || *owner == 0 {
		return User{Name: "this user"}, nil
	}
	id := strconv.FormatUint(uint64(*owner), 10)
	who := User{&syscall.Credential{Uid: *owner, Gid: *owner}, "user " + id}
	u, err := user.LookupId(id)
	if err != nil {
		return who, nil //nolint:nilerr // a number without a name may own a tap, too
	}
	who.Name = u.Username
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return who, fmt.Errorf("group of %s: %w", u.Username, err)
	}
	who.Credential.Gid = uint32(gid)
	groups, err := u.GroupIds()
	if err != nil {
		return who, fmt.Errorf("groups of %s: %w", u.Username, err)
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			who.Credential.Groups = append(who.Credential.Groups, uint32(n))
		}
	}
	return who, nil
}

// Do runs fn with the user's rights on files. On a thread of its own, for they are the
// thread's (credentials(7), "NPTL threads"): the raw calls change this one alone. It is
// never used again: the runtime ends a thread whose goroutine ends with it locked.
func (u User) Do(fn func() error) error {
	if u.Credential == nil {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			groups := u.Credential.Groups
			if len(groups) == 0 {
				groups = []uint32{u.Credential.Gid}
			}
			if err := setThread(groups, u.Credential.Uid, u.Credential.Gid); err != nil {
				return fmt.Errorf("as %s: %w", u.Name, err)
			}
			return fn()
		}()
	}()
	return <-done
}

// Own gives a file to the user.
func (u User) Own(f *os.File) error {
	if u.Credential == nil {
		return nil
	}
	return f.Chown(int(u.Credential.Uid), int(u.Credential.Gid))
}

// OwnPath gives a path to the user. A link is given itself, not what it leads to.
func (u User) OwnPath(path string) error {
	if u.Credential == nil {
		return nil
	}
	return os.Lchown(path, int(u.Credential.Uid), int(u.Credential.Gid))
}

// CanRead opens a file as the user would.
func (u User) CanRead(path string) error {
	return u.Do(func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

// CanWrite opens a file for writing as the user would, and changes nothing.
func (u User) CanWrite(path string) error {
	return u.Do(func() error {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}

// CanAccess asks whether the user may use a path so: unix.R_OK, W_OK, X_OK, or together.
func (u User) CanAccess(path string, mode uint32) error {
	return u.Do(func() error {
		if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
			return &os.PathError{Op: "access", Path: path, Err: err}
		}
		return nil
	})
}

// Has tells whether what belongs to a user and a group, nil for none, is the user's.
func (u User) Has(owner, group *uint32) bool {
	if u.Credential == nil {
		return true
	}
	return owner != nil && *owner == u.Credential.Uid ||
		group != nil && (*group == u.Credential.Gid || slices.Contains(u.Credential.Groups, *group))
}
