package trace

import (
	"cmp"
	"fmt"
	"slices"
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

// and is whether both are so.
func (t truth) and(o truth) truth {
	switch {
	case t == no || o == no:
		return no
	case t == yes && o == yes:
		return yes
	}
	return maybe
}

// seen is a packet as a hook of netfilter sees it. What rules write, they write to the packet.
type seen struct {
	*packet
	stack    *stack
	iif, oif string
	family   string // of the hook's packets: ip, ip6, bridge
	bridge   string // that it is bridged by, in the bridge family
	way      way    // that was chosen for it, in postrouting
	// conn is what the stack's connection tracking knows; early where it is not asked yet.
	conn  *connection
	early bool
	// snat and dnat: the stack translates the connection.
	snat, dnat bool
}

// connection is what connection tracking of one stack knows of the packet's connection.
type connection struct {
	tracked truth // it has seen the first packet
	mark    mark
}

// hooks asks the firewall of a stack, and does what it translates.
func (k *walker) hooks(st *stack, name string, p seen, device string) {
	if k.dead {
		return
	}
	if st.ns.Ruleset == nil {
		who := "the firewall of " + st.name
		if strings.HasPrefix(st.id, "vm:") {
			k.unknown("%s (a guest's own is not read)", who)
		} else {
			k.unknown("%s (its rules are read by root)", who)
		}
		return
	}
	for _, u := range st.ns.Ruleset.Unread {
		k.unknown("%s of %s", u, st.name)
	}
	if p.within != st { // a mark does not leave a stack (skb_scrub_packet)
		p.within, p.mark, p.untracked, p.stateUnknown = st, mark{}, no, false
	}
	p.stack, p.conn = st, k.connections[st]
	if p.conn == nil {
		p.conn = &connection{}
		k.connections[st] = p.conn
	}
	k.chains(name, p, device)
	if !k.answering && name != "ingress" && name != "egress" {
		p.conn.tracked = max(p.conn.tracked, p.untracked.not())
	}
}

// Where address translation has its place among the chains of a hook: the destination's
// (NF_IP_PRI_NAT_DST) of what comes in or begins, the source's (NF_IP_PRI_NAT_SRC) of what goes
// out or ends. Chains of type nat are asked there, whatever their own priority says, which
// only orders them among themselves (nf_nat_register_fn).
var natPlaces = map[string]int{"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}

// chains goes through all base chains of a hook, in the order of their priorities: what one
// accepts the next still sees, what one drops is gone (nf_hook_slow).
func (k *walker) chains(name string, p seen, device string) {
	st := p.stack
	place, translates := natPlaces[name]
	translates = translates && (p.family == "ip" || p.family == "ip6")
	at := func(c model.FirewallChain) int {
		if c.Type == "nat" && translates {
			return place
		}
		return c.Priority
	}
	list := baseChains(st.ns.Ruleset, name, p.family, device)
	slices.SortStableFunc(list, func(a, b model.FirewallChain) int { return cmp.Compare(at(a), at(b)) })
	var rewrite *model.FirewallRule
	translate := func() {
		if translates {
			k.translate(name, &p, rewrite)
		}
		translates = false
	}
	for _, c := range list {
		if c.Type == "nat" && (p.answer || p.looped || rewrite != nil) {
			continue // only a connection's first packet is asked about, and once (nf_nat_inet_fn)
		}
		if c.Family == "netdev" && c.Table == ownTable && st.ns.SecurityOf(device) != nil {
			continue // told as port security
		}
		if c.Type != "nat" && at(c) >= place {
			translate()
		}
		// nf_conntrack_in is at NF_IP_PRI_CONNTRACK of the two hooks that a packet may begin with.
		const conntrack = -200
		p.early = (name == "prerouting" || name == "output") && c.Priority < conntrack || name == "ingress"
		p.snat, p.dnat = false, false
		for _, t := range k.translations {
			p.snat = p.snat || t.stack == st && t.newSrc != t.src
			p.dnat = p.dnat || t.stack == st && (t.newDst != t.dst || t.newPort != t.port)
		}
		e := evaluation{firewall: st.ns.Ruleset, base: c, packet: p}
		if d := e.decide(); d != nil {
			k.note(*d)
		}
		if k.dead {
			return
		}
		rewrite = cmp.Or(rewrite, e.rewrite)
	}
	translate()
}

// translate does at a hook what a rule asks for, or for an answer what is remembered.
func (k *walker) translate(hook string, p *seen, rule *model.FirewallRule) {
	destination := natPlaces[hook] < 0
	switch {
	case k.answering:
		k.translateBack(p.stack, p.packet, destination)
	case rule == nil:
	case destination:
		k.destinationNAT(p.stack, rule, p.iif, p.packet)
	case hook == "postrouting":
		k.sourceNAT(p.stack, rule, p.way, p.packet)
	default:
		k.may(ByFirewall, "a source that is translated on its way in is not followed")
	}
}

// ownTable is the table of port security.
const ownTable = "drawbridge"

func baseChains(f *model.Ruleset, hook, family, device string) []model.FirewallChain {
	var out []model.FirewallChain
	for _, c := range f.Chains {
		of := c.Family == family || c.Family == "inet" && family != "bridge" && family != "netdev"
		if hook == "ingress" || hook == "egress" {
			of = (c.Family == "netdev" || c.Family == "inet") && slices.ContainsFunc(c.Devices, func(d string) bool { return named(device, d) })
		}
		if c.Hook == hook && of {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b model.FirewallChain) int { return cmp.Compare(a.Priority, b.Priority) })
	return out
}

// outcome is one way in which a base chain may end for the packet: by a rule, or (nil) by its
// policy.
type outcome struct {
	rule  *model.FirewallRule
	chain string
}

// fate is what becomes of the packet by an outcome, for two of the same fate make no difference.
func (e *evaluation) fate(o outcome) string {
	switch {
	case o.rule == nil && e.base.Drop:
		return "lost"
	case o.rule == nil, o.rule.Verdict == "accept":
		return "passes"
	case o.rule.Verdict == "drop", o.rule.Verdict == "reject":
		return "lost"
	case o.rule.Verdict == "queue", strings.HasPrefix(o.rule.Verdict, model.MatchUnknown):
		return "unknown"
	}
	return o.rule.Verdict + " " + o.rule.Target // a translation
}

// evaluation goes through one base chain by all the ways that the packet may take.
type evaluation struct {
	firewall *model.Ruleset
	base     model.FirewallChain
	packet   seen
	outcomes []outcome
	written  *model.FirewallRule // writes what is not followed
	steps    int
	endless  bool
	rewrite  *model.FirewallRule
}

const (
	deepest  = 16      // NFT_JUMP_STACK_SIZE
	mostRuns = 1 << 20 // rules: of what branches more than that nothing is said
)

// run goes through a chain; live tells whether the packet surely comes to it. It returns
// whether the packet comes back from it.
func (e *evaluation) run(c *model.FirewallChain, depth int, live truth) (back truth) {
	back = no
	for i := range c.Rules {
		r := &c.Rules[i]
		if e.steps++; e.steps > mostRuns {
			e.endless = true
			return maybe
		}
		m := matches(*r, e.packet)
		if m == no {
			continue
		}
		if r.Sets != "" {
			e.write(r, m.and(live))
			continue
		}
		switch r.Verdict {
		case "", "continue":
			continue
		case "return":
			if m == yes {
				return max(back, live)
			}
			back = maybe
		case "jump", "goto":
			sub := e.jump(r, depth, live.and(m))
			switch {
			case r.Verdict == "goto" && m == yes:
				return max(back, sub)
			case r.Verdict == "goto" && sub != no:
				back = maybe
			case m == yes && sub == no:
				return back
			case m == yes:
				live = sub
				continue
			case sub == yes:
				continue
			}
		default:
			e.outcomes = append(e.outcomes, outcome{r, c.Name})
			if m == yes {
				return back
			}
		}
		live = maybe
	}
	return max(back, live)
}

// jump goes to another chain of the table.
func (e *evaluation) jump(r *model.FirewallRule, depth int, live truth) truth {
	for i := range e.firewall.Chains {
		c := &e.firewall.Chains[i]
		if c.Family == e.base.Family && c.Table == e.base.Table && c.Name == r.Target && depth < deepest {
			return e.run(c, depth+1, live)
		}
	}
	e.outcomes = append(e.outcomes, outcome{&model.FirewallRule{Matches: r.Matches, Verdict: model.MatchUnknown + "chain " + r.Target}, e.base.Name})
	return maybe
}

// write does to the packet what a rule writes.
func (e *evaluation) write(r *model.FirewallRule, sure truth) {
	p := e.packet.packet
	to, known := e.packet.eval(r.To)
	known = known && sure == yes
	switch r.Sets {
	case "mark":
		p.mark = mark{to, !known}
	case "ct mark":
		e.packet.conn.mark = mark{to, !known}
	case "notrack":
		p.untracked = max(p.untracked, sure)
	case "ct state":
		p.stateUnknown = true
	default:
		e.written = r
	}
}

func rewrites(verdict string) bool {
	return slices.Contains([]string{"snat", "masquerade", "dnat", "redirect"}, verdict)
}

// decide tells what comes out, nil where nothing worth telling does.
func (e *evaluation) decide() *Decision {
	c := e.base
	if e.run(&c, 0, yes) != no {
		e.outcomes = append(e.outcomes, outcome{nil, c.Name})
	}
	d := &Decision{By: ByFirewall, Result: Pass}
	last := e.outcomes[len(e.outcomes)-1]
	fate := e.fate(last)
	d.Text = e.tell(last)
	for _, o := range e.outcomes {
		if f := e.fate(o); f == fate && f != "unknown" {
			continue
		}
		d.Result = May
		d.Text = fmt.Sprintf("%s, chain %s: whether %q takes it is not known", c.Words(), o.chain, o.rule)
		if o == last {
			d.Text = e.tell(last) + ": what it does is not known"
		} else if fate == "lost" {
			d.Text += "; if not, it is dropped"
		}
		return d
	}
	switch {
	case e.endless:
		d.Result, d.Text = May, c.Words()+" branches too often to be followed"
		return d
	case fate == "lost":
		d.Result, d.Mend = Dies, e.mend(last)
		return d
	case e.written != nil:
		d.Result, d.Text = May, fmt.Sprintf("%s: %q changes the packet, and that is not followed", c.Words(), e.written)
		return d
	case last.rule == nil && len(c.Rules) == 0:
		return nil
	case last.rule != nil && rewrites(last.rule.Verdict):
		e.rewrite = last.rule
	}
	return d
}

// tell tells of an outcome.
func (e *evaluation) tell(o outcome) string {
	where := e.base.Words()
	switch {
	case o.rule == nil && e.base.Drop:
		return where + ": no rule accepts it, and the policy is drop"
	case o.rule == nil:
		return where + ": the policy is accept"
	case o.chain != e.base.Name:
		return fmt.Sprintf("%s, chain %s: %s", where, o.chain, o.rule)
	}
	return fmt.Sprintf("%s: %s", where, o.rule)
}

func (e *evaluation) mend(o outcome) string {
	c := e.base
	if o.rule != nil {
		c.Name = o.chain
		return "look at the rule: nft -a list chain " + c.Words()
	}
	if c.Table == "filter" && (c.Family == "ip" || c.Family == "ip6") && c.Hook == "forward" {
		tool := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[c.Family]
		return fmt.Sprintf("%s -I FORWARD -i %s -o %s -j ACCEPT, and the answers with --ctstate ESTABLISHED", tool, cmp.Or(e.packet.iif, "IN"), cmp.Or(e.packet.oif, "OUT"))
	}
	return "accept it in " + c.Words()
}
