package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// truth is what is known of a question: no, yes, or it depends on what is not known.
type truth int

const (
	no truth = iota
	yes
	maybe
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return maybe
}

// seen is a packet as a hook of netfilter sees it.
type seen struct {
	*packet
	iif, oif string
	family   string // of the hook's packets: ip, ip6, bridge
	bridge   string // that it is bridged by, in the bridge family
}

// ruling is what the chains of one hook make of a packet.
type ruling struct {
	decisions []Decision
	result    Result
	// rewrite is the translation that a rule of type nat asks for, nil for none.
	rewrite *model.FirewallRule
	chain   model.FirewallChain
}

// hook goes through all base chains of a hook, in the order of their priorities: what one
// accepts the next still sees, what one drops is gone (nf_hook_slow).
func (w *world) hook(st *stack, name string, p seen, device string) ruling {
	out := ruling{result: Pass}
	if st.ns.Ruleset == nil {
		return out
	}
	for _, c := range baseChains(st.ns.Ruleset, name, p.family, device) {
		if c.Type == "nat" && p.answer {
			continue // only the first packet of a connection is asked about (nf_nat_inet_fn)
		}
		if c.Family == "netdev" && c.Table == ownTable && st.ns.SecurityOf(device) != nil {
			continue // told as port security
		}
		e := evaluation{firewall: st.ns.Ruleset, table: c, packet: p}
		e.run(c, 0, yes)
		d, result := e.decide(c)
		if d != nil {
			out.decisions = append(out.decisions, *d)
		}
		if e.final != nil && e.rewrites() && result == Pass {
			rule := e.final.rule
			out.rewrite, out.chain = &rule, c
		}
		if result != Pass {
			out.result = result
		}
		if result == Dies {
			break
		}
	}
	return out
}

// ownTable is the table of port security.
const ownTable = "drawbridge"

func baseChains(f *model.Ruleset, hook, family, device string) []model.FirewallChain {
	var out []model.FirewallChain
	for _, c := range f.Chains {
		of := c.Family == family || c.Family == "inet" && family != "bridge" && family != "netdev"
		if hook == "ingress" || hook == "egress" {
			of = c.Family == "netdev" && slices.Contains(c.Devices, device) || c.Family == "inet" && slices.Contains(c.Devices, device)
		}
		if c.Hook == hook && of {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b model.FirewallChain) int { return cmp.Compare(a.Priority, b.Priority) })
	return out
}

// outcome is a rule that ends the evaluation, and the chain that it is in.
type outcome struct {
	rule  model.FirewallRule
	chain string
	sure  truth
}

// evaluation goes through one base chain.
type evaluation struct {
	firewall *model.Ruleset
	table    model.FirewallChain
	packet   seen
	final    *outcome  // that surely ends it
	possible []outcome // that may end it before
}

const deepest = 16 // NFT_JUMP_STACK_SIZE

// run evaluates a chain; sure tells whether the packet surely comes by. It is done when a rule
// has surely decided.
func (e *evaluation) run(c model.FirewallChain, depth int, sure truth) (done bool) {
	for _, r := range c.Rules {
		m := matches(r, e.packet)
		if m == no || r.Verdict == "" {
			continue
		}
		if sure == maybe {
			m = maybe
		}
		switch r.Verdict {
		case "jump", "goto":
			target := e.chain(r.Target)
			if target == nil || depth >= deepest {
				continue
			}
			if e.run(*target, depth+1, m) {
				return true
			}
			if r.Verdict == "goto" && m == yes {
				return false
			}
		case "return":
			if m == yes {
				return false
			}
			e.possible = append(e.possible, outcome{r, c.Name, maybe})
		case "continue":
		default:
			o := outcome{r, c.Name, m}
			if m == yes {
				e.final = &o
				return true
			}
			e.possible = append(e.possible, o)
		}
	}
	return false
}

func (e *evaluation) chain(name string) *model.FirewallChain {
	for i := range e.firewall.Chains {
		c := &e.firewall.Chains[i]
		if c.Family == e.table.Family && c.Table == e.table.Table && c.Name == name {
			return c
		}
	}
	return nil
}

func (e *evaluation) rewrites() bool { return rewrites(e.final.rule.Verdict) }

func rewrites(verdict string) bool {
	return slices.Contains([]string{"snat", "masquerade", "dnat", "redirect"}, verdict)
}

func drops(verdict string) bool { return verdict == "drop" || verdict == "reject" }

// decide tells what comes out, nil where nothing worth telling does.
func (e *evaluation) decide(c model.FirewallChain) (*Decision, Result) {
	where := c.Words()
	d := &Decision{By: ByFirewall, Result: Pass}
	lost := c.Drop && e.final == nil
	switch {
	case e.final != nil:
		lost = drops(e.final.rule.Verdict)
		d.Text = fmt.Sprintf("%s: %s", where, e.final.rule)
		if e.final.chain != c.Name {
			d.Text = fmt.Sprintf("%s, chain %s: %s", where, e.final.chain, e.final.rule)
		}
	case c.Drop:
		d.Text = where + ": no rule accepts it, and the policy is drop"
	default:
		d.Text = where + ": the policy is accept"
	}
	for _, p := range e.possible {
		other := drops(p.rule.Verdict) != lost && p.rule.Verdict != "return" || rewrites(p.rule.Verdict) || p.rule.Verdict == "queue" || p.rule.Verdict == "return" && lost
		if other {
			d.Result = May
			d.Text = fmt.Sprintf("%s, chain %s: whether %q takes it is not known", where, p.chain, p.rule)
			if lost && !rewrites(p.rule.Verdict) {
				d.Text += "; if not, it is dropped"
			}
			return d, May
		}
	}
	if lost {
		d.Result = Dies
		d.Mend = mendOf(c, e)
		return d, Dies
	}
	if e.final != nil && e.final.rule.Verdict == "queue" {
		d.Result = May
		d.Text += ": a program decides"
		return d, May
	}
	if e.final == nil && len(c.Rules) == 0 {
		return nil, Pass
	}
	return d, Pass
}

