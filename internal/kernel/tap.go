package kernel

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

const tunDevice = "/dev/net/tun"

// parseTun reads IFLA_TUN_* (tun_fill_info). Owner and group are there only where set.
func parseTun(b []byte) (model.Kind, *model.Tap) {
	kind, t := model.TunKind, &model.Tap{}
	_ = walk(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_TUN_TYPE:
			if getU8(v) == unix.IFF_TAP {
				kind = model.TapKind
			}
		case unix.IFLA_TUN_OWNER:
			owner := getU32(v)
			t.Owner = &owner
		case unix.IFLA_TUN_GROUP:
			group := getU32(v)
			t.Group = &group
		case unix.IFLA_TUN_PI:
			t.PacketInfo = getU8(v) != 0
		case unix.IFLA_TUN_VNET_HDR:
			t.VnetHeader = getU8(v) != 0
		case unix.IFLA_TUN_PERSIST:
			t.Persistent = getU8(v) != 0
		case unix.IFLA_TUN_MULTI_QUEUE:
			t.MultiQueue = getU8(v) != 0
		}
	})
	return kind, t
}

// openTun opens the tun device; the namespace of the calling thread becomes that of
// the taps made with it (tun_chr_open).
func openTun() (int, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return fd, nil
	case isErrno(err, unix.ENOENT, unix.ENODEV, unix.ENXIO):
		return -1, fmt.Errorf("%s: %w: %w (hint: the kernel needs TUN: `modprobe tun`, and in a container the device itself)", tunDevice, model.ErrNotFound, err)
	case isErrno(err, unix.EACCES, unix.EPERM):
		return -1, fmt.Errorf("%s: %w: %w (hint: %s)", tunDevice, model.ErrDenied, err, tunModeHint())
	default:
		return -1, fmt.Errorf("%s: %w", tunDevice, err)
	}
}

func tunModeHint() string {
	st, err := os.Stat(tunDevice)
	if err != nil {
		return "run as root"
	}
	return fmt.Sprintf("its mode is %04o; most distributions have 0666, which is safe: making a tap still needs CAP_NET_ADMIN", st.Mode().Perm())
}

// ifreqFor fills a struct ifreq with a name and flags.
func ifreqFor(name string, flags uint16) (*unix.Ifreq, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, model.ErrInvalid)
	}
	ifr.SetUint16(flags)
	return ifr, nil
}

func tapFlags(vnetHeader, multiQueue bool) uint16 {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if vnetHeader {
		flags |= unix.IFF_VNET_HDR
	}
	if multiQueue {
		flags |= unix.IFF_MULTI_QUEUE
	}
	return flags
}

// createTap makes the tap, and gives it its MTU.
func (k *Kernel) createTap(o model.CreateTap) error {
	err := k.inTapSocket(func(socket int) error {
		_, err := makeTap(socket, o)
		return err
	})
	if err != nil {
		return err
	}
	if err := k.shapeTap(o); err != nil {
		return errors.Join(err, k.deleteLink(model.DeleteLink{Name: o.Name, MAC: o.MAC}))
	}
	return nil
}

// shapeTap gives a new tap its MTU.
func (k *Kernel) shapeTap(o model.CreateTap) error {
	if o.MTU == 0 {
		return nil
	}
	return k.changeLink(o.Name, 0, 0, func(m *message) { m.u32(unix.IFLA_MTU, uint32(o.MTU)) })
}

// MakeTransientTap makes a tap that is not persistent, and returns its descriptor and its index:
// the tap lives for as long as that descriptor is open in some process. It does nothing
// by itself, and is not plugged in.
//
// Who has the descriptor may turn the tap into a persistent one, and may change its owner
// and its MAC address, without any right (tun_chr_ioctl: TUNSETPERSIST, TUNSETOWNER,
// SIOCSIFHWADDR): who hands it to somebody else has to look at that.
func (k *Kernel) MakeTransientTap(o model.CreateTap) (tap *os.File, index int, err error) {
	fd := -1
	err = k.inTapSocket(func(socket int) error {
		if fd, index, err = attachTap(socket, o); err != nil {
			return err
		}
		return ownTap(fd, o)
	})
	if err == nil {
		err = k.shapeTap(o)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd) // and it is gone
		}
		return nil, 0, err
	}
	return os.NewFile(uintptr(fd), o.Name), index, nil
}

