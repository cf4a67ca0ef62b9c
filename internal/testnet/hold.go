package testnet

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
)

// HoldTap opens a tap of a namespace, as a VM would, until the returned function is called.
func HoldTap(namespace, tap string) (release func(), err error) {
	var f *os.File
	err = kernel.Enter("/run/netns/"+namespace, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		f = os.NewFile(uintptr(fd), tap)
		req, err := unix.NewIfreq(tap)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	})
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", tap, err)
	}
	return func() { f.Close() }, nil
}
