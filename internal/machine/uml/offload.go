package uml

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool's commands, include/uapi/linux/ethtool.h.
const (
	ethtoolSetTxChecksum = 0x17
	ethtoolSetTSO        = 0x1f
	ethtoolSetGSO        = 0x24
)

type ethtoolValue struct{ command, data uint32 }

type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// NoOffloads switches transmit checksums and segmentation off on the host's half of a
// veth whose other half a UML reads as raw frames: what comes out there must be whole
// frames, or ping and DHCP work while TCP hangs.
func NoOffloads(link string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("offloads of %s: %w", link, err)
	}
	defer unix.Close(s)
	for _, command := range []uint32{ethtoolSetTSO, ethtoolSetGSO, ethtoolSetTxChecksum} {
		value := &ethtoolValue{command: command}
		request := &ifreqData{data: unsafe.Pointer(value)}
		copy(request.name[:unix.IFNAMSIZ-1], link)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(request)))
		runtime.KeepAlive(value)
		if errno != 0 && errno != unix.EOPNOTSUPP {
			return fmt.Errorf("offloads of %s: %w", link, errno)
		}
	}
	return nil
}
