package dhcp4

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

const (
	ipLen      = 20
	udpLen     = 8
	arpLen     = 28
	protoUDP   = 17
	serverPort = 67
	clientPort = 68
)

var (
	broadcast  = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	errNotDHCP = errors.New("not a datagram for a DHCP server")
)

// parseUDP reads an IPv4 packet with a datagram for port 67, and returns its payload. The
// datagram's checksum is not looked at: on a cable that is memory the sender leaves it to
// hardware that is not there (CHECKSUM_PARTIAL), and a packet socket sees it unfinished.
func parseUDP(b []byte) (from netip.Addr, payload []byte, err error) {
	if len(b) < ipLen || b[0]>>4 != 4 || b[9] != protoUDP {
		return from, nil, errNotDHCP
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipLen || total < header+udpLen || total > len(b) || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return from, nil, errNotDHCP // too short, or a fragment
	}
	udp := b[header:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != serverPort || n < udpLen || n > len(udp) {
		return from, nil, errNotDHCP
	}
	return netip.AddrFrom4([4]byte(b[12:16])), udp[udpLen:n], nil
}

// packUDP makes the IPv4 packet with a datagram from the server to a client.
func packUDP(from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, ipLen+udpLen, ipLen+udpLen+len(payload))
	b[0], b[1], b[8], b[9] = 0x45, 0x10, 64, protoUDP
	binary.BigEndian.PutUint16(b[2:], uint16(ipLen+udpLen+len(payload))) //nolint:gosec // an answer is a few hundred bytes
	copy(b[12:16], from.AsSlice())
	copy(b[16:20], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipLen]))
	udp := b[ipLen:]
	binary.BigEndian.PutUint16(udp, serverPort)
	binary.BigEndian.PutUint16(udp[2:], clientPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(payload))) //nolint:gosec // see above
	b = append(b, payload...)
	udp = b[ipLen:]
	// Over a header of addresses, protocol and length too: RFC 768.
	pseudo := uint32(protoUDP) + uint32(len(udp)) //nolint:gosec // see above
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum := checksum(pseudo, udp)
	if sum == 0 {
		sum = 0xffff // 0 would say that there is none
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return b
}

// checksum is RFC 1071's.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum) //nolint:gosec // folded
}

// askARP is a probe: who has this address, asked by nobody in particular, so that no
// table is filled with a wrong answer (RFC 5227, 2.1.1).
func askARP(mac [6]byte, who netip.Addr) []byte {
	b := make([]byte, arpLen)
	binary.BigEndian.PutUint16(b, 1)          // Ethernet
	binary.BigEndian.PutUint16(b[2:], 0x0800) // IPv4
	b[4], b[5], b[7] = 6, 4, 1                // a request
	copy(b[8:14], mac[:])
	copy(b[24:28], who.AsSlice())
	return b
}

// parseARP reads who says that it has an address.
func parseARP(b []byte) (mac [6]byte, has netip.Addr, ok bool) {
	if len(b) < arpLen || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != 0x0800 || b[4] != 6 || b[5] != 4 {
		return mac, has, false
	}
	has = netip.AddrFrom4([4]byte(b[14:18]))
	return [6]byte(b[8:14]), has, !has.IsUnspecified()
}
