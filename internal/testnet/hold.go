package testnet

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
)

// HoldTap opens a tap of a namespace, as a VM would, until the returned function is called.
func HoldTap(namespace, tap string) (release func(), err error) {
	f, err := OpenTap(namespace, tap)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// OpenTap opens a tap of a namespace, as a VM would: what is written is what the VM sends,
// a frame at a time.
func OpenTap(namespace, tap string) (*os.File, error) {
	var f *os.File
	err := kernel.Enter("/run/netns/"+namespace, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(tap)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		f = os.NewFile(uintptr(fd), tap) // after TUNSETIFF: only then can it be polled
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", tap, err)
	}
	return f, nil
}