func mendOf(c model.FirewallChain, e *evaluation) string {
	if e.final != nil {
		return "look at the rule: nft -a list chain " + c.Words()
	}
	if c.Table == "filter" && (c.Family == "ip" || c.Family == "ip6") && c.Hook == "forward" {
		tool := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[c.Family]
		return fmt.Sprintf("%s -I FORWARD -i %s -o %s -j ACCEPT, and the answers with --ctstate ESTABLISHED", tool, cmp.Or(e.packet.iif, "IN"), cmp.Or(e.packet.oif, "OUT"))
	}
	return "accept it in " + c.Words()
}

// matches tells whether all of a rule's questions are answered yes.
func matches(r model.FirewallRule, p seen) truth {
	out := yes
	for _, m := range r.Matches {
		switch p.is(m) {
		case no:
			return no
		case maybe:
			out = maybe
		}
	}
	return out
}

// is answers one question about the packet.
func (p seen) is(m model.FirewallMatch) truth {
	value, known := p.field(m.Key)
	if !known {
		return maybe
	}
	if value == "" { // the packet has no such field: a rule that asks for it is not for it
		return no
	}
	if strings.Contains(m.Key, "ct state") || m.Key == "ct status" {
		return orNot(truthOf(slices.Contains(m.Values, value)), m.Not)
	}
	one := no
	for _, v := range m.Values {
		one = max(one, equal(value, v))
		if one == yes {
			break
		}
	}
	return orNot(one, m.Not)
}

func orNot(t truth, not bool) truth {
	if not {
		return t.not()
	}
	return t
}

// field is what the packet has under a key of nft(8), "" where it has nothing of the kind.
func (p seen) field(key string) (value string, known bool) {
	family, field, _ := strings.Cut(key, " ")
	is4 := p.dst.Is4()
	switch family {
	case "iifname", "iif":
		return p.iif, true
	case "oifname", "oif":
		return p.oif, true
	case "ibrname", "obrname":
		return p.bridge, true
	case "nfproto":
		return map[bool]string{true: "ipv4", false: "ipv6"}[is4], true
	case "protocol":
		return map[bool]string{true: "ip", false: "ip6"}[is4], true
	case "l4proto":
		return p.l4(), true
	case "mark":
		return "0", true
	case "pkttype":
		return "host", true
	case "ip", "ip6":
		if is4 != (family == "ip") {
			return "", true
		}
		switch field {
		case "saddr":
			return p.src.String(), true
		case "daddr":
			return p.dst.String(), true
		case "protocol", "nexthdr":
			return p.l4(), true
		}
	case "tcp", "udp", "th":
		if family != "th" && family != p.protocol {
			return "", true
		}
		if p.protocol == "icmp" {
			return "", true
		}
		switch {
		case field == "dport" && !p.answer || field == "sport" && p.answer:
			return portText(p.port), p.port != 0
		case field == "dport" || field == "sport":
			return "", false // chosen by the client
		}
	case "icmp", "icmpv6":
		if p.protocol != "icmp" || is4 != (family == "icmp") {
			return "", true
		}
		if field == "type" {
			return map[bool]string{false: "echo-request", true: "echo-reply"}[p.answer], true
		}
	case "ct":
		switch {
		case field == "state" && p.answer:
			return "established", true
		case field == "state":
			return "new", true
		case field == "status":
			return p.ctStatus(), true
		}
	case "ether", "vlan":
		return p.frameField(family, field)
	}
	return "", false
}

// frameField is what the frame has that the packet is in.
func (p seen) frameField(family, field string) (value string, known bool) {
	switch family + " " + field {
	case "ether saddr":
		return string(p.srcMAC), p.srcMAC != ""
	case "ether daddr":
		return string(p.dstMAC), p.dstMAC != ""
	case "ether type":
		return map[bool]string{true: "ip", false: "ip6"}[p.dst.Is4()], true
	case "vlan id":
		if p.vlan == 0 {
			return "", true
		}
		return strconv.Itoa(int(p.vlan)), true
	}
	return "", false
}

func portText(n uint16) string { return strconv.Itoa(int(n)) }

// equal compares a value with one of a rule: a name with "*" at its end, a range, a prefix.
func equal(value, want string) truth {
	if head, ok := strings.CutSuffix(want, "*"); ok {
		return truthOf(strings.HasPrefix(value, head))
	}
	if value == want {
		return yes
	}
	if a, err := netip.ParseAddr(value); err == nil {
		if p, err := netip.ParsePrefix(want); err == nil {
			return truthOf(p.Contains(a))
		}
		if first, last, ok := strings.Cut(want, "-"); ok {
			x, err1 := netip.ParseAddr(first)
			y, err2 := netip.ParseAddr(last)
			return truthOf(err1 == nil && err2 == nil && !a.Less(x) && !y.Less(a))
		}
		if strings.HasPrefix(want, "@") {
			return maybe
		}
		return no
	}
	if n, err := strconv.ParseUint(value, 0, 64); err == nil {
		first, last, ranged := strings.Cut(want, "-")
		x, err1 := strconv.ParseUint(first, 0, 64)
		y := x
		var err2 error
		if ranged {
			y, err2 = strconv.ParseUint(last, 0, 64)
		}
		if err1 == nil && err2 == nil {
			return truthOf(n >= x && n <= y)
		}
	}
	if strings.HasPrefix(want, "@") || strings.HasPrefix(want, "?") {
		return maybe
	}
	return no
}
