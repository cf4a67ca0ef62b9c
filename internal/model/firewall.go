package model

import (
	"net/netip"
	"strings"
)

// Ruleset is what a stack's nf_tables hold, of all tables: nft(8)'s own and those that
// iptables keeps there. It is read only where it is asked for (see kernel.What).
type Ruleset struct {
	Chains []FirewallChain `json:"chains,omitempty"`
	// Unread tells in words what of the firewall is not in Chains: the tables of
	// iptables-legacy, which nf_tables does not show.
	Unread []string `json:"unread,omitempty"`
}

// FirewallChain is a chain; one with a hook is met by packets of its own, the others are
// jumped to.
type FirewallChain struct {
	Family string `json:"family"` // ip, ip6, inet, arp, bridge, netdev
	Table  string `json:"table"`
	Name   string `json:"name"`
	Type   string `json:"type,omitempty"` // filter, nat, route
	Hook   string `json:"hook,omitempty"` // prerouting, input, forward, output, postrouting, ingress, egress
	// Devices of a chain of the netdev family.
	Devices  []string       `json:"devices,omitempty"`
	Priority int            `json:"priority,omitempty"`
	Drop     bool           `json:"drop,omitempty"` // its policy
	Rules    []FirewallRule `json:"rules,omitempty"`
}

// Words is FAMILY TABLE CHAIN, as nft(8) wants it.
func (c FirewallChain) Words() string { return c.Family + " " + c.Table + " " + c.Name }

// FirewallRule does something with a packet that all its matches are true of.
type FirewallRule struct {
	Matches []FirewallMatch `json:"matches,omitempty"`
	// Verdict is accept, drop, reject, queue, jump, goto, return, snat, masquerade, dnat,
	// redirect, or "" for a rule that decides nothing. One that begins with "?" is not
	// understood; what follows names it.
	Verdict string `json:"verdict,omitempty"`
	// Target is the chain that is jumped to, or the address, ":PORT" or both of a
	// translation; "" where the rule finds it out in a way that is not understood.
	Target string `json:"target,omitempty"`
	// Sets is what the rule writes, in nft(8)'s words ("mark", "ct mark", "notrack", or a
	// field of the packet), and To what it writes there: a number, or "FIELD & MASK ^ BITS"
	// of what was there; "" where that is not known. Such a rule has no verdict.
	Sets string `json:"sets,omitempty"`
	To   string `json:"to,omitempty"`
	// Comment is what its maker noted down.
	Comment string `json:"comment,omitempty"`
}

// FirewallMatch asks one thing about a packet.
type FirewallMatch struct {
	// Key in nft(8)'s words: "iifname", "ip saddr", "tcp dport", "ct state", or several that
	// are asked together: "ip saddr . tcp dport". One that begins with "?" is not understood;
	// what follows names it.
	Key string `json:"key"`
	Not bool   `json:"not,omitempty"`
	// Values of which one is to be true: an address, a prefix, FIRST-LAST, BITS/MASK, a name
	// that may end in "*", "*" for any. One that begins with "?" is not understood.
	Values []string `json:"values,omitempty"`
}

// MatchUnknown begins the key of a match, a value, and a verdict, that is not understood.
const MatchUnknown = "?"

// Together stands between keys, and between values, that are asked together.
const Together = " . "

// String is the match in nft(8)'s words.
func (m FirewallMatch) String() string {
	if name, unknown := strings.CutPrefix(m.Key, MatchUnknown); unknown {
		return "[" + name + "]"
	}
	values := strings.Join(m.Values, ", ")
	if len(m.Values) > 4 {
		values = strings.Join(m.Values[:4], ", ") + ", …"
	}
	if len(m.Values) != 1 {
		values = strings.ReplaceAll("{ "+values+" }", "{  }", "{ }")
	}
	if m.Not {
		values = "!= " + values
	}
	return m.Key + " " + values
}

// String is the rule in nft(8)'s words, without what only counts or notes.
func (r FirewallRule) String() string {
	var words []string
	for _, m := range r.Matches {
		words = append(words, m.String())
	}
	switch name, unknown := strings.CutPrefix(r.Verdict, MatchUnknown); {
	case unknown:
		words = append(words, "["+name+"]")
	case r.Verdict != "":
		words = append(words, r.Verdict)
	}
	switch sets := strings.TrimPrefix(r.Sets, MatchUnknown); {
	case r.Sets == "notrack":
		words = append(words, sets)
	case r.Sets != "" && r.To == "":
		words = append(words, sets, "set", "[…]")
	case r.Sets != "":
		words = append(words, sets, "set", r.To)
	}
	if r.Target != "" {
		words = append(words, r.Target)
	}
	return strings.Join(words, " ")
}

// RouteQuery asks a stack by which way a packet goes.
type RouteQuery struct {
	Destination netip.Addr
	Source      netip.Addr // invalid where the stack is to choose it
	IIF         string     // the link that it came in by, "" for a packet of the stack's own
	OIF         string     // the link that it has to leave by, "" for any
	Mark        uint32     // fwmark
}

// RouteAnswer is the way.
type RouteAnswer struct {
	// Type in ip-route's words; "" where there is no route.
	Type    string
	Link    string
	Gateway netip.Addr
	Source  netip.Addr // that the stack chooses
	Table   uint32
}
