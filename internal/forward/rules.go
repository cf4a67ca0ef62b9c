package forward

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// The reasons that packets are dropped for, as they are counted and told.
const (
	ToLoopback  = "to this host's loopback"
	OtherSource = "from an address that is not of the network"
	NotOut      = "the network is not to be left"
	NotIn       = "a connection that nobody in the network asked for"
	NotHere     = "the host is not in the network"
	Between     = "this host forwards for its networks only"
)

// The parts of a network's chains. The one at the forward hook is always there.
const (
	partForward = "forward"
	partInput   = "input"
	partRaw     = "raw"
	partDNAT    = "dnat"
	partLocal   = "local"
	partSNAT    = "snat"
)

var parts = []string{partForward, partInput, partRaw, partDNAT, partLocal, partSNAT}

// ChainOf names the chain of a network at the forward hook: every network has it.
func ChainOf(network string) string { return chainName(network, partForward) }

// Names are the names that the chains of a network may have.
func Names(network string) []string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = chainName(network, p)
	}
	return out
}

// Beside names the chains of the network whose chain at the forward hook is given, in the
// order of [Rules].
func Beside(chain string) []string {
	network := strings.TrimSuffix(chain, partForward)
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = network + p
	}
	return out
}

// chainName is the network's name where nft(8) takes it, else a hash.
func chainName(network, part string) string {
	plain := strings.Trim(network, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
	if plain && len(network) <= 64 {
		return "net-" + network + "-" + part
	}
	return fmt.Sprintf("net.%x", sha256.Sum256([]byte(network)))[:24] + "-" + part
}

// Rules are the chains of a network.
func Rules(f model.Forwarding) []nft.Chain {
	b := builder{Forwarding: f}
	b.forward()
	if f.Closed {
		b.chain(partInput, nft.Input, nft.PriorityFilter, false, drop(NotHere, b.from()))
	}
	if len(f.Publish) > 0 {
		b.publish()
	}
	b.leaving()
	return b.out
}

type builder struct {
	model.Forwarding
	out []nft.Chain
}

func (b *builder) chain(part, hook string, priority int, nat bool, rules ...nft.Rule) {
	if len(rules) > 0 {
		b.out = append(b.out, nft.Chain{Name: chainName(b.Network, part), Hook: hook, Priority: priority, NAT: nat, Rules: rules})
	}
}

func (b *builder) from() nft.Match   { return nft.Interface{Name: b.Link} }
func (b *builder) toward() nft.Match { return nft.Interface{Out: true, Name: b.Link} }

func accept(m ...nft.Match) nft.Rule { return nft.Rule{Matches: m, Verdict: nft.Verdict{Accept: true}} }
func drop(reason string, m ...nft.Match) nft.Rule {
	return nft.Rule{Matches: m, Reason: reason, Verdict: nft.Verdict{Drop: true}}
}

var (
	established = nft.Connection{Established: true}
	redirected  = nft.Connection{Redirected: true}
)

// forward is what is let through. Most packets are of connections that were let through
// already: those are asked about first.
//
// What comes by the link and leaves by it is between machines of the network: frames that
// are bridged, where br_netfilter shows them to these rules (bridge-nf-call-iptables), and
// a port that one of them publishes for the others.
func (b *builder) forward() {
	rules := []nft.Rule{accept(b.from(), b.toward())}
	if b.Out || b.In || len(b.Publish) > 0 {
		rules = append(rules, accept(b.from(), established), accept(b.toward(), established))
	}
	if len(b.Publish) > 0 {
		rules = append(rules, accept(b.toward(), redirected))
	}
	if b.In {
		rules = append(rules, accept(b.toward()))
	} else {
		rules = append(rules, drop(NotIn, b.toward()))
	}
	if b.Out {
		rules = append(rules, b.strangers()...)
	} else {
		rules = append(rules, drop(NotOut, b.from()))
	}
	for _, g := range []struct {
		links []string
		six   bool
	}{{b.Guard4, false}, {b.Guard6, true}} {
		for _, from := range g.links {
			for _, to := range g.links {
				rules = append(rules, drop(Between, nft.Family{IPv6: g.six, Told: true}, nft.Interface{Name: from}, nft.Interface{Out: true, Name: to}))
			}
		}
	}
	b.chain(partForward, nft.Forward, nft.PriorityFilter, false, rules...)
}

// strangers drops what comes by the link from addresses that are not the network's.
func (b *builder) strangers() []nft.Rule {
	if len(b.Subnets) == 0 {
		return nil
	}
	var rules []nft.Rule
	for _, six := range []bool{false, true} {
		m := []nft.Match{b.from(), nft.Family{IPv6: six, Told: !b.has(six)}}
		for _, p := range b.Subnets {
			if p.Addr().Is6() == six {
				m = append(m, address(p, true, true))
			}
		}
		rules = append(rules, drop(OtherSource, m...))
	}
	return rules
}

func (b *builder) has(six bool) bool {
	for _, p := range b.Subnets {
		if p.Addr().Is6() == six {
			return true
		}
	}
	return false
}

// publish sends what comes for the host's ports to the machines: from outside and from
// within the network before it is routed, from the host itself as it is sent.
//
// What the host sends to its own loopback address leaves by Link with that address as its
// source, is masqueraded, and is answered: for that the link routes loopback addresses
// (route_localnet), and so it must be seen to that no machine can send to them. An answer
// is not yet for a loopback address where that is looked at, before connection tracking.
// IPv6 has no such switch: what goes to ::1 is refused as ever, and whoever asked for
// localhost asks 127.0.0.1 next.
func (b *builder) publish() {
	var rules []nft.Rule
	for _, p := range b.Publish {
		six := p.To.Is6()
		m := []nft.Match{nft.Family{IPv6: six, Told: true}, nft.ToHost{}}
		switch {
		case p.Address.IsValid():
			m = []nft.Match{nft.Family{IPv6: six}, destination(netip.PrefixFrom(p.Address, p.Address.BitLen()))}
		case six:
			m[0] = nft.Family{IPv6: true}
			m = append(m, address(loopback6, false, true))
		}
		r := nft.Rule{Matches: append(m, nft.Port(p.Protocol, p.Port)...), Verdict: nft.Verdict{To: netip.AddrPortFrom(p.To, p.ToPort)}}
		rules = append(rules, r)
	}
	b.chain(partRaw, nft.Prerouting, nft.PriorityRaw, false, drop(ToLoopback, b.from(), nft.Family{}, destination(loopback4)))
	b.chain(partDNAT, nft.Prerouting, nft.PriorityDstNAT, true, rules...)
	b.chain(partLocal, nft.Output, nft.PriorityDstNAT, true, rules...)
}

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// leaving gives packets an address that is known where they go.
func (b *builder) leaving() {
	var rules []nft.Rule
	masquerade := func(m ...nft.Match) {
		rules = append(rules, nft.Rule{Matches: m, Verdict: nft.Verdict{Masquerade: true}})
	}
	for _, p := range b.Masquerade {
		masquerade(family(p), source(p, false), nft.Interface{Out: true, Not: true, Name: b.Link})
	}
	seen := map[bool]bool{}
	for _, to := range b.Publish {
		six := to.To.Is6()
		if seen[six] {
			continue
		}
		seen[six] = true
		if !six {
			masquerade(family(loopback4), source(loopback4, false), b.toward())
		}
		// One machine's connection to another by the host's address: the answer must come back
		// by the host too, or it comes from an address that was never asked.
		for _, p := range b.Subnets {
			if p.Addr().Is6() == six {
				masquerade(family(p), source(p, false), b.toward(), redirected)
			}
		}
	}
	b.chain(partSNAT, nft.Postrouting, nft.PrioritySrcNAT, true, rules...)
}

func family(p netip.Prefix) nft.Match { return nft.Family{IPv6: p.Addr().Is6()} }

func source(p netip.Prefix, not bool) nft.Match { return address(p, true, not) }

func destination(p netip.Prefix) nft.Match { return address(p, false, false) }

// address compares the source or destination of a packet (RFC 791, RFC 8200).
func address(p netip.Prefix, source, not bool) nft.Match {
	word, offset := "ip daddr", 16
	switch six := p.Addr().Is6(); {
	case six && source:
		word, offset = "ip6 saddr", 8
	case six:
		word, offset = "ip6 daddr", 24
	case source:
		word, offset = "ip saddr", 12
	}
	return nft.Within(nft.Network, offset, word, p, not)
}
