package router

import (
	"context"
	"encoding/hex"
	"fmt"
	"log"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
)

// DHCPConfig says what a DHCP server gives away.
type DHCPConfig struct {
	Server      netip.Prefix // its own address, and the subnet
	First, Last netip.Addr   // the pool, both included
	Gateway     netip.Addr
	DNS         []netip.Addr
	Domain      string
	LeaseTime   time.Duration
}

// DHCP is a DHCPv4 server (RFC 2131) for one subnet.
type DHCP struct {
	config DHCPConfig
	table  *table
	log    *log.Logger
}

// NewDHCP makes a server that does not listen yet.
func NewDHCP(c DHCPConfig, logger *log.Logger) *DHCP {
	return &DHCP{config: c, table: newTable(c.First, c.Last, c.LeaseTime, time.Now), log: logger}
}

// Leases lists the leases in force, by address.
func (d *DHCP) Leases() []Lease { return d.table.leases() }

// Start listens on a link of this thread's namespace until ctx ends.
func (d *DHCP) Start(ctx context.Context, link string) error {
	server, err := server4.NewServer(link, &net.UDPAddr{Port: dhcpv4.ServerPort}, d.handle)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", link, err)
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(); err != nil && ctx.Err() == nil {
			d.log.Printf("dhcp: %v", err)
		}
	}()
	return nil
}

func (d *DHCP) handle(conn net.PacketConn, to net.Addr, m *dhcpv4.DHCPv4) {
	answer := d.answer(m)
	if answer == nil {
		return
	}
	d.log.Printf("dhcp: %s from %s: %s %s", m.MessageType(), m.ClientHWAddr, answer.MessageType(), answer.YourIPAddr)
	if _, err := conn.WriteTo(answer.ToBytes(), destination(to, m, answer)); err != nil {
		d.log.Printf("dhcp: answer %s: %v", m.ClientHWAddr, err)
	}
}

// destination is RFC 2131, 4.1: to the relay, to the client's address if it has one,
// and else (and with every NAK) to everyone, since a client without an address may
// not answer ARP.
func destination(from net.Addr, m, answer *dhcpv4.DHCPv4) net.Addr {
	if gw := m.GatewayIPAddr; gw != nil && !gw.IsUnspecified() {
		return &net.UDPAddr{IP: gw, Port: dhcpv4.ServerPort}
	}
	if answer.MessageType() != dhcpv4.MessageTypeNak && m.ClientIPAddr != nil && !m.ClientIPAddr.IsUnspecified() {
		if u, ok := from.(*net.UDPAddr); ok && !u.IP.Equal(net.IPv4bcast) {
			return u
		}
		return &net.UDPAddr{IP: m.ClientIPAddr, Port: dhcpv4.ClientPort}
	}
	return &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
}

// answer is what a message is answered with, nil for silence.
func (d *DHCP) answer(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if m.OpCode != dhcpv4.OpcodeBootRequest || len(m.ClientHWAddr) == 0 {
		return nil
	}
	who := clientOf(m)
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		a, ok := d.table.offer(who, address(m.RequestedIPAddress()))
		if !ok {
			d.log.Printf("dhcp: the pool %s-%s is used up", d.config.First, d.config.Last)
			return nil
		}
		return d.reply(m, dhcpv4.MessageTypeOffer, a)
	case dhcpv4.MessageTypeRequest:
		return d.request(m, who)
	case dhcpv4.MessageTypeInform:
		return d.reply(m, dhcpv4.MessageTypeAck, netip.Addr{})
	case dhcpv4.MessageTypeRelease:
		d.table.release(who.key, address(m.ClientIPAddr))
	case dhcpv4.MessageTypeDecline:
		d.table.decline(who.key, address(m.RequestedIPAddress()))
	default:
	}
	return nil
}

// request tells the four cases of RFC 2131, 4.3.2, apart: selecting names a server,
// init-reboot names an address, renewing and rebinding have one in ciaddr.
func (d *DHCP) request(m *dhcpv4.DHCPv4, who client) *dhcpv4.DHCPv4 {
	if id := m.ServerIdentifier(); id != nil && address(id) != d.config.Server.Addr() {
		return nil // another server was chosen
	}
	wanted := address(m.RequestedIPAddress())
	if !wanted.IsValid() {
		wanted = address(m.ClientIPAddr)
	}
	if !d.table.bind(who, wanted) {
		return d.reply(m, dhcpv4.MessageTypeNak, netip.Addr{})
	}
	return d.reply(m, dhcpv4.MessageTypeAck, wanted)
}

func (d *DHCP) reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, yours netip.Addr) *dhcpv4.DHCPv4 {
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithServerIP(d.config.Server.Addr().AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(d.config.Server.Addr().AsSlice())),
	}
	if kind != dhcpv4.MessageTypeNak {
		mods = append(mods,
			dhcpv4.WithNetmask(net.CIDRMask(d.config.Server.Bits(), 32)),
			dhcpv4.WithRouter(d.config.Gateway.AsSlice()),
			dhcpv4.WithDNS(slicesOf(d.config.DNS)...),
			dhcpv4.WithOption(dhcpv4.OptDomainName(d.config.Domain)),
		)
	}
	if yours.IsValid() { // an INFORM gets no lease (RFC 2131, 4.3.5)
		mods = append(mods, dhcpv4.WithYourIP(yours.AsSlice()), dhcpv4.WithLeaseTime(uint32(d.config.LeaseTime/time.Second)),
			dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(d.config.LeaseTime/2)),
			dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(d.config.LeaseTime*7/8)))
	}
	answer, err := dhcpv4.NewReplyFromRequest(m, mods...)
	if err != nil {
		d.log.Printf("dhcp: make an answer: %v", err)
		return nil
	}
	return answer
}

func clientOf(m *dhcpv4.DHCPv4) client {
	c := client{key: "mac " + m.ClientHWAddr.String(), mac: m.ClientHWAddr, hostname: m.HostName()}
	if id := m.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 {
		c.id = hex.EncodeToString(id)
		c.key = "id " + c.id
	}
	return c
}

// address is invalid for nil and for 0.0.0.0.
func address(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func slicesOf(as []netip.Addr) []net.IP {
	var out []net.IP
	for _, a := range as {
		out = append(out, a.AsSlice())
	}
	return out
}
