package trace

import (
	"net/netip"
	"strings"

	"drawbridge/internal/model"
)

// translation is what a stack's connection tracking remembers of the first packet.
type translation struct {
	stack          *stack
	src, dst       netip.Addr // as it was
	newSrc, newDst netip.Addr // as it went on
}

// sourceNAT gives the packet the stack's address.
func (k *walker) sourceNAT(st *stack, rule *model.FirewallRule, r way, p *packet) {
	var to netip.Addr
	switch rule.Verdict {
	case "masquerade":
		to = r.Source
		if x := sourceFor(st.ns, r.Link, orAddr(r.Gateway, p.dst)); x.IsValid() {
			to = x
		}
	case "snat":
		to = firstAddress(rule.Target)
	default:
		return
	}
	if !to.IsValid() || to == p.src {
		return
	}
	k.pass(ByFirewall, "%s goes on as %s, and conntrack knows it for the answer", p.src, to)
	k.translations = append(k.translations, translation{st, p.src, p.dst, to, p.dst})
	p.src, p.snat = to, true
}

func orAddr(a, b netip.Addr) netip.Addr {
	if a.IsValid() {
		return a
	}
	return b
}

// firstAddress reads ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT, and of a range its first.
func firstAddress(s string) netip.Addr {
	s, _, _ = strings.Cut(s, "-")
	if a, err := netip.ParseAddr(s); err == nil {
		return a
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr()
	}
	return netip.Addr{}
}

// destinationNAT sends the packet elsewhere.
func (k *walker) destinationNAT(st *stack, rule *model.FirewallRule, iif string, p *packet) {
	to := netip.Addr{}
	switch rule.Verdict {
	case "dnat":
		to = firstAddress(rule.Target)
	case "redirect":
		for _, a := range st.ns.AddressesOf(iif) {
			if familyOf(a.Prefix.Addr()) == familyOf(p.dst) && !to.IsValid() {
				to = a.Prefix.Addr()
			}
		}
	default:
		return
	}
	if !to.IsValid() || to == p.dst {
		return
	}
	k.pass(ByFirewall, "%s becomes %s", p.dst, to)
	k.translations = append(k.translations, translation{st, p.src, p.dst, p.src, to})
	p.dst, p.dnat = to, true
}

// translateBack undoes for an answer what the stack's connection tracking remembers: the
// destination as it comes in, the source as it goes out.
func (k *walker) translateBack(st *stack, p *packet, in bool) {
	if !k.answering {
		return
	}
	for i := len(k.translations) - 1; i >= 0; i-- {
		t := k.translations[i]
		switch {
		case t.stack != st:
		case in && t.newSrc != t.src && p.dst == t.newSrc:
			k.pass(ByFirewall, "conntrack gives the answer back its address %s", t.src)
			p.dst = t.src
		case !in && t.newDst != t.dst && p.src == t.newDst:
			k.pass(ByFirewall, "conntrack makes the answer one of %s again", t.dst)
			p.src = t.dst
		}
	}
}
