package dhcp4

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"drawbridge/internal/model"
	"drawbridge/internal/service/lease"
)

// core decides about messages. It does no I/O: what it wants asked by ARP it says.
type core struct {
	config model.DHCP4Config
	table  *lease.Table
	log    func(format string, args ...any)
	// probing are the addresses that are being asked for, with whom they are for.
	probing map[netip.Addr]*probe
	// budgets are how many messages each port may still send.
	budgets map[string]*budget
	now     func() time.Time
	// denied is told of a client that gets no address; may be nil.
	denied func(words string)
}

// budget is what is left of a port's messages, and when that was so.
type budget struct {
	left float64
	at   time.Time
}

// perSecond is how many messages a port may send a second, or as many as it may have
// addresses; four times that at once.
const perSecond = 50

// allow tells whether a port may be heard once more: one VM's flood shall not keep the
// server from the others.
func (s *core) allow(port string) bool {
	rate := float64(max(perSecond, s.config.PerPort))
	now := s.now()
	b := s.budgets[port]
	if b == nil {
		b = &budget{4 * rate, now}
		s.budgets[port] = b
	}
	b.left = min(4*rate, b.left+now.Sub(b.at).Seconds()*rate)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// probe is an address that is asked for by ARP, and what becomes of it when nobody answers.
type probe struct {
	client lease.Client
	last   *dhcpv4.DHCPv4 // its last message: what is answered
	kind   dhcpv4.MessageType
	tries  int // addresses that somebody else had, for this client
}

// maxTries is how many addresses in a row may be in use by others before a client waits
// for its next question.
const maxTries = 8

// answer is what is sent, and to whom.
type answer struct {
	message *dhcpv4.DHCPv4
	mac     [6]byte
	to      netip.Addr
}

// next is what follows from a message: an answer, or an address to ask for.
type next struct {
	answer *answer
	ask    netip.Addr
}

func newCore(c model.DHCP4Config, table *lease.Table, log func(string, ...any)) *core {
	return &core{config: c, table: table, log: log, probing: map[netip.Addr]*probe{}, budgets: map[string]*budget{}, now: time.Now}
}

// hear decides about a message that came from the hardware address from, at a port.
func (s *core) hear(m *dhcpv4.DHCPv4, from [6]byte, port string) next {
	// What a relay sends is not of this network; what speaks for another's card is a lie.
	if m.OpCode != dhcpv4.OpcodeBootRequest || len(m.ClientHWAddr) != 6 || [6]byte(m.ClientHWAddr) != from || from[0]&1 != 0 || valid(m.GatewayIPAddr).IsValid() {
		return next{}
	}
	if !s.allow(port) {
		return next{}
	}
	who := lease.Client{MAC: model.MAC(m.ClientHWAddr.String()), Name: m.HostName(), Port: port}
	if id := m.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 && len(id) <= maxClientID {
		who.ID = hex.EncodeToString(id)
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return s.discover(m, who, 0)
	case dhcpv4.MessageTypeRequest:
		return s.request(m, who)
	case dhcpv4.MessageTypeInform:
		return s.inform(m)
	case dhcpv4.MessageTypeRelease:
		if a := valid(m.ClientIPAddr); s.mine(m) && s.table.Release(who, a) {
			s.log("%s of %s is given back", a, who.MAC)
		}
	case dhcpv4.MessageTypeDecline:
		if a := valid(m.RequestedIPAddress()); s.mine(m) && s.table.Holds(who, a) {
			s.table.Conflict(who, a)
			s.log("%s says that %s is in use by somebody else: it is left alone for a while", who.MAC, a)
		}
	default:
	}
	return next{}
}

// maxClientID is the most bytes of a client identifier: what is longer is not kept for
// ever on disk, and its client is told by its MAC address.
const maxClientID = 64

// mine tells whether a message is for this server.
func (s *core) mine(m *dhcpv4.DHCPv4) bool {
	return valid(m.ServerIdentifier()) == s.config.Server.Addr()
}

func (s *core) discover(m *dhcpv4.DHCPv4, who lease.Client, tries int) next {
	a, fresh, err := s.table.Offer(who, valid(m.RequestedIPAddress()))
	if err != nil {
		s.log("%s gets no address: %v", who.MAC, err)
		if s.denied != nil {
			s.denied(fmt.Sprintf("%s gets no address: %v", who.MAC, err))
		}
		return next{}
	}
	if !fresh {
		return next{answer: s.reply(m, dhcpv4.MessageTypeOffer, a)}
	}
	return s.probe(a, &probe{client: who, last: m, kind: dhcpv4.MessageTypeOffer, tries: tries})
}

// probe begins to ask for an address, or notes the last message where it is asked already.
func (s *core) probe(a netip.Addr, p *probe) next {
	if under := s.probing[a]; under != nil {
		if under.client.MAC == p.client.MAC {
			under.last, under.kind = p.last, p.kind
		}
		return next{}
	}
	s.probing[a] = p
	return next{ask: a}
}

// silent is called when nobody has answered for an address.
func (s *core) silent(a netip.Addr) next {
	p := s.probing[a]
	if p == nil {
		return next{}
	}
	delete(s.probing, a)
	if p.kind == dhcpv4.MessageTypeAck {
		return s.bind(p.last, p.client, a)
	}
	return next{answer: s.reply(p.last, dhcpv4.MessageTypeOffer, a)}
}

// inUse is called when somebody answers for an address. The client itself may: it has the
// address from before.
func (s *core) inUse(a netip.Addr, by [6]byte) next {
	p := s.probing[a]
	if p == nil || p.client.MAC == macWord(by) {
		return next{}
	}
	delete(s.probing, a)
	s.table.Conflict(p.client, a)
	s.log("%s is in use by %s, and is not given to %s", a, macWord(by), p.client.MAC)
	if p.kind == dhcpv4.MessageTypeAck {
		return next{answer: s.reply(p.last, dhcpv4.MessageTypeNak, netip.Addr{})}
	}
	if p.tries+1 >= maxTries {
		return next{}
	}
	return s.discover(p.last, p.client, p.tries+1)
}

func macWord(mac [6]byte) model.MAC { return model.MAC(net.HardwareAddr(mac[:]).String()) }

// request tells the cases of RFC 2131, 4.3.2, apart. This is the network's only server:
// who asks for an address that no one else has gets it, even where nothing is known of
// him, since the file of leases may have been lost.
func (s *core) request(m *dhcpv4.DHCPv4, who lease.Client) next {
	wanted, ciaddr := valid(m.RequestedIPAddress()), valid(m.ClientIPAddr)
	switch {
	case m.ServerIdentifier() != nil && !s.mine(m): // another server was chosen
		return next{}
	case m.ServerIdentifier() != nil: // selecting
		if !s.table.Holds(who, wanted) {
			return next{answer: s.reply(m, dhcpv4.MessageTypeNak, netip.Addr{})}
		}
		if s.probing[wanted] != nil {
			return s.probe(wanted, &probe{client: who, last: m, kind: dhcpv4.MessageTypeAck})
		}
	case ciaddr.IsValid(): // renewing and rebinding: it uses the address
		wanted = ciaddr
	case !s.table.Holds(who, wanted): // init-reboot, and it is not known to have it
		if !s.config.Server.Masked().Contains(wanted) || s.table.Known(who) {
			return next{answer: s.reply(m, dhcpv4.MessageTypeNak, netip.Addr{})}
		}
		a, _, err := s.table.Offer(who, wanted)
		if err != nil || a != wanted {
			return next{answer: s.reply(m, dhcpv4.MessageTypeNak, netip.Addr{})}
		}
		return s.probe(a, &probe{client: who, last: m, kind: dhcpv4.MessageTypeAck})
	}
	return s.bind(m, who, wanted)
}

func (s *core) bind(m *dhcpv4.DHCPv4, who lease.Client, a netip.Addr) next {
	if err := s.table.Bind(who, a); err != nil {
		s.log("%s is refused: %v", who.MAC, err)
		if errors.Is(err, lease.ErrPortFull) {
			return next{}
		}
		return next{answer: s.reply(m, dhcpv4.MessageTypeNak, netip.Addr{})}
	}
	return next{answer: s.reply(m, dhcpv4.MessageTypeAck, a)}
}

// inform tells a client with an address of its own everything else (RFC 2131, 4.3.5).
func (s *core) inform(m *dhcpv4.DHCPv4) next {
	if !s.config.Server.Masked().Contains(valid(m.ClientIPAddr)) {
		return next{}
	}
	return next{answer: s.reply(m, dhcpv4.MessageTypeAck, netip.Addr{})}
}

// reply makes an answer that gives the address yours, which is invalid for none.
func (s *core) reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, yours netip.Addr) *answer {
	server := s.config.Server
	mods := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server.Addr().AsSlice()))}
	if kind != dhcpv4.MessageTypeNak {
		mods = append(mods, s.options(m)...)
	}
	if yours.IsValid() {
		length := s.table.Duration()
		mods = append(mods, dhcpv4.WithYourIP(yours.AsSlice()), dhcpv4.WithLeaseTime(uint32(length/time.Second)),
			dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(length/2)), dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(length*7/8)))
	}
	reply, err := dhcpv4.NewReplyFromRequest(m, mods...)
	if err != nil {
		s.log("an answer to %s cannot be made: %v", m.ClientHWAddr, err)
		return nil
	}
	out := &answer{message: reply, mac: [6]byte(m.ClientHWAddr), to: broadcast}
	// RFC 2131, 4.1: to the address that it has or gets, unless it says that it cannot hear
	// that yet; and a refusal to all, since the client's address is then none.
	ciaddr := valid(m.ClientIPAddr)
	switch {
	case kind == dhcpv4.MessageTypeNak || !ciaddr.IsValid() && m.IsBroadcast():
		out.mac = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case ciaddr.IsValid():
		out.to = ciaddr
	case yours.IsValid():
		out.to = yours
	}
	return out
}

