package guest

import (
	"fmt"
	"net"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// ifreqName and ifreqMAC are struct ifreq (netdevice(7)) for the two requests that
// unix.Ifreq has no setter for.
type ifreqName struct {
	name, newName [unix.IFNAMSIZ]byte
	_             [8]byte
}

type ifreqMAC struct {
	name [unix.IFNAMSIZ]byte
	addr unix.RawSockaddr
	_    [8]byte
}

// rename gives a device that is down another name.
func rename(from, to string) error {
	var r ifreqName
	if len(to) > model.MaxNameLen || len(from) > model.MaxNameLen {
		return fmt.Errorf("%w: a name of more than %d bytes", model.ErrInvalid, model.MaxNameLen)
	}
	copy(r.name[:], from)
	copy(r.newName[:], to)
	return ifreqIoctl(unix.SIOCSIFNAME, unsafe.Pointer(&r))
}

// setMAC sets a device's hardware address.
func setMAC(name string, mac net.HardwareAddr) error {
	var r ifreqMAC
	copy(r.name[:], name)
	r.addr.Family = unix.ARPHRD_ETHER
	for i, b := range mac[:min(len(mac), 6)] {
		r.addr.Data[i] = int8(b)
	}
	return ifreqIoctl(unix.SIOCSIFHWADDR, unsafe.Pointer(&r))
}

func ifreqIoctl(request uintptr, r unsafe.Pointer) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), request, uintptr(r))
	runtime.KeepAlive(r)
	if errno != 0 {
		return errno
	}
	return nil
}
