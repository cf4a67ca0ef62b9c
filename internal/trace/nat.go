package trace

import (
	"net/netip"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// translation is what a stack's connection tracking remembers of the first packet.
type translation struct {
	stack          *stack
	src, dst       netip.Addr // as it was
	newSrc, newDst netip.Addr // as it went on
	port, newPort  uint16     // of the destination
}

// sourceNAT gives the packet the stack's address.
func (k *walker) sourceNAT(st *stack, rule *model.FirewallRule, r way, p *packet) {
	var to netip.Addr
	switch rule.Verdict {
	case "masquerade":
		to = r.Source
		if x := sourceFor(st.ns, r.Link, r.Gateway, p.dst); x.IsValid() {
			to = x
		}
	case "snat":
		to, _ = natTarget(rule.Target)
		if !to.IsValid() {
			k.may(ByFirewall, "as whom %s goes on is not known", p.src)
			return
		}
	default:
		return
	}
	if !to.IsValid() || to == p.src {
		return
	}
	k.pass(ByFirewall, "%s goes on as %s, and conntrack knows it for the answer", p.src, to)
	k.translations = append(k.translations, translation{st, p.src, p.dst, to, p.dst, p.port, p.port})
	p.src = to
}

// natTarget reads ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT or :PORT.
func natTarget(s string) (netip.Addr, uint16) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, 0
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr(), ap.Port()
	}
	port, only := strings.CutPrefix(s, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !only || err != nil {
		return netip.Addr{}, 0
	}
	return netip.Addr{}, uint16(n)
}

// destinationNAT sends the packet elsewhere.
func (k *walker) destinationNAT(st *stack, rule *model.FirewallRule, iif string, p *packet) {
	to, port := natTarget(rule.Target)
	switch rule.Verdict {
	case "dnat":
		if !to.IsValid() && port == 0 {
			k.may(ByFirewall, "what %s becomes is not known", p.dst)
			return
		}
	case "redirect":
		if iif == "" { // of its own packets (nf_nat_redirect)
			to = map[bool]netip.Addr{true: netip.AddrFrom4([4]byte{127, 0, 0, 1}), false: netip.IPv6Loopback()}[p.dst.Is4()]
		}
		for _, a := range st.ns.AddressesOf(iif) {
			if familyOf(a.Prefix.Addr()) == familyOf(p.dst) && !to.IsValid() {
				to = a.Prefix.Addr()
			}
		}
	default:
		return
	}
	if !to.IsValid() {
		to = p.dst
	}
	if port == 0 || p.port == 0 {
		port = p.port
	}
	if to == p.dst && port == p.port {
		return
	}
	k.pass(ByFirewall, "%s becomes %s", withPort(p.dst, p.port), withPort(to, port))
	k.translations = append(k.translations, translation{st, p.src, p.dst, p.src, to, p.port, port})
	p.dst, p.port = to, port
}

func withPort(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

// translateBack undoes for an answer what the stack's connection tracking remembers: the
// destination as it comes in, the source as it goes out.
func (k *walker) translateBack(st *stack, p *packet, in bool) {
	for i := len(k.translations) - 1; i >= 0; i-- {
		t := k.translations[i]
		switch {
		case t.stack != st:
		case in && t.newSrc != t.src && p.dst == t.newSrc:
			k.pass(ByFirewall, "conntrack gives the answer back its address %s", t.src)
			p.dst = t.src
		case !in && (t.newDst != t.dst || t.newPort != t.port) && p.src == t.newDst && p.port == t.newPort:
			k.pass(ByFirewall, "conntrack makes the answer one of %s again", withPort(t.dst, t.port))
			p.src, p.port = t.dst, t.port
		}
	}
}