// inTapSocket runs fn inside the namespace with a socket that SIOCGIFINDEX can ask.
func (k *Kernel) inTapSocket(fn func(socket int) error) error {
	return k.inside(func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		defer unix.Close(s)
		return fn(s)
	})
}

// makeTap makes one tap with IFF_TUN_EXCL, so that an existing one is never taken over,
// and tells its index. It lasts once TUNSETPERSIST is done; a failure before leaves nothing.
func makeTap(socket int, o model.CreateTap) (int, error) {
	fd, index, err := attachTap(socket, o)
	if err != nil {
		return 0, err
	}
	defer rawClose(fd)
	if err := ownTap(fd, o); err != nil {
		return index, err
	}
	if err := rawIoctl(fd, unix.TUNSETPERSIST, 1); err != nil {
		return index, refusal("tap "+o.Name, fmt.Errorf("TUNSETPERSIST: %w", err))
	}
	return index, nil
}

// attachTap makes a tap that lives as long as the descriptor.
func attachTap(socket int, o model.CreateTap) (fd, index int, err error) {
	if err := model.CheckLinkName(o.Name); err != nil {
		return -1, 0, err
	}
	if fd, err = openTun(); err != nil {
		return -1, 0, err
	}
	ifr, err := ifreqFor(o.Name, tapFlags(o.VnetHeader, o.MultiQueue)|unix.IFF_TUN_EXCL)
	if err == nil {
		err = rawIoctlPointer(fd, unix.TUNSETIFF, unsafe.Pointer(ifr))
		switch {
		case err == nil:
		// EBUSY: a tap of that name; EINVAL: another kind of link (tun_set_iff).
		case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINVAL) && unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, ifr) == nil:
			err = fmt.Errorf("tap %s: %w", o.Name, model.ErrExists)
		default:
			err = refusal("tap "+o.Name, fmt.Errorf("TUNSETIFF: %w", err))
		}
	}
	if err == nil {
		if err = unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, ifr); err != nil {
			err = refusal("tap "+o.Name, fmt.Errorf("SIOCGIFINDEX: %w", err))
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, int(ifr.Uint32()), nil
}

// rawIoctl and rawClose do not tell the runtime that the thread may wait: its monitor would
// look every 20 µs whether it still does (runtime.retake), for a thousand taps some 20 ms
// of processor time, and the kernel waits for that processor at each close
// (__tun_detach, synchronize_net).
func rawIoctl(fd int, request, arg uintptr) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, arg); errno != 0 {
		return errno
	}
	return nil
}

