package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// netnsDir is where ip-netns(8) keeps its names.
const netnsDir = "/run/netns"

// ownNamespace is the namespace of the calling thread: /proc/self would be the main
// thread's, which may be another one.
const ownNamespace = "/proc/thread-self/ns/net"

// Enter runs fn on a thread of its own inside the network namespace at path, and
// discards that thread: what fn opens or starts belongs to that namespace. A child
// that fn starts must not set Pdeathsig, for its parent thread ends with fn.
func Enter(path string, fn func() error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer f.Close()
	return enterFD(int(f.Fd()), fn)
}

func enterFD(fd int, fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// onThread runs fn on a locked thread that ends with it: it is never unlocked, so
// the runtime discards it (runtime.LockOSThread). The main thread cannot end, and
// /proc/self shows its namespaces, so it is left alone.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(fn)
			runtime.UnlockOSThread()
			return
		}
		// Also when fn ends the goroutine (runtime.Goexit, as t.FailNow does): nobody
		// shall wait for ever.
		err := errors.New("ended inside the network namespace")
		defer func() { done <- err }()
		err = fn()
	}()
	return <-done
}

// ListNamespaces lists the names in /run/netns, sorted; none is no error.
func ListNamespaces() ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		// A name whose mount is gone (a crash, another mount namespace) is a plain file.
		if fs, err := isNamespaceFile(filepath.Join(netnsDir, e.Name())); err == nil && fs {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

const nsfsMagic = 0x6e736673 // NSFS_MAGIC, include/uapi/linux/magic.h

func isNamespaceFile(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, err
	}
	return st.Type == nsfsMagic, nil
}

// CreateNamespace makes a network namespace that ip-netns(8) knows by name, with its
// loopback up. ErrExists if the name is taken.
func CreateNamespace(name string) error {
	if err := checkNamespaceName(name); err != nil {
		return err
	}
	if err := prepareNetnsDir(); err != nil {
		return err
	}
	path := filepath.Join(netnsDir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("network namespace %s: %w", name, model.ErrExists)
	}
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return refusal("network namespace "+name, fmt.Errorf("unshare: %w", err))
		}
		if err := unix.Mount(ownNamespace, path, "none", unix.MS_BIND, ""); err != nil {
			return refusal("network namespace "+name, fmt.Errorf("bind mount: %w", err))
		}
		return raiseLoopback()
	})
	if err != nil {
		_ = DeleteNamespace(name)
	}
	return err
}

func raiseLoopback() error {
	c, err := openConn(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.close()
	return refusal("lo", c.do(linkMessage(unix.RTM_NEWLINK, 0, 1, unix.IFF_UP, unix.IFF_UP)))
}

// prepareNetnsDir makes /run/netns a shared mount, as ip-netns(8) does, so that a
// name that is deleted in one mount namespace is gone in all.
func prepareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("network namespaces: %w", err)
	}
	for try := 0; ; try++ {
		err := unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
		if err == nil {
			return nil
		}
		if err != unix.EINVAL || try > 0 {
			return refusal(netnsDir, fmt.Errorf("mount --make-shared: %w", err))
		}
		// It is no mount point yet.
		if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return refusal(netnsDir, fmt.Errorf("bind mount: %w", err))
		}
	}
}

// DeleteNamespace takes a name off a namespace; the namespace ends with its last
// process and descriptor. A name that is gone is no error.
func DeleteNamespace(name string) error {
	if err := checkNamespaceName(name); err != nil {
		return err
	}
	path := filepath.Join(netnsDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !isErrno(err, unix.EINVAL, unix.ENOENT) {
		return refusal("network namespace "+name, fmt.Errorf("unmount: %w", err))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	return nil
}

func checkNamespaceName(name string) error {
	if name == "" || name == "." || name == ".." || filepath.Base(name) != name || len(name) > 255 {
		return fmt.Errorf("network namespace %q: %w: not a file name", name, model.ErrInvalid)
	}
	return nil
}
