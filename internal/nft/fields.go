package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Within compares an address of the packet with a prefix; field is its name in nft(8).
func Within(base Base, offset int, field string, p netip.Prefix, not bool) Payload {
	m := Payload{Base: base, Offset: offset, Not: not, Value: p.Masked().Addr().AsSlice(), Field: field, Is: p.Masked().String()}
	if p.IsSingleIP() {
		m.Is = p.Addr().String()
		return m
	}
	m.Mask = make([]byte, len(m.Value))
	for i := range p.Bits() {
		m.Mask[i/8] |= 1 << (7 - i%8)
	}
	return m
}

// Port compares the destination port of TCP or UDP: protocol is "tcp" or "udp".
func Port(protocol string, n uint16) []Match {
	number := byte(ProtocolTCP)
	if protocol == "udp" {
		number = ProtocolUDP
	}
	return []Match{L4{Protocol: number, Is: protocol},
		Payload{Base: Transport, Offset: 2, Value: binary.BigEndian.AppendUint16(nil, n), Field: protocol + " dport", Is: fmt.Sprint(n)}}
}
