package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
)

// Passage is what became of frames with a MAC address that is not the uplink's own.
type Passage string

// The passages.
const (
	// Passes: a neighbour answered the foreign address.
	Passes Passage = "passes"
	// Filtered: it answers the uplink's own address, and never the foreign one.
	Filtered Passage = "filtered"
	// Unknown: it answers neither, or nobody could be asked.
	Unknown Passage = "unknown"
)

// foreignRounds questions are asked by either address, foreignWait apart: a filter is
// told from lost frames by many that were lost while none of the others was.
const (
	foreignRounds = 4
	foreignWait   = 250 * time.Millisecond
)

// Foreign finds out whether a link takes frames to its LAN whose source is another MAC
// address than its own, as every machine on a bridge has. It asks a neighbour, the
// gateway, by both. By ARP it asks in nobody's name (RFC 5227, 2.1.1), so that no host
// learns anything from it; by neighbour discovery as the link-local address that is made of
// the MAC address, for an answer to nobody goes to everybody. Only switches learn the
// foreign address, until they forget it.
//
// It must run in the namespace of the link.
func Foreign(ctx context.Context, link string, neighbour netip.Addr) (Passage, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return Unknown, fmt.Errorf("%s: %w", link, err)
	}
	protocol, ask := etherTypeARP, arpProbe
	if neighbour.Is6() {
		protocol, ask = etherTypeIPv6, func(mac net.HardwareAddr, target netip.Addr) []byte { return solicitation(mac, madeOf(mac), target) }
	}
	c, err := packet.Listen(ifi, packet.Raw, protocol, nil)
	if err != nil {
		return Unknown, fmt.Errorf("%s: %w", link, err)
	}
	defer c.Close()
	// An answer by ARP goes to the address that asked, which the NIC would drop.
	if err := c.SetPromiscuous(true); err != nil {
		return Unknown, fmt.Errorf("%s: %w", link, err)
	}
	own, foreign := false, foreignMAC()
	buf := make([]byte, 2048)
	for range foreignRounds {
		for _, mac := range []net.HardwareAddr{foreign, ifi.HardwareAddr} {
			if own && bytes.Equal(mac, ifi.HardwareAddr) {
				continue
			}
			question := ask(mac, neighbour)
			if _, err := c.WriteTo(question, &packet.Addr{HardwareAddr: net.HardwareAddr(question[:6])}); err != nil {
				return Unknown, fmt.Errorf("%s: %w", link, err)
			}
		}
		if err := c.SetReadDeadline(soonest(ctx, foreignWait)); err != nil {
			return Unknown, err
		}
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			switch answered(buf[:n], neighbour) {
			case string(foreign):
				return Passes, nil
			case string(ifi.HardwareAddr):
				own = true
			}
		}
		if ctx.Err() != nil {
			return Unknown, ctx.Err()
		}
	}
	if own {
		return Filtered, nil
	}
	return Unknown, nil
}

// foreignMAC is a made-up unicast address with the local bit (IEEE 802, 8.2.2).
func foreignMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	binary.BigEndian.PutUint32(mac[2:], rand.Uint32()) //nolint:gosec // it keeps nobody out
	mac[0], mac[1] = 0x02, 0xdb
	return mac
}

// arpProbe asks for target in nobody's name.
func arpProbe(mac net.HardwareAddr, target netip.Addr) []byte {
	return arpRequest(mac, netip.IPv4Unspecified(), target)
}

// madeOf is the link-local address that is made of a MAC address (RFC 4291, appendix A).
func madeOf(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// answered is the MAC address that an answer about target was sent to, "" for what is none.
func answered(f []byte, target netip.Addr) string {
	if len(f) >= 6 && (isARPReply(f, target) || isAdvertisement(f, target)) {
		return string(f[:6])
	}
	return ""
}
