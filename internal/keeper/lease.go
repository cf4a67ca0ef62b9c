package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// Lease is an address to keep, and the identity under which its server knows it.
type Lease struct {
	// Uplink is the link that the address was got on, Link the one that it is on now.
	Uplink string       `json:"uplink"`
	Link   string       `json:"link"`
	Prefix netip.Prefix `json:"prefix"`
	// ClientID is option 61 as the client sends it, empty if it sends none.
	ClientID []byte     `json:"client_id,omitempty"`
	Hostname string     `json:"hostname,omitempty"`
	Server   netip.Addr `json:"server,omitzero"`
	// Timed: the address has a lifetime on the link, which is set anew with each renewal.
	// Some clients (udhcpc) set none; then none is set, or the address would run out when
	// they have it back.
	Timed bool `json:"timed,omitempty"`
	// Client is who got it, in words: "dhclient (process 712)"; "" if nobody was found.
	Client string `json:"client,omitempty"`
}

// Grant is a server's answer.
type Grant struct {
	Server netip.Addr
	Length time.Duration // of the lease, from Since
	Renew  time.Duration // T1
	Since  time.Time     // when it was asked for
}

// ErrRefused says that the server does not grant the address any more (DHCPNAK).
var ErrRefused = errors.New("the DHCP server refuses the address")

// The patience with a server, for each question.
const (
	answerTime = 800 * time.Millisecond
	questions  = 2
)

// ask asks for a lease to be extended: a DHCPREQUEST as from the state REBINDING (RFC 2131,
// 4.3.2), to all servers and relays of the LAN, which needs no knowledge but the address and
// the identity. It goes out by a packet socket: the client's own sockets stay its own.
// Where the server is known, its refusal is heard; a stranger's is not.
func ask(ctx context.Context, link string, l Lease, id []byte) (Grant, error) {
	g := Grant{Since: time.Now()}
	c, err := nclient4.New(link, nclient4.WithTimeout(answerTime), nclient4.WithRetry(questions))
	if err != nil {
		return g, fmt.Errorf("DHCP on %s: %w", link, err)
	}
	defer c.Close()
	request, err := dhcpv4.New(
		dhcpv4.WithHwAddr(c.InterfaceAddr()),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithClientIP(l.Prefix.Addr().AsSlice()),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer),
	)
	if err != nil {
		return g, err
	}
	if len(id) > 0 {
		request.UpdateOption(dhcpv4.OptClientIdentifier(id))
	}
	if l.Hostname != "" {
		request.UpdateOption(dhcpv4.OptHostName(l.Hostname))
	}
	answer, err := c.SendAndRead(ctx, nclient4.DefaultServers, request, func(m *dhcpv4.DHCPv4) bool {
		switch m.MessageType() {
		case dhcpv4.MessageTypeAck:
			return m.YourIPAddr.Equal(l.Prefix.Addr().AsSlice())
		case dhcpv4.MessageTypeNak:
			return l.Server.IsValid() && m.ServerIdentifier().Equal(l.Server.AsSlice())
		default:
			return false
		}
	})
	if err != nil {
		return g, fmt.Errorf("DHCP on %s: no answer: %w", link, err)
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return g, fmt.Errorf("%s: %w", l.Prefix.Addr(), ErrRefused)
	}
	g.Server, _ = netip.AddrFromSlice(answer.ServerIdentifier().To4())
	g.Length = answer.IPAddressLeaseTime(time.Hour)
	g.Renew = answer.IPAddressRenewalTime(g.Length / 2)
	return g, nil
}

// Try renews a lease once, on the uplink that it was got on, under one identity after the
// other until a server grants it. It changes nothing here; at the server, the lease lasts
// a little longer. The lease that comes back has the identity that is right.
func Try(ctx context.Context, l Lease, identities [][]byte) (Lease, error) {
	var last error
	for _, id := range identities {
		g, err := ask(ctx, l.Uplink, l, id)
		if err == nil {
			l.ClientID, l.Server = id, g.Server
			return l, nil
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return l, last
}

// Identities are the client identifiers to try, the likeliest first: the one that the
// client noted; none at all; hardware type and address (RFC 2132, 9.14), as udhcpc and
// others send it; and RFC 4361's, as dhcpcd and systemd-networkd do.
func Identities(noted []byte, mac net.HardwareAddr, duids [][]byte) [][]byte {
	var out [][]byte
	if len(noted) > 0 {
		out = append(out, noted)
	}
	out = append(out, nil)
	if len(mac) != 6 {
		return out
	}
	out = append(out, append([]byte{1}, mac...))
	for _, duid := range duids {
		// type 255, the IAID (by custom the last four bytes of the MAC address), the DUID
		out = append(out, append(append([]byte{0xff}, mac[2:]...), duid...))
	}
	return out
}
