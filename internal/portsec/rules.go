package portsec

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// Routers is the set of the routers that were heard, shared by all ports.
const Routers = "routers"

// Priority of the chains at their hook: before whatever else is there.
const Priority = -300

// Ruleset is what secures one port.
type Ruleset struct {
	// Chains in such an order that each comes before those that it goes to.
	Chains []nft.Chain
	// Sets that the rules name. Routers is shared with other ports.
	Sets []nft.Set
}

// The reasons that frames are dropped for, as they are counted and told.
const (
	OtherMAC      = "another MAC address"
	SwitchFrame   = "a switch's frame"
	TooMany       = "too many broadcasts"
	TooMuch       = "over the rate"
	OtherProtocol = "another protocol, or a VLAN tag"
	BadARP        = "malformed ARP"
	OtherARP      = "ARP for another address"
	DHCPServer    = "a DHCP server's answer"
	OtherIPv4     = "another IPv4 address"
	BadIPv4       = "malformed IPv4"
	Router        = "a router's advertisement"
	OtherIPv6     = "another IPv6 address"
	BadIPv6       = "malformed or unwanted IPv6"
	NotOnIt       = "the host is not on it"
)

// builder makes the chains of one port.
type builder struct {
	model.PortSecurity
	prefix string
	snoop  bool
	out    Ruleset
}

// Rules are what secures a port. Without snoop, for kernels that have no egress hook
// (before Linux 5.16), nothing is learned from what goes to the port: a port that may
// only use its lease may then use any IPv4 address.
func Rules(p model.PortSecurity, snoop bool) Ruleset {
	b := &builder{PortSecurity: p, prefix: chainPrefix(p.Link), snoop: snoop}
	if p.Level == model.SecurityClosed {
		b.close()
		return b.out
	}
	b.in()
	if p.Level == model.SecurityStrict {
		b.arp()
		b.ip4()
		b.ip6()
	}
	b.toPort()
	for _, c := range b.out.Chains {
		for i := range c.Rules {
			c.Rules[i] = c.Rules[i].WithLayers()
		}
	}
	return b.out
}

// ChainOf names the chain at a link's ingress: every port that is secured has it.
func ChainOf(link string) string { return chainPrefix(link) }

// Names are the names that the chains of a link may have, in the order in which they can
// be deleted.
func Names(link string) []string {
	own := chainPrefix(link)
	parts := partNames()
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = own + p
	}
	return out
}

// partNames are the ends of those names.
var partNames = sync.OnceValue(func() (out []string) {
	p := model.PortSecurity{Link: "x", Level: model.SecurityStrict, MACs: []model.MAC{"02:00:00:00:00:00"}, IPv4: model.SourceLease, IPv6: model.SourceAny}
	for _, c := range Rules(p, true).Chains {
		out = append(out, strings.TrimPrefix(c.Name, chainPrefix("x")))
	}
	return out
})

// LeasesOf names the set of a link's leases.
func LeasesOf(link string) string { return chainPrefix(link) + "-leases" }

// SeenOf names the sets of the addresses that a link's port was seen to use: those that
// it told by ARP, and those of neighbour discovery.
func SeenOf(link string) (by4, by6 string) {
	return chainPrefix(link) + "-seen4", chainPrefix(link) + "-seen6"
}

// SetsOf names the sets that a link may have.
func SetsOf(link string) []string {
	by4, by6 := SeenOf(link)
	return []string{LeasesOf(link), by4, by6}
}

// SeenTimeout is how long an address is remembered that is not used any more, in seconds.
const SeenTimeout = 24 * 60 * 60

