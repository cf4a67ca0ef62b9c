package kernel

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// mend carries out what only a mend asks for.
func (k *Kernel) mend(op model.Operation) error {
	switch o := op.(type) {
	case model.SetBridge:
		return k.setBridge(o)
	case model.ResetOffloads:
		return k.setTapOffload(o.Link, false)
	case model.AllowOffloads:
		return k.setTapOffload(o.Link, true)
	default:
		return fmt.Errorf("%s: %w", op.Op(), model.ErrInvalid)
	}
}

// setBridge changes a bridge's settings. A message's forward delay is taken before its STP
// state, whatever their order (br_changelink), and one below 2 s is refused while STP is on:
// what switches it off goes first, in a message of its own. Ports that were waiting are let
// through then: their timers would run on for the old delay (br_stp_stop leaves them).
func (k *Kernel) setBridge(o model.SetBridge) error {
	l, err := k.linkByName(o.Bridge)
	if err != nil {
		return err
	}
	if l.Bridge == nil {
		return fmt.Errorf("%s: %w: it is no bridge", o.Bridge, model.ErrInvalid)
	}
	off := o.STP != nil && !*o.STP
	if off {
		if err := k.bridgeData(o.Bridge, func(m *message) { m.u32(unix.IFLA_BR_STP_STATE, 0) }); err != nil {
			return err
		}
	}
	err = k.bridgeData(o.Bridge, func(m *message) {
		if o.ForwardDelay != nil {
			m.u32(unix.IFLA_BR_FORWARD_DELAY, *o.ForwardDelay)
		}
		if o.STP != nil && *o.STP {
			m.u32(unix.IFLA_BR_STP_STATE, 1)
		}
		if o.McastSnooping != nil {
			m.u8(unix.IFLA_BR_MCAST_SNOOPING, bit(*o.McastSnooping))
		}
		if o.McastQuerier != nil {
			m.u8(unix.IFLA_BR_MCAST_QUERIER, bit(*o.McastQuerier))
		}
	})
	if err != nil || !off {
		return err
	}
	return k.forwardNow(l.Index)
}

func (k *Kernel) bridgeData(bridge string, data func(m *message)) error {
	return k.changeLink(bridge, 0, 0, func(m *message) {
		m.nest(unix.IFLA_LINKINFO, func() {
			m.str(unix.IFLA_INFO_KIND, "bridge")
			m.nest(unix.IFLA_INFO_DATA, func() { data(m) })
		})
	})
}

// forwardNow ends the waiting of a bridge's ports.
func (k *Kernel) forwardNow(bridge int) error {
	links, err := k.links(context.Background())
	if err != nil {
		return err
	}
	const forwarding = 3 // BR_STATE_FORWARDING
	for _, l := range links {
		if l.master != bridge || l.Port == nil || l.Port.State != "listening" && l.Port.State != "learning" {
			continue
		}
		m := newMessage(unix.RTM_SETLINK, 0).raw(linkHeader(unix.AF_BRIDGE, l.Index, 0, 0))
		m.nested(unix.IFLA_PROTINFO, func() { m.u8(unix.IFLA_BRPORT_STATE, forwarding) })
		if err := k.rt.do(m); err != nil && !isErrno(err, unix.ENETDOWN) {
			return refusal("state of port "+l.Name, err)
		}
	}
	return nil
}

func bit(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// The commands of SIOCETHTOOL that are used, include/uapi/linux/ethtool.h.
const (
	ethtoolGetTxChecksum = 0x16
	ethtoolSetTxChecksum = 0x17
	ethtoolSetTSO        = 0x1f
)

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct{ command, data uint32 }

// ethtool asks a driver something, or tells it. SIOCETHTOOL has a pointer in its ifreq, for
// which x/sys/unix has no function.
func ethtool(socket int, link string, v *ethtoolValue) error {
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}
	if len(link) >= unix.IFNAMSIZ {
		return unix.ENODEV
	}
	copy(request.name[:], link)
	request.data = unsafe.Pointer(v)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}

// withSocket runs fn with a socket for ioctls on the namespace's links.
func (k *Kernel) withSocket(fn func(socket int) error) error {
	return k.inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		defer unix.Close(fd)
		return fn(fd)
	})
}

// TapOffloads tells which of the links are given packets without a checksum, to be
// completed by whoever reads them: true for those. What is gone is left out.
func (k *Kernel) TapOffloads(links []string) (map[string]bool, error) {
	out := make(map[string]bool, len(links))
	if len(links) == 0 {
		return out, nil
	}
	err := k.withSocket(func(socket int) error {
		for _, link := range links {
			v := ethtoolValue{command: ethtoolGetTxChecksum}
			err := ethtool(socket, link, &v)
			switch {
			case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EOPNOTSUPP):
			case err != nil:
				return refusal("offloads of "+link, err)
			default:
				out[link] = v.data != 0
			}
		}
		return nil
	})
	return out, err
}

// setTapOffload says what is given to a tap: finished packets only, or such as a vnet
// header describes. Whoever holds the tap keeps it; who opens it next asks for what it
// wants (TUNSETOFFLOAD), which this does not forbid (tun_set_offload sets wanted_features).
func (k *Kernel) setTapOffload(link string, on bool) error {
	l, err := k.linkByName(link)
	if err != nil {
		return err
	}
	if l.Tap == nil {
		return fmt.Errorf("%s: %w: it is no tap", link, model.ErrInvalid)
	}
	return k.withSocket(func(socket int) error {
		err := ethtool(socket, link, &ethtoolValue{ethtoolSetTxChecksum, uint32(bit(on))})
		if err == nil && on {
			err = ethtool(socket, link, &ethtoolValue{ethtoolSetTSO, 1})
		}
		return refusal("offloads of tap "+link, err)
	})
}
