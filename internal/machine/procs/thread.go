package procs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setThread gives this thread the groups, and the identity that file permissions are
// checked by.
func setThread(groups []uint32, uid, gid uint32) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return errno
	}
	// setfsuid(2) tells no failure: it is what it was before, or not.
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0)
	if uint32(now) != uid {
		return unix.EPERM
	}
	return nil
}