// options are what every client is told.
func (s *core) options(m *dhcpv4.DHCPv4) []dhcpv4.Modifier {
	c := s.config
	mods := []dhcpv4.Modifier{
		dhcpv4.WithNetmask(net.CIDRMask(c.Server.Bits(), 32)),
		dhcpv4.WithOption(dhcpv4.OptBroadcastAddress(last(c.Server).AsSlice())),
	}
	if c.Router.IsValid() {
		mods = append(mods, dhcpv4.WithRouter(c.Router.AsSlice()))
	}
	if len(c.DNS) > 0 {
		var ips []net.IP
		for _, a := range c.DNS {
			ips = append(ips, a.AsSlice())
		}
		mods = append(mods, dhcpv4.WithDNS(ips...))
	}
	if c.Domain != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptDomainName(c.Domain)), dhcpv4.WithDomainSearchList(c.Domain))
	}
	if c.MTU > 0 {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(c.MTU >> 8), byte(c.MTU)})))
	}
	for _, st := range c.Static {
		if st.Name != "" && string(st.MAC) == m.ClientHWAddr.String() {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(st.Name)))
		}
	}
	return mods
}

// last is a subnet's broadcast address.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// valid is invalid for nil and for 0.0.0.0.
func valid(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// Check tells why a configuration cannot be served.
func Check(c model.DHCP4Config) error {
	subnet := c.Server.Masked()
	switch {
	case !c.Server.IsValid() || !c.Server.Addr().Is4():
		return fmt.Errorf("DHCP: the server's address %s is not IPv4: %w", c.Server, model.ErrInvalid)
	case !subnet.Contains(c.First) || !subnet.Contains(c.Last) || c.Last.Less(c.First):
		return fmt.Errorf("DHCP: the pool %s to %s is not in %s: %w", c.First, c.Last, subnet, model.ErrInvalid)
	}
	for _, s := range c.Static {
		if s.Address.IsValid() && (!subnet.Contains(s.Address) || s.Address == c.Server.Addr()) {
			return fmt.Errorf("DHCP: the address %s of %s is not a client's of %s: %w", s.Address, s.Name, subnet, model.ErrInvalid)
		}
	}
	return nil
}
