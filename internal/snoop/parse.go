package snoop

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"drawbridge/internal/model"
)

// Sighting is an address and who was seen to use it.
type Sighting struct {
	MAC     model.MAC
	Address netip.Addr
	// By is model.SeenByARP, SeenByND or SeenByDHCP; of a server's or router's own
	// address one of those below.
	By string
}

// What a sighting is of, beside an address.
const (
	ByDHCPServer = "dhcp-server"
	ByRouter     = "router"
)

const (
	etherLen  = 14
	typeIPv4  = 0x0800
	typeARP   = 0x0806
	typeIPv6  = 0x86dd
	ip6Len    = 40
	udpLen    = 8
	icmpv6    = 58
	udpNumber = 17
)

// Parse reads one untagged Ethernet frame: no sightings where it tells nothing, or is no
// such frame. Nobody vouches for what it says.
func Parse(f []byte) []Sighting {
	if len(f) < etherLen {
		return nil
	}
	from, body := macOf(f[6:12]), f[etherLen:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case typeARP:
		return parseARP(body)
	case typeIPv6:
		return parseND(from, body)
	case typeIPv4:
		return parseDHCP(from, body)
	default:
		return nil
	}
}

func macOf(b []byte) model.MAC {
	return model.MAC(fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]))
}

// parseARP reads the sender of a question or an answer (RFC 826). A sender without an
// address only asks whether one is free (RFC 5227).
func parseARP(b []byte) []Sighting {
	if len(b) < 28 || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != typeIPv4 || b[4] != 6 || b[5] != 4 {
		return nil
	}
	return sighting(macOf(b[8:14]), netip.AddrFrom4([4]byte(b[14:18])), model.SeenByARP)
}

// sighting leaves out what is the address of nobody.
func sighting(mac model.MAC, a netip.Addr, by string) []Sighting {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return nil
	}
	return []Sighting{{mac, a, by}}
}

// parseND reads neighbour discovery right behind the IPv6 header, where hosts put it
// (RFC 4861, section 4): who solicits, who is advertised, and routers.
func parseND(from model.MAC, b []byte) []Sighting {
	if len(b) < ip6Len+8 || b[0]>>4 != 6 || b[6] != icmpv6 || b[7] != 255 {
		return nil
	}
	source, m := netip.AddrFrom16([16]byte(b[8:24])), b[ip6Len:]
	switch typ := m[0]; {
	case typ == 134:
		return sighting(from, source, ByRouter)
	case typ != 135 && typ != 136, len(m) < 24:
		return nil
	case typ == 135 && !source.IsUnspecified():
		return sighting(from, source, model.SeenByND)
	default: // a target that is advertised, or that is about to be taken (RFC 4862, 5.4)
		return sighting(from, netip.AddrFrom16([16]byte(m[8:24])), model.SeenByND)
	}
}

// parseDHCP reads what a server says to a client (RFC 2131): who is a server, and which
// address is whose.
func parseDHCP(from model.MAC, b []byte) []Sighting {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != udpNumber || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return nil
	}
	size := int(b[0]&0xf) * 4
	if size < 20 || len(b) < size+udpLen+240 {
		return nil
	}
	udp := b[size:]
	m := udp[udpLen:]
	if binary.BigEndian.Uint16(udp) != 67 || binary.BigEndian.Uint16(udp[2:]) != 68 || m[0] != 2 || m[2] != 6 || binary.BigEndian.Uint32(m[236:]) != 0x63825363 {
		return nil
	}
	server, kind := netip.AddrFrom4([4]byte(b[12:16])), byte(0)
	eachOption(m[240:], func(code byte, v []byte) {
		switch {
		case code == 53 && len(v) == 1:
			kind = v[0]
		case code == 54 && len(v) == 4: // behind a relay, the source is the relay's
			server = netip.AddrFrom4([4]byte(v))
		}
	})
	const offer, ack, nak = 2, 5, 6
	if kind != offer && kind != ack && kind != nak {
		return nil
	}
	out := sighting(from, server, ByDHCPServer)
	if kind == ack {
		out = append(out, sighting(macOf(m[28:34]), netip.AddrFrom4([4]byte(m[16:20])), model.SeenByDHCP)...)
	}
	return out
}

// eachOption calls fn with each option up to the end, or to one that leads out of it.
func eachOption(b []byte, fn func(code byte, v []byte)) {
	const pad, end = 0, 255
	for len(b) > 0 && b[0] != end {
		if b[0] == pad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return
		}
		fn(b[0], b[2:2+int(b[1])])
		b = b[2+int(b[1]):]
	}
}
