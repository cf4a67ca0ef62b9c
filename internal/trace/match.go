package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// mark is a mark of a packet, or of its connection.
type mark struct {
	value   uint32
	unknown bool
}

// eval is the number that a rule writes; see [model.FirewallRule].To.
func (p seen) eval(to string) (n uint32, known bool) {
	if v, err := strconv.ParseUint(to, 0, 32); err == nil {
		return uint32(v), true
	}
	field, rest, _ := strings.Cut(to, " & ")
	var of mark
	switch field {
	case "mark":
		of = p.mark
	case "ct mark":
		of = p.conn.mark
	default:
		return 0, false
	}
	and, xor := ^uint32(0), uint32(0)
	if rest != "" {
		if _, err := fmt.Sscanf(rest, "0x%x ^ 0x%x", &and, &xor); err != nil {
			return 0, false
		}
	}
	if and == 0 {
		return xor, true
	}
	return of.value&and ^ xor, !of.unknown
}

// matches tells whether all of a rule's questions are answered yes.
func matches(r model.FirewallRule, p seen) truth {
	out := yes
	for _, m := range r.Matches {
		if out = out.and(p.is(m)); out == no {
			return no
		}
	}
	return out
}

// answer is what a packet has for a key: of several values each is true.
type answer struct {
	values []string
	// none: the packet has no such field, and a rule that asks for it is not for it, whatever
	// it asks (NFT_BREAK).
	none    bool
	unknown bool
}

func is(values ...string) answer { return answer{values: values} }

var (
	absent   = answer{none: true}
	notKnown = answer{unknown: true}
)

// is answers one question about the packet.
func (p seen) is(m model.FirewallMatch) truth {
	keys := strings.Split(m.Key, model.Together)
	answers := make([]answer, len(keys))
	unknown := false
	for i, key := range keys {
		answers[i] = p.field(key)
		if answers[i].none {
			return no
		}
		unknown = unknown || answers[i].unknown
	}
	one := no
	for _, v := range m.Values {
		if one = or(one, all(answers, v)); one == yes {
			break
		}
	}
	if unknown && len(m.Values) == 0 && strings.HasPrefix(m.Key, model.MatchUnknown) {
		one = maybe
	}
	if m.Not {
		return one.not()
	}
	return one
}

func or(a, b truth) truth {
	switch {
	case a == yes || b == yes:
		return yes
	case a == maybe || b == maybe:
		return maybe
	}
	return no
}

// all tells whether each answer is what stands for it in a value of several.
func all(answers []answer, value string) truth {
	parts := []string{value}
	if len(answers) > 1 && value != "*" {
		parts = strings.Split(value, model.Together)
		if len(parts) != len(answers) {
			return maybe
		}
	}
	out := yes
	for i, a := range answers {
		if value == "*" {
			return yes
		}
		if a.unknown {
			out = out.and(maybe)
			continue
		}
		one := no
		for _, v := range a.values {
			one = or(one, equal(v, parts[i]))
		}
		out = out.and(one)
	}
	return out
}

// field is what the packet has under a key of nft(8).
func (p seen) field(key string) answer {
	family, field, _ := strings.Cut(key, " ")
	is4 := p.dst.Is4()
	switch family {
	case "iifname", "iif": // a hook without such a link compares with no name, or number
		return is(p.iif)
	case "oifname", "oif":
		return is(p.oif)
	case "iiftype":
		return p.linkType(p.iif)
	case "oiftype":
		return p.linkType(p.oif)
	case "ibrname", "obrname":
		if p.bridge == "" {
			return absent
		}
		return is(p.bridge)
	case "nfproto":
		return is(map[bool]string{true: "ipv4", false: "ipv6"}[is4])
	case "protocol":
		return is(map[bool]string{true: "ip", false: "ip6"}[is4])
	case "l4proto":
		return is(p.l4())
	case "mark":
		return p.mark.answer()
	case "pkttype":
		return is("host")
	case "ip", "ip6":
		if is4 != (family == "ip") {
			return absent
		}
		return p.header(field)
	case "tcp", "udp", "th":
		return p.transport(family, field)
	case "icmp", "icmpv6":
		if p.protocol != "icmp" || is4 != (family == "icmp") {
			return absent
		}
		switch field {
		case "type":
			return is(map[bool]string{false: "echo-request", true: "echo-reply"}[p.answer])
		case "code":
			return is("0")
		}
	case "ct":
		return p.connection(field)
	case "fib":
		return p.fib(field)
	case "ether", "vlan":
		return p.frame(family, field)
	}
	return notKnown
}

func (m mark) answer() answer {
	if m.unknown {
		return notKnown
	}
	return is(fmt.Sprintf("%#x", m.value))
}

func (p seen) header(field string) answer {
	switch field {
	case "saddr":
		return is(p.src.String())
	case "daddr":
		return is(p.dst.String())
	case "protocol", "nexthdr":
		return is(p.l4())
	}
	return notKnown
}

func (p seen) transport(family, field string) answer {
	switch {
	case family == "th" && p.protocol == "icmp": // whatever is at that place
		return notKnown
	case family != "th" && family != p.protocol:
		return absent
	case field == "flags" && p.answer: // SYN, ACK of an answer's first packet
		return is("0x12")
	case field == "flags":
		return is("0x2")
	case (field == "dport") != p.answer && p.port != 0:
		return is(strconv.Itoa(int(p.port)))
	}
	return notKnown // chosen by the client, or not told
}

