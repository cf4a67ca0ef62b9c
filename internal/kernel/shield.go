package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Shield keeps what a process writes to a sysctl of this namespace away from the kernel for
// a while: over the setting's file, in the process's own mount namespace, is another that
// begins with the same value. restore takes it away again, and sets the setting to what the
// process has written last. A process that ends takes it along.
func Shield(pid int, setting string) (restore func() error, err error) {
	target := filepath.Join("/proc/sys/net", setting)
	value, err := os.ReadFile(target)
	if err != nil {
		return nil, err
	}
	shadow, err := os.CreateTemp("/run", "drawbridge-setting-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(shadow.Name())
	if _, err := shadow.Write(value); err != nil {
		return nil, errors.Join(err, shadow.Close())
	}
	tree, err := unix.OpenTree(int(shadow.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", setting, err), shadow.Close())
	}
	defer unix.Close(tree)
	err = inMounts(pid, func() error {
		return unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", setting, err), shadow.Close())
	}
	return func() error {
		defer shadow.Close()
		err := inMounts(pid, func() error { return unix.Unmount(target, unix.MNT_DETACH) })
		if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
			return nil // it has ended, and its mounts with it
		}
		last := make([]byte, 16)
		n, _ := shadow.ReadAt(last, 0)
		if last = bytes.TrimSpace(last[:n]); err == nil && !bytes.Equal(last, bytes.TrimSpace(value)) {
			err = os.WriteFile(target, last, 0)
		}
		return err
	}, nil
}

// inMounts runs fn in the mount namespace of a process, and in this thread's network
// namespace.
func inMounts(pid int, fn func() error) error {
	mounts, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	defer mounts.Close()
	network, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer network.Close()
	return onThread(func() error {
		if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		// setns(2) refuses a thread that shares its root and working folder with others.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		return fn()
	})
}
