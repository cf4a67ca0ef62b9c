package portsec_test

import (
	"encoding/binary"
	"net"
	"net/netip"

	"drawbridge/internal/model"
)

// The pretend LAN: a gateway, a victim that is the gateway's neighbour, and the machine
// whose port is secured.
var (
	ownMAC     = hw("02:00:00:00:00:02")
	otherMAC   = hw("02:00:00:00:00:99")
	gatewayMAC = hw("02:00:00:00:00:01")
	broadcast  = hw("ff:ff:ff:ff:ff:ff")
	own4       = netip.MustParseAddr("198.18.0.2")
	gateway4   = netip.MustParseAddr("198.18.0.1")
	other4     = netip.MustParseAddr("198.18.0.9")
	own6       = netip.MustParseAddr("2001:db8::2")
	gateway6   = netip.MustParseAddr("2001:db8::1")
	ownLocal   = netip.MustParseAddr("fe80::ff:fe00:2") // of ownMAC
	gateLocal  = netip.MustParseAddr("fe80::1")
	allNodes   = netip.MustParseAddr("ff02::1")
	none4      = netip.IPv4Unspecified()
	none6      = netip.IPv6Unspecified()
)

func hw(s model.MAC) net.HardwareAddr {
	m, err := net.ParseMAC(string(s))
	if err != nil {
		panic(err)
	}
	return m
}

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func be(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
	typeVLAN = 0x8100
	typeQinQ = 0x88a8
)

func ether(to, from net.HardwareAddr, typ int, body ...[]byte) []byte {
	return cat(to, from, be(typ), cat(body...))
}

// arp is ARP for Ethernet and IPv4: operation 1 asks, 2 answers.
func arp(op int, senderMAC net.HardwareAddr, sender netip.Addr, target netip.Addr) []byte {
	return cat(be(1), be(typeIPv4), []byte{6, 4}, be(op), senderMAC, sender.AsSlice(), make([]byte, 6), target.AsSlice())
}

func sum(b []byte, start uint32) uint16 {
	n := start
	for i := 0; i+1 < len(b); i += 2 {
		n += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		n += uint32(b[len(b)-1]) << 8
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

const (
	udpNumber  = 17
	icmpNumber = 1
	icmp6      = 58
)

// ip4 is an IPv4 packet; offset is the fragment's in bytes, more that others follow.
func ip4(from, to netip.Addr, protocol byte, offset int, more bool, body []byte) []byte {
	frag := offset / 8
	if more {
		frag |= 0x2000
	}
	h := cat([]byte{0x45, 0}, be(20+len(body)), be(4711), be(frag), []byte{64, protocol, 0, 0}, from.AsSlice(), to.AsSlice())
	binary.BigEndian.PutUint16(h[10:], sum(h, 0))
	return cat(h, body)
}

// udp leaves the checksum out, as IPv4 allows.
func udp(from, to int, body []byte) []byte {
	return cat(be(from), be(to), be(8+len(body)), be(0), body)
}

// ip6 is an IPv6 packet with hop limit 255, as neighbour discovery wants it.
func ip6(from, to netip.Addr, next byte, body []byte) []byte {
	return cat([]byte{0x60, 0, 0, 0}, be(len(body)), []byte{next, 255}, from.AsSlice(), to.AsSlice(), body)
}

// sealed fills in the checksum of an ICMPv6 message or a UDP datagram.
func sealed(from, to netip.Addr, next byte, body []byte) []byte {
	body = append([]byte(nil), body...)
	at := 2
	if next == udpNumber {
		at = 6
	}
	pseudo := cat(from.AsSlice(), to.AsSlice(), []byte{0, 0, 0, byte(len(body)), 0, 0, 0, next})
	var start uint32
	for i := 0; i < len(pseudo); i += 2 {
		start += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	binary.BigEndian.PutUint16(body[at:], sum(body, start))
	return body
}

// Extension headers: each names the next one, and is padded to eight bytes.
func options(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} } // PadN

func fragment(next byte, offset int, more bool) []byte {
	n := offset
	if more {
		n |= 1
	}
	return cat([]byte{next, 0}, be(n), []byte{0, 0, 0x12, 0x67})
}

// fragments cut a packet from its own link-local address to all nodes in two.
func fragments(next byte, body []byte, at int) [][]byte {
	all := hw("33:33:00:00:00:01")
	return [][]byte{
		ether(all, ownMAC, typeIPv6, ip6(ownLocal, allNodes, fragHeader, cat(fragment(next, 0, true), body[:at]))),
		ether(all, ownMAC, typeIPv6, ip6(ownLocal, allNodes, fragHeader, cat(fragment(next, at, false), body[at:]))),
	}
}

const (
	hopByHop    = 0
	fragHeader  = 44
	destination = 60
)

// advertisement is a router's, with its link-layer address, a prefix and mark behind it.
func advertisement(mark []byte) []byte {
	prefix := cat([]byte{3, 4, 64, 0xc0}, []byte{0, 0, 0x0e, 0x10}, []byte{0, 0, 0x0e, 0x10}, make([]byte, 4), netip.MustParseAddr("2001:db8:bad::").AsSlice())
	return cat([]byte{134, 0, 0, 0, 64, 0, 7, 8}, make([]byte, 8), []byte{1, 1}, otherMAC, prefix, cat([]byte{253, 2}, make([]byte, 6), mark))
}

// neighbour is a solicitation (135) or an advertisement (136, with override).
func neighbour(typ byte, target netip.Addr, option byte, mac net.HardwareAddr) []byte {
	flags := byte(0)
	if typ == 136 {
		flags = 0x20
	}
	b := cat([]byte{typ, 0, 0, 0, flags, 0, 0, 0}, target.AsSlice())
	if option != 0 {
		b = cat(b, []byte{option, 1}, mac)
	}
	return b
}

// dhcpMessage is a BOOTP message (op 1 asks, 2 answers) with mark as its file name.
func dhcpMessage(op byte, client net.HardwareAddr, yours netip.Addr, mark []byte) []byte {
	b := make([]byte, 240)
	b[0], b[1], b[2] = op, 1, 6
	copy(b[4:], []byte{1, 2, 3, 4})
	copy(b[16:], yours.AsSlice())
	copy(b[28:], client)
	copy(b[108:], mark)
	copy(b[236:], []byte{99, 130, 83, 99})
	kind := byte(1)
	if op == 2 {
		kind = 5
	}
	return cat(b, []byte{53, 1, kind, 255})
}