func rawIoctlPointer(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func rawClose(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// ownTap gives a tap its owner and, before it can outlive its descriptor, what it is known
// by: who finds one with another MAC has met a stranger's.
func ownTap(fd int, o model.CreateTap) error {
	if o.MAC != "" {
		mac, err := parseMAC(o.MAC)
		if err != nil {
			return fmt.Errorf("tap %s: %w", o.Name, err)
		}
		if err := setTapMAC(fd, mac); err != nil {
			return refusal(fmt.Sprintf("MAC %s of tap %s", o.MAC, o.Name), err)
		}
	}
	if o.Owner != nil {
		if err := rawIoctl(fd, unix.TUNSETOWNER, uintptr(*o.Owner)); err != nil {
			// EINVAL: the user is not mapped in this user namespace (tun_chr_ioctl, uid_valid).
			return refusal(fmt.Sprintf("owner %d of tap %s", *o.Owner, o.Name), err)
		}
	}
	if o.Group != nil {
		if err := unix.IoctlSetInt(fd, unix.TUNSETGROUP, int(*o.Group)); err != nil {
			return refusal(fmt.Sprintf("group %d of tap %s", *o.Group, o.Name), err)
		}
	}
	return nil
}

// setTapMAC sets the MAC address of a tap by its descriptor (tun_chr_ioctl, SIOCSIFHWADDR).
func setTapMAC(fd int, mac []byte) error {
	var ifr struct { // struct ifreq with its ifr_hwaddr
		_      [unix.IFNAMSIZ]byte
		family uint16
		addr   [22]byte
	}
	ifr.family = unix.ARPHRD_ETHER
	copy(ifr.addr[:], mac)
	return rawIoctlPointer(fd, unix.SIOCSIFHWADDR, unsafe.Pointer(&ifr))
}

// ResetTapOffloads switches the offloads off that the last holder of a persistent tap
// left on: the next one may send frames with bad checksums otherwise. ErrBusy while
// somebody holds it.
func (k *Kernel) ResetTapOffloads(name string) error {
	l, err := k.linkByName(name)
	if err != nil {
		return err
	}
	if l.Tap == nil {
		return fmt.Errorf("%s: %w: it is no tap", name, model.ErrInvalid)
	}
	return k.inside(func() error {
		fd, err := openTun()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		flags := tapFlags(l.Tap.VnetHeader, l.Tap.MultiQueue)
		if l.Kind == model.TunKind {
			flags = flags&^unix.IFF_TAP | unix.IFF_TUN
		}
		if l.Tap.PacketInfo {
			flags &^= unix.IFF_NO_PI
		}
		ifr, err := ifreqFor(name, flags)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return refusal("tap "+name, fmt.Errorf("TUNSETIFF: %w", err))
		}
		return refusal("offloads of tap "+name, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0))
	})
}

// OpenTap takes the wire end of an existing tap, in the tap's own shape: one queue, or
// as many as asked for where it was made for several; without packet information, which
// no VMM wants. The caller closes them. ErrBusy while somebody else has it, ErrDenied
// where it is another user's.
func (k *Kernel) OpenTap(name string, queues int) ([]*os.File, error) {
	l, err := k.linkByName(name)
	if err != nil {
		return nil, err
	}
	if l.Kind != model.TapKind {
		return nil, fmt.Errorf("%s: %w: it is no tap", name, model.ErrInvalid)
	}
	if !l.Tap.MultiQueue {
		queues = 1
	}
	flags := tapFlags(l.Tap.VnetHeader, l.Tap.MultiQueue)
	var out []*os.File
	err = k.inside(func() error {
		for range queues {
			fd, err := openTun()
			if err != nil {
				return err
			}
			out = append(out, os.NewFile(uintptr(fd), name))
			ifr, err := ifreqFor(name, flags)
			if err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
				return refusal("tap "+name, fmt.Errorf("TUNSETIFF: %w", err))
			}
		}
		return nil
	})
	if err != nil {
		for _, f := range out {
			err = errors.Join(err, f.Close())
		}
		return nil, err
	}
	return out, nil
}

// CanMakeTap asks whether a tap can be made here. nil if it can; the error says what
// lacks, with a hint.
//
// It asks for a device that is neither tun nor tap: the kernel looks at the rights
// first, and then refuses it (tun_set_iff). Making one and taking it away again would
// cost a command some 40 ms, in which the kernel waits for who may still look at it.
func (k *Kernel) CanMakeTap() error {
	return k.inside(func() error {
		fd, err := openTun()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		ifr, err := ifreqFor("dbtest%d", unix.IFF_NO_PI)
		if err != nil {
			return err
		}
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		if err == nil || isErrno(err, unix.EINVAL) {
			return nil
		}
		hint := ""
		if isErrno(err, unix.EPERM) {
			hint = " (hint: CAP_NET_ADMIN is needed in the namespace: run as root)"
		}
		return fmt.Errorf("%w%s", refusal("a tap", fmt.Errorf("TUNSETIFF: %w", err)), hint)
	})
}

func (k *Kernel) setMTU(name string, mtu int) error {
	return k.changeLink(name, 0, 0, func(m *message) { m.u32(unix.IFLA_MTU, uint32(mtu)) })
}
