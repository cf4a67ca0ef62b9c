package portsec

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// The fields that the rules look at.

func macBytes(m model.MAC) []byte {
	var b []byte
	for octet := range strings.SplitSeq(string(m), ":") {
		n, _ := strconv.ParseUint(octet, 16, 8) // checked by model.PortSecurity.Check
		b = append(b, byte(n))
	}
	return b
}

func etherSource(m model.MAC, not bool) nft.Payload {
	return nft.Payload{Base: nft.Link, Offset: 6, Value: macBytes(m), Not: not, Field: "ether saddr", Is: string(m)}
}

// etherType is of the outermost header: the kernel takes a VLAN tag off before the
// rules run, but gives it back to who looks at these bytes (nft_payload_copy_vlan).
func etherType(t uint16, word string) nft.Payload {
	return nft.Payload{Base: nft.Link, Offset: 12, Value: be16(t), Field: "ether type", Is: word}
}

func arpSource(m model.MAC, not bool) nft.Payload {
	return nft.Payload{Base: nft.Network, Offset: 8, Value: macBytes(m), Not: not, Field: "arp saddr ether", Is: string(m)}
}

func port(source bool, n uint16, not bool) nft.Payload {
	if source {
		return nft.Payload{Base: nft.Transport, Value: be16(n), Not: not, Field: "udp sport", Is: fmt.Sprint(n)}
	}
	return nft.Payload{Base: nft.Transport, Offset: 2, Value: be16(n), Not: not, Field: "udp dport", Is: fmt.Sprint(n)}
}

func icmpv6Type(t byte) nft.Payload {
	return nft.Payload{Base: nft.Transport, Value: []byte{t}, Field: "icmpv6 type", Is: fmt.Sprint(t)}
}

// raw are bytes behind the header of IP that nft(8) has no word for.
func raw(offset int, value ...byte) nft.Payload {
	return nft.Payload{Base: nft.Transport, Offset: offset, Value: value}
}

// within compares an address with a prefix.
func within(base nft.Base, offset int, field string, p netip.Prefix) nft.Payload {
	return nft.Within(base, offset, field, p, false)
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
