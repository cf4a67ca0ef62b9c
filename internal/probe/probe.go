// Package probe asks on the wire whether a host can still be reached.
//
// Probes are chosen before a change and judged after it: what did not pass before is
// not required afterwards. In: addresses and interface names. Out: an error that says
// what was asked and what was heard. It decides nothing about a change; internal/apply
// does. Raw packet sockets need CAP_NET_RAW in the namespace.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
)

// wait is how long one question waits for its answer; it is asked three times.
const (
	wait  = 400 * time.Millisecond
	tries = 3
)

// ErrNoAnswer says that nobody answered.
var ErrNoAnswer = errors.New("no answer")

// Neighbour asks by ARP (RFC 826) or neighbour solicitation (RFC 4861) on the Ethernet
// of the interface link whether target is there. source is an address of this host;
// for IPv6 one with the scope of target. It must run in the namespace of link.
func Neighbour(ctx context.Context, link string, source, target netip.Addr) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("%s: %w", link, err)
	}
	protocol, question, answers := etherTypeARP, arpRequest(ifi.HardwareAddr, source, target), isARPReply
	if target.Is6() {
		protocol, question, answers = etherTypeIPv6, solicitation(ifi.HardwareAddr, source, target), isAdvertisement
	}
	c, err := packet.Listen(ifi, packet.Raw, protocol, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", link, err)
	}
	defer c.Close()
	buf := make([]byte, 2048)
	for range tries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := c.WriteTo(question, &packet.Addr{HardwareAddr: net.HardwareAddr(question[:6])}); err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			if answers(buf[:n], target) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s asked %d times by %s: %w", target, tries, link, ErrNoAnswer)
}
