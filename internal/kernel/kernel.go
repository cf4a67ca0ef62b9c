package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// Kernel is one network namespace, with sockets of its own inside it. Its methods
// may be called from several goroutines.
type Kernel struct {
	name string
	// ns keeps the namespace alive and is the way into it.
	ns    *os.File
	inode uint64
	// cookie tells the namespace from every other one since the machine was started.
	cookie uint64
	rt     *conn
	// bell hears of changes while the namespace is observed, and only then.
	bell      *conn
	observing sync.Mutex

	mu           sync.Mutex
	nf           *conn                  // nf_tables, opened when it is needed
	redirections map[string]redirection // by the link whose frames they take
}

// Open opens the network namespace of the calling thread.
func Open() (*Kernel, error) { return OpenPath(ownNamespace) }

// OpenNamed opens a namespace of /run/netns by its name; "" is [Open].
func OpenNamed(name string) (*Kernel, error) {
	if name == "" {
		return Open()
	}
	if err := checkNamespaceName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(netnsDir, name)
	if ok, err := isNamespaceFile(path); err != nil || !ok {
		return nil, fmt.Errorf("network namespace %s: %w in %s (hint: %s)", name, model.ErrNotFound, netnsDir, namespaceHint())
	}
	k, err := OpenPath(path)
	if err != nil {
		return nil, err
	}
	k.name = name
	return k, nil
}

func namespaceHint() string {
	names, err := ListNamespaces()
	if err != nil || len(names) == 0 {
		return "there are none; `ip netns add NAME` makes one"
	}
	if len(names) > 8 {
		names = append(names[:8], "...")
	}
	return "there are: " + strings.Join(names, ", ")
}

// OpenPath opens the namespace at a path, such as /proc/PID/ns/net. Its name is "".
func OpenPath(path string) (*Kernel, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	k := &Kernel{ns: f}
	if k.inode, err = inodeOf(int(f.Fd())); err != nil {
		f.Close()
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	err = k.inside(func() error {
		if k.rt, err = openConn(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		k.cookie = namespaceCookie()
		k.bell, err = openConn(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		_ = k.Close()
		return nil, refusal("network namespace "+path, err)
	}
	return k, nil
}

// Close closes the sockets and lets go of the namespace.
func (k *Kernel) Close() error {
	var errs []error
	for from := range k.redirections {
		errs = append(errs, k.endRedirect(from))
	}
	for _, c := range []*conn{k.rt, k.bell, k.nf} {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	k.rt, k.bell, k.nf = nil, nil, nil
	return errors.Join(append(errs, k.ns.Close())...)
}

// Name is the name in /run/netns that the namespace was opened by, else "".
func (k *Kernel) Name() string { return k.name }

// Inode is the namespace's number for as long as it is there, as /proc/PID/ns/net has
// it. A later namespace may get the same one.
func (k *Kernel) Inode() uint64 { return k.inode }

// Cookie identifies the namespace until the machine is started anew: no other one ever
// gets the same (SO_NETNS_COOKIE, Linux 5.14; before that it is the inode).
func (k *Kernel) Cookie() uint64 {
	if k.cookie == 0 {
		return k.inode
	}
	return k.cookie
}

// namespaceCookie is the cookie of the thread's namespace, 0 where the kernel has none.
func namespaceCookie() uint64 {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}

// Inside runs fn on a thread inside the namespace: sockets that it opens and processes
// that it starts belong there, wherever they are used later.
func (k *Kernel) Inside(fn func() error) error { return k.inside(fn) }

// inside runs fn on a thread inside the namespace. Who is there already needs no
// right to enter (setns asks for CAP_SYS_ADMIN even then).
func (k *Kernel) inside(fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if own, err := inodeOfPath(ownNamespace); err == nil && own == k.inode {
		return fn()
	}
	return enterFD(int(k.ns.Fd()), fn)
}

// Uptime is the time since boot, a suspend included (CLOCK_BOOTTIME), which no setting of
// the clock alters.
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// BootID identifies this start of the machine; "" where it cannot be read.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func inodeOf(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	return st.Ino, nil
}

func inodeOfPath(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return st.Ino, nil
}
