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
	// redirect, or "" for a rule that decides nothing.
	Verdict string `json:"verdict,omitempty"`
	// Target is the chain that is jumped to, or the address (and port) of a translation.
	Target string `json:"target,omitempty"`
	// Comment is what its maker noted down.
	Comment string `json:"comment,omitempty"`
}

// FirewallMatch asks one thing about a packet.
type FirewallMatch struct {
	// Key in nft(8)'s words: "iifname", "ip saddr", "tcp dport", "ct state". One that begins with
	// "?" is not understood; what follows names it.
	Key string `json:"key"`
	Not bool   `json:"not,omitempty"`
	// Values of which one is to be true: an address, a prefix, FIRST-LAST, a name that may
	// end in "*".
	Values []string `json:"values,omitempty"`
}

// MatchUnknown begins the key of a match that is not understood.
const MatchUnknown = "?"

// String is the match in nft(8)'s words.
func (m FirewallMatch) String() string {
	if name, unknown := strings.CutPrefix(m.Key, MatchUnknown); unknown {
		return "[" + name + "]"
	}
	values := strings.Join(m.Values, ", ")
	if len(m.Values) > 4 {
		values = strings.Join(m.Values[:4], ", ") + ", …"
	}
	if len(m.Values) > 1 {
		values = "{ " + values + " }"
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
	if r.Verdict != "" {
		words = append(words, r.Verdict)
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
