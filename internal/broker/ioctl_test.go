package broker_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl with a pointer to any struct: x/sys has none for SIOCSIFHWADDR.
func ioctl[T any](fd uintptr, request uint, arg *T) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(unsafe.Pointer(arg))); errno != 0 {
		return errno
	}
	return nil
}
