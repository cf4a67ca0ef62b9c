package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultName is the name of a lab that was given none.
const DefaultName = "lab"

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// CheckName tells whether a lab can have this name.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("lab name %q: use 1 to 32 of a-z, 0-9, dot, dash and underscore, beginning with a letter or digit", name)
	}
	return nil
}

// socketDir is where the control sockets of this user's labs are.
func socketDir() string {
	uid := os.Geteuid()
	if uid == 0 {
		return "/run/drawbridge/labs"
	}
	// It may name a folder that a login would have made, and there was none (su, cron).
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && isFolder(dir) {
		return filepath.Join(dir, "drawbridge", "labs")
	}
	return fmt.Sprintf("/tmp/drawbridge-%d/labs", uid)
}

func isFolder(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// place is the opened folder of control sockets. Sockets are reached through the
// descriptor (/proc/self/fd/N/NAME.sock), since a socket's path may have 107 bytes
// only (sockaddr_un), and a runtime folder's may be longer.
type place struct {
	dir *os.File
}

// openPlace opens the folder, with make also making it. A folder that belongs to
// somebody else or that others may write is refused: below /tmp anyone may have
// made it first.
func openPlace(create bool) (*place, error) {
	path := socketDir()
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of control sockets: %w", err)
		}
	}
	for _, p := range []string{filepath.Dir(path), path} {
		if err := checkOwned(p); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &place{os.NewFile(uintptr(fd), path)}, nil
}

func checkOwned(path string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.IsDir():
		return fmt.Errorf("%s is not a folder: remove it, or set XDG_RUNTIME_DIR", path)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d: set XDG_RUNTIME_DIR to a folder of your own", path, st.Uid)
	case fi.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s may be written by others: chmod go-w %s", path, path)
	}
	return nil
}

func (p *place) close() { _ = p.dir.Close() }

func (p *place) socket(name string) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s.sock", p.dir.Fd(), name)}
}

// lock keeps other drawbridges from making and clearing sockets at the same time.
func (p *place) lock() (unlock func(), err error) {
	if err := unix.Flock(int(p.dir.Fd()), unix.LOCK_EX); err != nil { //nolint:gosec // a descriptor fits an int
		return nil, fmt.Errorf("lock %s: %w", p.dir.Name(), err)
	}
	return func() { _ = unix.Flock(int(p.dir.Fd()), unix.LOCK_UN) }, nil //nolint:gosec // as above
}

// ErrRunning says that a lab of that name is up already.
var ErrRunning = errors.New("is up already")

// listen makes the control socket of a lab. One that a killed keeper left behind,
// where nobody listens, is replaced.
func (p *place) listen(name string) (*net.UnixListener, error) {
	unlock, err := p.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if p.alive(name) {
		return nil, fmt.Errorf("lab %q %w: take it down (drawbridge lab down --name %s), or choose another --name", name, ErrRunning, name)
	}
	_ = os.Remove(p.socket(name).Name)
	l, err := net.ListenUnix("unix", p.socket(name))
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	// The path holds a descriptor's number, which may mean another folder by then:
	// removed by hand in remove.
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(p.socket(name).Name, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	return l, nil
}

// remove takes the socket of a lab away, unless a new one listens there.
func (p *place) remove(name string) {
	unlock, err := p.lock()
	if err != nil {
		return
	}
	defer unlock()
	if !p.alive(name) {
		_ = os.Remove(p.socket(name).Name)
	}
}

// alive tells whether somebody listens. The kernel refuses connections to a socket
// whose listener is gone at once.
func (p *place) alive(name string) bool {
	c, err := net.DialTimeout("unix", p.socket(name).Name, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// names lists the labs that are up, and clears away the sockets of those that were killed.
func (p *place) names() ([]string, error) {
	unlock, err := p.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(p.dir.Name())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".sock")
		if !ok || CheckName(name) != nil {
			continue
		}
		if p.alive(name) {
			names = append(names, name)
		} else {
			_ = os.Remove(p.socket(name).Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Names lists the labs of this user that are up.
func Names() ([]string, error) {
	p, err := openPlace(false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer p.close()
	return p.names()
}
