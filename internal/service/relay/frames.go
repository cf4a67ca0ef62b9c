package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherLen   = 14
	ip4Len     = 20
	ip6Len     = 40
	udpLen     = 8
	typeIPv4   = 0x0800
	typeARP    = 0x0806
	typeIPv6   = 0x86dd
	icmp6      = 58
	protoUDP   = 17
	serverPort = 67
	clientPort = 68
)

type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

var (
	everybody  = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
	broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

func ether(to, from mac, protocol uint16) []byte {
	f := append(append(make([]byte, 0, 1514), to[:]...), from[:]...)
	return binary.BigEndian.AppendUint16(f, protocol)
}

const (
	arpRequest = 1
	arpReply   = 2
)

// arp is one message of RFC 826 in its frame. Its target's hardware address is left empty: in
// a request it is what is asked for, in an announcement nobody looks at it (RFC 5227, 3).
func arp(op uint16, to, from mac, sender, asked netip.Addr) []byte {
	f := append(ether(to, from, typeARP), 0, 1, 8, 0, 6, 4)
	f = binary.BigEndian.AppendUint16(f, op)
	f = append(append(f, from[:]...), sender.AsSlice()...)
	return append(append(f, make([]byte, len(from))...), asked.AsSlice()...)
}

// groupMAC is where a multicast packet goes (RFC 2464, 7).
func groupMAC(a netip.Addr) mac {
	b := a.As16()
	return mac{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

func solicitedNode(a netip.Addr) netip.Addr {
	b, g := a.As16(), netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(g[13:], b[13:])
	return netip.AddrFrom16(g)
}

// icmp is an ICMPv6 message in its frame, with the hop limit that neighbour discovery wants.
func icmp(to, from mac, source, destination netip.Addr, body []byte) []byte {
	s, d := source.As16(), destination.As16()
	binary.BigEndian.PutUint16(body[2:], 0)
	binary.BigEndian.PutUint16(body[2:], checksum(append(s[:], d[:]...), icmp6, body))
	f := append(ether(to, from, typeIPv6), 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(body))) //nolint:gosec // it was in a frame
	f = append(f, icmp6, 255)
	return append(append(append(f, s[:]...), d[:]...), body...)
}

// solicitation asks for target; from :: as one who wants to take it (RFC 4862, 5.4.2).
func solicitation(from mac, source, target netip.Addr) []byte {
	t := target.As16()
	body := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, t[:]...)
	if !source.IsUnspecified() {
		body = append(append(body, 1, 1), from[:]...)
	}
	return icmp(groupMAC(solicitedNode(target)), from, source, solicitedNode(target), body)
}

// advertisement tells that target is at from.
func advertisement(to, from mac, source, destination, target netip.Addr, flags byte) []byte {
	t := target.As16()
	body := append([]byte{136, 0, 0, 0, flags, 0, 0, 0}, t[:]...)
	return icmp(to, from, source, destination, append(append(body, 2, 1), from[:]...))
}

// Flags of a neighbour advertisement.
const (
	isRouter  = 0x80
	solicited = 0x40
	override  = 0x20
)

// datagram is a UDP datagram in its frame.
func datagram(to, from mac, source, destination netip.Addr, sport, dport uint16, payload []byte) []byte {
	f := ether(to, from, typeIPv4)
	size := ip4Len + udpLen + len(payload)
	head := append([]byte{0x45, 0, byte(size >> 8), byte(size), 0, 0, 0, 0, 64, protoUDP, 0, 0}, source.AsSlice()...)
	head = append(head, destination.AsSlice()...)
	binary.BigEndian.PutUint16(head[10:], checksum(nil, 0, head))
	udp := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	udp = append(binary.BigEndian.AppendUint16(udp, uint16(udpLen+len(payload))), 0, 0) //nolint:gosec // it was in a frame
	udp = append(udp, payload...)
	sum := checksum(append(source.AsSlice(), destination.AsSlice()...), protoUDP, udp)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return append(append(f, head...), udp...)
}

// checksum is the internet's, over a pseudo header of the addresses where there are any.
func checksum(addresses []byte, protocol uint32, b []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	if len(addresses) > 0 {
		add(addresses)
		sum += uint32(len(b)) + protocol //nolint:gosec // it was in a frame
	}
	add(b)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