// chainPrefix is the link's name where nft(8) takes it, else a hash: a chain's name begins
// with a letter and has letters, digits, '_', '-' and '.'.
func chainPrefix(link string) string {
	plain := strings.Trim(link, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
	if plain {
		return "port-" + link
	}
	return fmt.Sprintf("port.%x", sha256.Sum256([]byte(link)))[:24]
}

func (b *builder) chain(name string, rules ...nft.Rule) {
	b.out.Chains = append(b.out.Chains, nft.Chain{Name: b.name(name), Rules: rules})
}

func (b *builder) name(part string) string {
	if part == "" {
		return b.prefix
	}
	return b.prefix + "-" + part
}

func (b *builder) to(part string) nft.Verdict { return nft.Verdict{Goto: b.name(part)} }

func accept(m ...nft.Match) nft.Rule { return nft.Rule{Matches: m, Verdict: nft.Verdict{Accept: true}} }
func drop(reason string, m ...nft.Match) nft.Rule {
	return nft.Rule{Matches: m, Reason: reason, Verdict: nft.Verdict{Drop: true}}
}
func then(v nft.Verdict, m ...nft.Match) nft.Rule { return nft.Rule{Matches: m, Verdict: v} }

var (
	group       = nft.Payload{Base: nft.Link, Mask: []byte{1, 0, 0, 0, 0, 0}, Value: []byte{1, 0, 0, 0, 0, 0}, Field: "ether daddr & 01:00:00:00:00:00", Is: "== 01:00:00:00:00:00"}
	switchGroup = nft.Payload{Base: nft.Link, Mask: []byte{255, 255, 255, 255, 255, 0xf0}, Value: []byte{1, 0x80, 0xc2, 0, 0, 0}, Field: "ether daddr & ff:ff:ff:ff:ff:f0", Is: "== 01:80:c2:00:00:00"}
	bpduGroup   = nft.Payload{Base: nft.Link, Value: []byte{1, 0x80, 0xc2, 0, 0, 0}, Field: "ether daddr", Is: "01:80:c2:00:00:00"}
	udp         = nft.L4{Protocol: nft.ProtocolUDP, Is: "udp"}
	icmpv6      = nft.L4{Protocol: nft.ProtocolICMPv6, Is: "icmpv6"}
)

// in is the chain at the ingress: the sender, the limits, and which protocol it is.
func (b *builder) in() {
	var rules []nft.Rule
	if b.Level != model.SecurityOff {
		var strangers []nft.Match
		for _, m := range b.MACs {
			strangers = append(strangers, etherSource(m, true))
		}
		rules = append(rules, drop(OtherMAC, strangers...))
		if b.Allows(model.AllowSTP) {
			rules = append(rules, accept(bpduGroup))
		}
		// IEEE 802.1Q-2018, table 8-1: what a bridge keeps to itself, from spanning tree
		// to LLDP. The kernel's lets LLDP and others pass when group_fwd_mask says so.
		rules = append(rules, drop(SwitchFrame, switchGroup))
	} else if b.Guarded {
		rules = append(rules, drop(SwitchFrame, switchGroup))
	}
	if b.Storm > 0 {
		rules = append(rules, drop(TooMany, group, nft.Over{Rate: uint64(b.Storm), Burst: uint32(min(max(b.Storm/10, 5), 1000))}))
	}
	if b.Rate > 0 {
		rules = append(rules, drop(TooMuch, b.overRate()))
	}
	if b.Level != model.SecurityStrict {
		b.out.Chains = append(b.out.Chains, nft.Chain{Name: b.name(""), Hook: nft.Ingress, Priority: Priority, Drop: true, Rules: append(rules, accept())})
		return
	}
	rules = append(rules,
		then(b.to("ip"), etherType(0x0800, "ip")),
		then(b.to("ip6"), etherType(0x86dd, "ip6")),
		then(b.to("arp"), etherType(0x0806, "arp")))
	if b.Allows(model.AllowVLAN) {
		rules = append(rules, accept(etherType(0x8100, "8021q")), accept(etherType(0x88a8, "8021ad")))
	}
	b.out.Chains = append(b.out.Chains, nft.Chain{Name: b.name(""), Hook: nft.Ingress, Priority: Priority, Drop: true, Rules: append(rules, drop(OtherProtocol))})
}

// close is for the interface by which the host itself is on a bridge. What a bridge has
// for its host arrives at that interface (br_pass_frame_up), and what the host sends into
// it leaves there.
func (b *builder) close() {
	hooks := []string{nft.Ingress}
	if b.snoop {
		hooks = append(hooks, nft.Egress)
	}
	for i, hook := range hooks {
		b.out.Chains = append(b.out.Chains, nft.Chain{Name: b.name([]string{"", "out"}[i]), Hook: hook, Priority: Priority, Drop: true, Rules: []nft.Rule{drop(NotOnIt)}})
	}
}

// overRate lets a second's worth come at once, which is how nft_limit counts bytes
// (nft_limit_init: tokens for rate + burst), and four of the largest packets that a guest
// hands over undivided (64 KiB): else not one of them would pass at a low rate.
func (b *builder) overRate() nft.Over {
	return nft.Over{Rate: uint64(b.Rate) / 8, Burst: 256 << 10, Bytes: true}
}

// arp lets pass what tells the truth about the sender (RFC 826).
func (b *builder) arp() {
	// Ethernet, IPv4, and the lengths of their addresses.
	header := nft.Payload{Base: nft.Network, Value: []byte{0, 1, 8, 0, 6, 4}, Not: true, Field: "@nh,0,48", Is: "0x000108000604"}
	strangers := []nft.Match{}
	for _, m := range b.MACs {
		strangers = append(strangers, arpSource(m, true))
	}
	rules := []nft.Rule{drop(BadARP, header), drop(OtherMAC, strangers...)}
	const sender = 14
	from := func(p netip.Prefix) nft.Match { return within(nft.Network, sender, "arp saddr ip", p) }
	// A host that asks whether an address is free has none yet (RFC 5227, 2.1.1).
	rules = append(rules, accept(from(netip.MustParsePrefix("0.0.0.0/32"))))
	if b.anyIPv4() {
		for _, m := range b.MACs {
			rules = append(rules, then(b.to("told4"), arpSource(m, false)))
		}
	} else {
		for _, p := range b.sources(true) {
			rules = append(rules, then(b.to("told4"), from(p)))
		}
		if b.leases() {
			rules = append(rules, then(b.to("told4"), nft.InSet{Base: nft.Network, Offset: sender, Len: 4, Set: LeasesOf(b.Link), Field: "arp saddr ip"}))
		}
	}
	b.chain("arp", append(rules, drop(OtherARP))...)
	by4, by6 := SeenOf(b.Link)
	b.out.Sets = append(b.out.Sets, nft.Set{Name: by4, Timeout: SeenTimeout, Size: 256}, nft.Set{Name: by6, IPv6: true, Timeout: SeenTimeout, Size: 256})
	// Two rules: one that finds no room in the set goes on to the next.
	b.chain("told4", then(nft.Verdict{}, nft.AddTo{Base: nft.Network, Offset: sender, Len: 4, Set: by4, Renew: true, Field: "arp saddr ip"}), accept())
}

// anyIPv4: nothing is known of its IPv4 addresses.
func (b *builder) anyIPv4() bool {
	return b.IPv4 == model.SourceAny || b.Allows(model.AllowRouter) || b.IPv4 == model.SourceLease && !b.snoop
}

func (b *builder) leases() bool { return b.IPv4 == model.SourceLease && b.snoop }

func (b *builder) sources(is4 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range b.Sources {
		if p.Addr().Is4() == is4 {
			out = append(out, p)
		}
	}
	return out
}

// ip4 looks for DHCP, then at the source. That a rule accepts UDP only where its ports
// can be read is what stops a server's answer in a packet too short for them.
func (b *builder) ip4() {
	later := nft.Payload{Base: nft.Network, Offset: 6, Mask: []byte{0x1f, 0xff}, Value: []byte{0, 0}, Not: true, Field: "ip frag-off & 0x1fff", Is: "0"}
	var rules []nft.Rule
	// Fragments but the first have no ports; the first one has all of them, since its
	// length is a multiple of eight.
	rules = append(rules, then(b.to("src4"), later, nft.L4{Protocol: nft.ProtocolUDP, Is: "udp"}))
	for _, m := range b.MACs { // a client's question, for itself
		ask := []nft.Match{udp, port(true, 68, false), port(false, 67, false), clientMAC(m)}
		if b.IPv4 == model.SourceList && !b.Allows(model.AllowRouter) {
			ask = append(ask, nft.Payload{Base: nft.Network, Offset: 12, Value: []byte{0, 0, 0, 0}, Field: "ip saddr", Is: "0.0.0.0"})
		}
		rules = append(rules, accept(ask...))
	}
	if b.Allows(model.AllowDHCPServer) {
		rules = append(rules, then(b.to("src4"), udp, port(true, 0, true)))
	} else {
		// Clients look at the port that they listen at, not at the one it came from.
		rules = append(rules, drop(DHCPServer, udp, port(true, 67, false)), drop(DHCPServer, udp, port(false, 68, false)),
			then(b.to("src4"), udp, port(true, 67, true), port(false, 68, true)))
	}
	rules = append(rules, then(b.to("src4"), nft.L4{Protocol: nft.ProtocolUDP, Not: true, Is: "udp"}), drop(BadIPv4))
	b.chain("ip", rules...)

	const source = 12
	rules = nil
	if b.anyIPv4() {
		rules = append(rules, accept())
	} else {
		for _, p := range b.sources(true) {
			rules = append(rules, accept(within(nft.Network, source, "ip saddr", p)))
		}
		if b.leases() {
			rules = append(rules, accept(nft.InSet{Base: nft.Network, Offset: source, Len: 4, Set: LeasesOf(b.Link), Field: "ip saddr"}))
		}
		// A host without an address may join groups (RFC 3376, 4.2.13).
		rules = append(rules, accept(within(nft.Network, source, "ip saddr", netip.MustParsePrefix("0.0.0.0/32")), nft.L4{Protocol: nft.ProtocolIGMP, Is: "igmp"}))
		rules = append(rules, drop(OtherIPv4))
	}
	b.chain("src4", rules...)
}

// clientMAC is chaddr of a DHCP message (RFC 2131, section 2), behind the header of UDP.
func clientMAC(m model.MAC) nft.Payload { return raw(36, macBytes(m)...) }

// toPort is the chain at the egress: what the port may get, and what is learned from it.
func (b *builder) toPort() {
	var rules []nft.Rule
	if b.Rate > 0 {
		rules = append(rules, drop(TooMuch, b.overRate()))
	}
	if b.Level == model.SecurityStrict && b.snoop {
		if b.leases() {
			b.out.Sets = append(b.out.Sets, nft.Set{Name: LeasesOf(b.Link), Size: 1024})
			// A server's message (op 2) to this MAC, and the address that it gives: an
			// answer to DHCPINFORM gives none.
			for _, m := range b.MACs {
				rules = append(rules, then(nft.Verdict{}, udp, port(true, 67, false), port(false, 68, false), raw(8, 2), clientMAC(m),
					nft.Payload{Base: nft.Transport, Offset: 24, Value: []byte{0, 0, 0, 0}, Not: true, Field: "@th,192,32", Is: "0"},
					nft.AddTo{Base: nft.Transport, Offset: 24, Len: 4, Set: LeasesOf(b.Link), Field: "@th,192,32"}))
			}
		}
		if b.IPv6 == model.SourceAny && !b.Allows(model.AllowRouter) {
			b.out.Sets = append(b.out.Sets, routersSet)
			rules = append(rules, then(nft.Verdict{}, icmpv6, icmpv6Type(134), nft.Payload{Base: nft.Network, Offset: 7, Value: []byte{255}, Field: "ip6 hoplimit", Is: "255"},
				nft.AddTo{Base: nft.Network, Offset: 8, Len: 16, Set: Routers, Renew: true, Field: "@nh,64,128"}))
		}
	}
	if len(rules) > 0 && b.snoop {
		b.out.Chains = append(b.out.Chains, nft.Chain{Name: b.name("out"), Hook: nft.Egress, Priority: Priority, Rules: rules})
	}
}

// routersSet forgets a router that is silent for as long as its advertisements can be
// believed at most (RFC 4861, 6.2.1: 9,000 s).
var routersSet = nft.Set{Name: Routers, IPv6: true, Timeout: 9000, Size: 65535}