// connection is what connection tracking knows of the packet.
func (p seen) connection(field string) answer {
	switch {
	case p.early && field == "state": // there is none yet (nft_ct_get_eval)
		return is("invalid")
	case p.early:
		return absent
	case p.untracked == maybe || p.stateUnknown || p.answer && p.conn.tracked == maybe:
		return notKnown
	case p.untracked == yes && field == "state":
		return is("untracked")
	case p.untracked == yes: // there is no connection to ask
		return absent
	}
	stranger := p.answer && p.conn.tracked != yes // it answers what this stack has not seen
	switch field {
	case "state":
		switch {
		case !p.answer, stranger && p.protocol == "udp":
			return is("new")
		case stranger: // tcp_new, icmp_new refuse an answer
			return is("invalid")
		}
		return is("established")
	case "direction":
		return is(map[bool]string{false: "original", true: "reply"}[p.answer && !stranger])
	case "mark":
		return p.conn.mark.answer()
	case "status":
		return p.status(stranger)
	}
	return notKnown
}

// status are the bits of it that are set.
func (p seen) status(stranger bool) answer {
	out := answer{}
	if p.dnat {
		out.values = append(out.values, "dnat")
	}
	if p.snat {
		out.values = append(out.values, "snat")
	}
	if p.answer && !stranger {
		out.values = append(out.values, "seen-reply", "confirmed")
		if p.protocol != "icmp" {
			out.values = append(out.values, "?assured")
		}
	}
	return out
}

// fib asks the routes of the stack (nft_fib).
func (p seen) fib(field string) answer {
	switch field {
	case "daddr type", "saddr type":
		a := p.dst
		if field == "saddr type" {
			a = p.src
		}
		if _, own := p.stack.has(a); own || a.IsLoopback() {
			return is("local")
		}
		switch r := lookup(p.stack.ns, model.RouteQuery{Destination: a}); {
		case r.doubt != "":
			return notKnown
		case r.Type == "" && a.Is4():
			return is("unreachable", "unspec") // by the kernel's version
		case r.Type == "":
			return is("unreachable")
		default:
			return is(r.Type)
		}
	case "saddr iif oif":
		if p.iif == "lo" || p.src.IsLinkLocalUnicast() {
			return is("exists")
		}
		r := lookup(p.stack.ns, model.RouteQuery{Destination: p.src})
		if r.doubt != "" || p.iif == "" || r.several {
			return notKnown
		}
		return is(map[bool]string{true: "exists", false: "missing"}[r.Type == "unicast" && r.Link == p.iif])
	}
	return notKnown
}

// linkType is of what kind a link's frames are.
func (p seen) linkType(name string) answer {
	n := p.stack.nic(name)
	switch {
	case name == "":
		return absent
	case name == "lo":
		return is("loopback")
	case n == nil || n.link == nil || hasNoFrames(n.link.Kind):
		return notKnown
	}
	return is("ether")
}

// frame is what the frame has that the packet is in.
func (p seen) frame(family, field string) answer {
	known := func(s string) answer {
		if s == "" {
			return notKnown
		}
		return is(s)
	}
	switch family + " " + field {
	case "ether saddr":
		return known(string(p.srcMAC))
	case "ether daddr":
		return known(string(p.dstMAC))
	case "ether type":
		if p.vlan == 0 {
			return is(map[bool]string{true: "ip", false: "ip6"}[p.dst.Is4()])
		}
	case "vlan id":
		if p.vlan == 0 {
			return absent
		}
		return is(strconv.Itoa(int(p.vlan)))
	}
	return notKnown
}

// named tells whether a name is another one, or begins as one with "*" at its end does.
func named(name, want string) bool {
	if head, ok := strings.CutSuffix(want, "*"); ok {
		return strings.HasPrefix(name, head)
	}
	return name == want
}

// equal compares a value with one of a rule: a name with "*" at its end, a range, a prefix, bits
// under a mask.
func equal(value, want string) truth {
	switch {
	case strings.HasPrefix(want, model.MatchUnknown) || strings.HasPrefix(want, "@"):
		return maybe
	case value == "?"+want: // a bit that may be set
		return maybe
	case value == want:
		return yes
	case strings.HasSuffix(want, "*"):
		return truthOf(named(value, want))
	}
	if a, err := netip.ParseAddr(value); err == nil {
		return truthOf(addressWithin(a, want))
	}
	n, err := strconv.ParseUint(value, 0, 64)
	if err != nil {
		return no
	}
	if bits, mask, ok := strings.Cut(want, "/"); ok {
		x, err1 := strconv.ParseUint(bits, 0, 64)
		y, err2 := strconv.ParseUint(mask, 0, 64)
		return truthOf(err1 == nil && err2 == nil && n&y == x)
	}
	first, last, ranged := strings.Cut(want, "-")
	if !ranged {
		last = first
	}
	x, err1 := strconv.ParseUint(first, 0, 64)
	y, err2 := strconv.ParseUint(last, 0, 64)
	return truthOf(err1 == nil && err2 == nil && n >= x && n <= y)
}

func addressWithin(a netip.Addr, want string) bool {
	if p, err := netip.ParsePrefix(want); err == nil {
		return p.Contains(a)
	}
	first, last, ok := strings.Cut(want, "-")
	if !ok {
		x, err := netip.ParseAddr(want)
		return err == nil && x == a
	}
	x, err1 := netip.ParseAddr(first)
	y, err2 := netip.ParseAddr(last)
	return err1 == nil && err2 == nil && !a.Less(x) && !y.Less(a)
}

// asksForMark tells whether one of a stack's rules of routing asks for a mark.
func asksForMark(ns *model.Namespace, family int) bool {
	return slices.ContainsFunc(rulesOf(ns, family), func(r model.Rule) bool { return strings.Contains(r.Selector, "fwmark") })
}
