package portsec

import (
	"fmt"
	"net/netip"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// ip6 lets ICMPv6 pass only where its type can be read, and neighbour discovery only in
// the shapes that hosts send. A router's advertisement hides behind extension headers
// and in fragments (RFC 7113): a first fragment without the whole chain of headers does
// not match (RFC 7112), and neither does what the kernel cannot walk.
func (b *builder) ip6() {
	no := func(n byte, is string) nft.Match { return nft.L4{Protocol: n, Not: true, Is: is} }
	rules := []nft.Rule{
		// The kernel knows no protocol behind headers that it cannot walk (nft_set_pktinfo_ipv6_validate).
		then(b.to("src6"), nft.Later{}, no(255, "255")),
	}
	if b.Allows(model.AllowDHCPServer) {
		rules = append(rules, then(b.to("src6"), udp, port(true, 0, true)))
	} else {
		rules = append(rules, drop(DHCPServer, udp, port(true, 547, false)), drop(DHCPServer, udp, port(false, 546, false)),
			then(b.to("src6"), udp, port(true, 547, true), port(false, 546, true)))
	}
	// Mobility, HIP and shim6 are headers that some hosts look behind, and Linux does not.
	rules = append(rules, then(b.to("src6"), no(nft.ProtocolUDP, "udp"), no(nft.ProtocolICMPv6, "icmpv6"), no(135, "135"), no(139, "139"), no(140, "140")))
	if b.Allows(model.AllowRouter) {
		rules = append(rules, then(b.to("src6"), icmpv6, icmpv6Type(134)), then(b.to("src6"), icmpv6, icmpv6Type(137)))
	} else {
		rules = append(rules, drop(Router, icmpv6, icmpv6Type(134)), drop(Router, icmpv6, icmpv6Type(137)))
	}
	rules = append(rules,
		then(b.to("ns"), icmpv6, icmpv6Type(135)),
		then(b.to("na"), icmpv6, icmpv6Type(136)))
	// Errors, echoes, multicast listeners, and a host's question for routers.
	for _, t := range []byte{1, 2, 3, 4, 128, 129, 131, 132, 143} {
		rules = append(rules, then(b.to("src6"), icmpv6, icmpv6Type(t)))
	}
	for _, o := range b.shapes(8, 1) {
		rules = append(rules, then(b.to("src6"), append([]nft.Match{icmpv6, icmpv6Type(133)}, o...)...))
	}
	b.chain("ip6", append(rules, drop(BadIPv6))...)
	b.neighbours()
	b.source6()
}

// shapes are the forms of a message of neighbour discovery: without an option, or with
// one that tells the sender's own MAC. It stands right behind the IPv6 header: nobody
// sends it otherwise, and what has more could hide another option (RFC 6980, RFC 4861).
func (b *builder) shapes(length byte, option byte) [][]nft.Match {
	bare := nft.Payload{Base: nft.Network, Offset: 6, Value: []byte{nft.ProtocolICMPv6}, Field: "ip6 nexthdr", Is: "icmpv6"}
	size := func(n byte, is string) nft.Match {
		return nft.Payload{Base: nft.Network, Offset: 4, Value: []byte{0, n}, Field: "ip6 length", Is: is}
	}
	out := [][]nft.Match{{size(length, fmt.Sprint(length)), bare}}
	for _, m := range b.MACs {
		out = append(out, []nft.Match{size(length+8, fmt.Sprint(length+8)), bare, raw(int(length), append([]byte{option, 1}, macBytes(m)...)...)})
	}
	return out
}

var unspecified = netip.MustParsePrefix("::/128")

// neighbours: solicitations and advertisements (RFC 4861, 4.3 and 4.4).
func (b *builder) neighbours() {
	const size, source, target = 24, 8, 8
	from := within(nft.Network, source, "ip6 saddr", unspecified)
	var ns, na []nft.Rule
	// Duplicate address detection with a nonce (RFC 7527).
	nonce := []nft.Match{from, nft.Payload{Base: nft.Network, Offset: 4, Value: []byte{0, size + 8}, Field: "ip6 length", Is: "32"},
		nft.Payload{Base: nft.Network, Offset: 6, Value: []byte{nft.ProtocolICMPv6}, Field: "ip6 nexthdr", Is: "icmpv6"}, raw(size, 14, 1)}
	ns = append(ns, then(b.to("target"), nonce...))
	for _, shape := range b.shapes(size, 1) {
		ns = append(ns, then(b.to("target"), append([]nft.Match{from}, shape...)...))
	}
	for _, shape := range b.shapes(size, 1) {
		ns = append(ns, then(b.to("src6"), shape...))
	}
	for _, shape := range b.shapes(size, 2) {
		na = append(na, then(b.to("claim"), shape...))
	}
	b.chain("ns", append(ns, drop(BadIPv6))...)
	b.chain("na", append(na, drop(BadIPv6))...)

	// Who asks whether an address is free claims it, too; claim then looks at the source.
	var claim, want []nft.Rule
	each := func(m ...nft.Match) {
		claim = append(claim, then(b.to("claimed"), m...))
		want = append(want, then(b.to("told6"), m...))
	}
	switch {
	case b.IPv6 == model.SourceList && !b.Allows(model.AllowRouter):
		for _, p := range b.sources(false) {
			each(within(nft.Transport, target, "", p))
		}
		each(b.identifier(nft.Transport, target, ""))
	case b.avoidRouters():
		avoid := drop(OtherIPv6, nft.InSet{Base: nft.Transport, Offset: target, Len: 16, Set: Routers, Field: "@th,64,128"})
		claim, want = append(claim, avoid), append(want, avoid)
		each(nft.L4{Protocol: nft.ProtocolICMPv6, Is: "icmpv6"})
	default:
		each(nft.L4{Protocol: nft.ProtocolICMPv6, Is: "icmpv6"})
	}
	b.chain("claim", append(claim, drop(OtherIPv6))...)
	b.chain("target", append(want, drop(OtherIPv6))...)
	_, by6 := SeenOf(b.Link)
	note := then(nft.Verdict{}, nft.AddTo{Base: nft.Transport, Offset: target, Len: 16, Set: by6, Renew: true, Field: "@th,64,128"})
	b.chain("claimed", note, then(b.to("src6")))
	b.chain("told6", note, accept())
}

// avoidRouters: it may have any address, but not one that a router was heard from.
func (b *builder) avoidRouters() bool {
	return b.IPv6 == model.SourceAny && !b.Allows(model.AllowRouter) && b.snoop
}

func (b *builder) source6() {
	const source = 8
	var rules []nft.Rule
	switch {
	case b.IPv6 == model.SourceList && !b.Allows(model.AllowRouter):
		for _, p := range b.sources(false) {
			rules = append(rules, accept(within(nft.Network, source, "ip6 saddr", p)))
		}
		rules = append(rules, accept(b.identifier(nft.Network, source, "ip6 saddr")),
			// A host without an address joins groups and asks for routers (RFC 3590, RFC 4861 4.1).
			accept(within(nft.Network, source, "ip6 saddr", unspecified), icmpv6))
	case b.avoidRouters():
		rules = append(rules, drop(OtherIPv6, nft.InSet{Base: nft.Network, Offset: source, Len: 16, Set: Routers, Field: "@nh,64,128"}), accept(nft.L4{Protocol: 255, Not: true, Is: "255"}))
	default:
		rules = append(rules, accept(nft.L4{Protocol: 255, Not: true, Is: "255"}))
	}
	b.chain("src6", append(rules, drop(OtherIPv6))...)
}

// identifier matches addresses of whatever prefix whose last 64 bits are made of the
// NIC's own MAC (RFC 4291, appendix A): its link-local one, and those by advertisement.
func (b *builder) identifier(base nft.Base, offset int, field string) nft.Payload {
	m := macBytes(b.MACs[0])
	id := []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
	full := append(make([]byte, 8), id...)
	p := nft.Payload{Base: base, Offset: offset, Value: full, Mask: append(make([]byte, 8), 255, 255, 255, 255, 255, 255, 255, 255)}
	if field != "" {
		p.Field, p.Is = field+" & ::ffff:ffff:ffff:ffff", "== "+netip.AddrFrom16([16]byte(full)).String()
	}
	return p
}
