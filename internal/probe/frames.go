package probe

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// EtherTypes, and the offsets of an untagged frame.
const (
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	etherLen = 14
	ip6Len   = 40
	icmp6    = 58
)

// arpRequest is a broadcast "who has target, tell source" (RFC 826).
func arpRequest(mac net.HardwareAddr, source, target netip.Addr) []byte {
	f := ether(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, etherTypeARP)
	f = append(f, 0, 1, 0x08, 0, 6, 4, 0, 1) // Ethernet, IPv4, address lengths, request
	f = append(f, mac...)
	f = append(f, source.AsSlice()...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, target.AsSlice()...)
}

func isARPReply(f []byte, target netip.Addr) bool {
	if len(f) < etherLen+28 || binary.BigEndian.Uint16(f[12:]) != etherTypeARP {
		return false
	}
	arp := f[etherLen:]
	return binary.BigEndian.Uint16(arp[6:]) == 2 && bytes.Equal(arp[14:18], target.AsSlice())
}

// solicitation is a neighbour solicitation to target's solicited-node group, with the
// source link-layer address option (RFC 4861, section 4.3).
func solicitation(mac net.HardwareAddr, source, target netip.Addr) []byte {
	t, s := target.As16(), source.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], t[13:])
	body := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, t[:]...)
	body = append(body, 1, 1) // source link-layer address, 8 bytes
	body = append(body, mac...)
	binary.BigEndian.PutUint16(body[2:], checksum(s, group, body))

	f := ether(net.HardwareAddr{0x33, 0x33, group[12], group[13], group[14], group[15]}, mac, etherTypeIPv6)
	f = append(f, 0x60, 0, 0, 0, byte(len(body)>>8), byte(len(body)), icmp6, 255)
	f = append(f, s[:]...)
	f = append(f, group[:]...)
	return append(f, body...)
}

func isAdvertisement(f []byte, target netip.Addr) bool {
	if len(f) < etherLen+ip6Len+24 || binary.BigEndian.Uint16(f[12:]) != etherTypeIPv6 || f[etherLen+6] != icmp6 {
		return false
	}
	na := f[etherLen+ip6Len:]
	t := target.As16()
	return na[0] == 136 && bytes.Equal(na[8:24], t[:])
}

func ether(to, from net.HardwareAddr, protocol uint16) []byte {
	f := make([]byte, 0, 128)
	f = append(f, to...)
	f = append(f, from...)
	return binary.BigEndian.AppendUint16(f, protocol)
}

// checksum is ICMPv6's, over the pseudo header of RFC 8200, section 8.1.
func checksum(source, target [16]byte, body []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	add(source[:])
	add(target[:])
	sum += uint32(len(body)) + icmp6
	add(body)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// echoRequest is an ICMP or ICMPv6 echo request. The kernel fills in ICMPv6's checksum
// (RFC 3542, section 3.1), and not ICMP's.
func echoRequest(typ byte, id, seq uint16) []byte {
	b := []byte{typ, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, seq)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}

// isEchoReply reads what a raw ICMP socket gives: package net takes the IPv4 header off.
func isEchoReply(b []byte, typ byte, id uint16) bool {
	return len(b) >= 8 && b[0] == typ && binary.BigEndian.Uint16(b[4:]) == id
}
