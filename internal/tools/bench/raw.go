package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// The reference: the same taps and the same messages as drawbridge sends, without a
// plan, a journal, a guard or a verification. What drawbridge takes longer than this
// is what its safety costs.

const (
	rawGroup  = 1<<30 + 4242
	rawBridge = "br0"
	tunDevice = "/dev/net/tun"

	// include/uapi/linux/if_tun.h, if_link.h: package syscall has them for some machines only.
	tunSetIff, tunSetPersist, tunSetOwner = 0x400454ca, 0x400454cb, 0x400454cc
	iffTapNoPI                            = 0x1002
	iflaMaster, iflaLinkInfo, iflaGroup   = 10, 18, 27
	iflaInfoKind, iflaInfoData            = 1, 2
	iflaExtMask, skipStats                = 29, 8
	brForwardDelay, brSTP                 = 1, 5
	siocGIfIndex, siocSIfHwaddr           = 0x8933, 0x8924
	soRcvBufForce                         = 33
	netlinkCapAck                         = 10
	solNetlink                            = 270
)

var native = binary.NativeEndian

// insideRaw is "raw up N", "raw up-unsettled N", "raw up-alone N" and "raw down N".
func insideRaw(_ context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("raw up|up-unsettled|up-alone|down N")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if args[0] == "down" {
		return rawDown(n)
	}
	return rawUp(n, args[0])
}

func tapName(i int) string { return "tap" + strconv.Itoa(i) }

type rawMessage []byte

func linkMessage(typ, flags uint16, index int32, up bool) rawMessage {
	m := make(rawMessage, syscall.SizeofNlMsghdr+syscall.SizeofIfInfomsg, 128)
	native.PutUint16(m[4:], typ)
	native.PutUint16(m[6:], flags|syscall.NLM_F_REQUEST)
	native.PutUint32(m[20:], uint32(index))
	if up {
		native.PutUint32(m[24:], syscall.IFF_UP)
		native.PutUint32(m[28:], syscall.IFF_UP)
	}
	return m
}

func (m rawMessage) attr(typ uint16, v []byte) rawMessage {
	m = native.AppendUint16(m, uint16(4+len(v)))
	m = native.AppendUint16(m, typ)
	m = append(m, v...)
	return append(m, make([]byte, -len(v)&3)...)
}

func (m rawMessage) u32(typ uint16, v uint32) rawMessage {
	return m.attr(typ, native.AppendUint32(nil, v))
}

func name(s string) []byte { return append([]byte(s), 0) }

// rawUp makes a bridge, n taps in it, all up. "up-unsettled" leaves out that the taps'
// carriers are brought up to date before, as drawbridge does it (see settleCarriers in
// internal/kernel); "up-alone" only makes the taps, with their owner and MAC address.
func rawUp(n int, how string) error {
	info := rawMessage(nil).attr(iflaInfoKind, name("bridge")).
		attr(iflaInfoData, rawMessage(nil).u32(brForwardDelay, 0).u32(brSTP, 0))
	bridge := linkMessage(syscall.RTM_NEWLINK, syscall.NLM_F_CREATE|syscall.NLM_F_EXCL, 0, true).
		attr(syscall.IFLA_IFNAME, name(rawBridge)).attr(syscall.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 1}).attr(iflaLinkInfo, info)
	if err := rawSend([]rawMessage{bridge}); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	master, err := indexOf(s, rawBridge)
	if err != nil {
		return err
	}
	ms, reads := make([]rawMessage, n), make([]rawMessage, n)
	for i := range n {
		index, err := rawTap(s, tapName(i))
		if err != nil {
			return fmt.Errorf("%s: %w", tapName(i), err)
		}
		ms[i] = linkMessage(syscall.RTM_NEWLINK, 0, index, true).
			u32(iflaGroup, rawGroup).u32(iflaMaster, uint32(master))
		reads[i] = linkMessage(syscall.RTM_GETLINK, 0, index, false).u32(iflaExtMask, skipStats)
	}
	if how == "up-alone" {
		return nil
	}
	if how == "up" {
		if err := rawSend(reads); err != nil {
			return err
		}
	}
	return rawSend(ms)
}

// ifreq is struct ifreq: a name, and a union of which the first bytes are used.
type ifreq struct {
	name  [syscall.IFNAMSIZ]byte
	union [24]byte
}

func ioctl(fd int, request, arg uintptr) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, arg); errno != 0 {
		return errno
	}
	return nil
}

func (r *ifreq) ioctl(fd int, request uintptr) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

func indexOf(socket int, link string) (int32, error) {
	var r ifreq
	copy(r.name[:], link)
	err := r.ioctl(socket, siocGIfIndex)
	return int32(native.Uint32(r.union[:])), err
}

func rawTap(socket int, link string) (int32, error) {
	fd, err := syscall.Open(tunDevice, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(fd)
	var r ifreq
	copy(r.name[:], link)
	native.PutUint16(r.union[:], iffTapNoPI)
	if err := r.ioctl(fd, tunSetIff); err != nil {
		return 0, err
	}
	mac := ifreq{union: [24]byte{syscall.ARPHRD_ETHER, 0, 0xfe, 1}} // fe:01:00:00:00:00
	if err := mac.ioctl(fd, siocSIfHwaddr); err != nil {
		return 0, err
	}
	if err := ioctl(fd, tunSetOwner, uintptr(os.Getuid())); err != nil {
		return 0, err
	}
	if err := ioctl(fd, tunSetPersist, 1); err != nil {
		return 0, err
	}
	return indexOf(socket, link)
}

// rawDown deletes the taps, whoever made them, by a group, and the bridge.
func rawDown(n int) error {
	ms := make([]rawMessage, 0, n)
	for i := range n {
		ms = append(ms, linkMessage(syscall.RTM_NEWLINK, 0, 0, false).attr(syscall.IFLA_IFNAME, name(tapName(i))).u32(iflaGroup, rawGroup))
	}
	if err := rawSend(ms); err != nil {
		return err
	}
	return rawSend([]rawMessage{
		linkMessage(syscall.RTM_DELLINK, 0, 0, false).u32(iflaGroup, rawGroup),
		linkMessage(syscall.RTM_DELLINK, 0, 0, false).attr(syscall.IFLA_IFNAME, name(rawBridge)),
	})
}

// rawSend sends messages by the thousand and returns the first refusal. The last one asks
// for an acknowledgement; refusals come in any case.
func rawSend(ms []rawMessage) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soRcvBufForce, 8<<20)
	_ = syscall.SetsockoptInt(fd, solNetlink, netlinkCapAck, 1)
	var b []byte
	for i, m := range ms {
		native.PutUint32(m, uint32(len(m)))
		native.PutUint32(m[8:], uint32(i+1))
		if i == len(ms)-1 {
			native.PutUint16(m[6:], native.Uint16(m[6:])|syscall.NLM_F_ACK)
		}
		b = append(b, m...)
	}
	if err := syscall.Sendto(fd, b, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	var first error
	buf := make([]byte, 64<<10)
	for done := false; !done; {
		got, _, err := syscall.Recvfrom(fd, buf, 0)
		if err != nil {
			return err
		}
		answers, err := syscall.ParseNetlinkMessage(buf[:got])
		if err != nil {
			return err
		}
		for _, a := range answers {
			if a.Header.Type != syscall.NLMSG_ERROR {
				continue // what was asked to be read
			}
			done = int(a.Header.Seq) == len(ms)
			if errno := -int32(native.Uint32(a.Data)); errno != 0 && first == nil {
				first = syscall.Errno(errno)
			}
		}
	}
	return first
}
