package nft

import (
	"fmt"
	"net/netip"
	"strings"
)

// Table is the name of our tables: there is one in a family of a namespace.
const Table = "drawbridge"

// The hooks of a base chain.
const (
	Ingress     = "ingress" // of a device: what its wire end sends
	Egress      = "egress"  // of a device: what it gets (Linux 5.16)
	Prerouting  = "prerouting"
	Input       = "input"
	Forward     = "forward"
	Output      = "output"
	Postrouting = "postrouting"
)

// Priorities of chains at a hook, by the names that nft(8) has for them
// (include/uapi/linux/netfilter_ipv4.h).
const (
	PriorityRaw    = -300 // before connections are tracked
	PriorityDstNAT = -100
	PriorityFilter = 0
	PrioritySrcNAT = 100
)

// Chain is a chain of rules. One with a hook is called by the kernel, the others are
// gone to.
type Chain struct {
	Name     string
	Hook     string // "" for one that is gone to
	Priority int
	NAT      bool // of type nat, else of type filter
	Drop     bool // the policy of one with a hook
	Rules    []Rule
}

// Rule is a list of matches and what happens to a frame that all of them fit.
type Rule struct {
	Matches []Match
	// Reason counts what the rule drops, under that name.
	Reason  string
	Verdict Verdict
}

// Verdict is what becomes of a frame: dropped, accepted, or looked at by another chain,
// from which it does not come back; in chains of type nat, another address. The zero
// value goes on to the next rule.
type Verdict struct {
	Drop, Accept bool
	Goto         string
	// Masquerade: it leaves with the address of the link that it leaves by.
	Masquerade bool
	// To is where it goes instead, with the port if that is not 0.
	To netip.AddrPort
}

// Set is a set that rules of the data path fill.
type Set struct {
	Name    string
	IPv6    bool
	Timeout int // seconds until an element is forgotten; 0: never
	Size    int
}

// Text is the rule in the words of nft(8).
func (r Rule) Text() string {
	var words []string
	for _, m := range r.Matches {
		if text := m.Text(); text != "" {
			words = append(words, text)
		}
	}
	if r.Reason != "" {
		words = append(words, "counter")
	}
	if verdict := r.Verdict.text(); verdict != "" {
		words = append(words, verdict)
	}
	if r.Reason != "" {
		words = append(words, fmt.Sprintf("comment %q", r.Reason))
	}
	return strings.Join(words, " ")
}

func (v Verdict) text() string {
	switch {
	case v.Drop:
		return "drop"
	case v.Accept:
		return "accept"
	case v.Goto != "":
		return "goto " + v.Goto
	case v.Masquerade:
		return "masquerade"
	case v.To.IsValid():
		family, to := "ip", v.To.Addr().String()
		if v.To.Addr().Is6() {
			family = "ip6"
		}
		if v.To.Port() != 0 {
			to = v.To.String()
		}
		return "dnat " + family + " to " + to
	default:
		return ""
	}
}

// Text is the chain as a part of a script for nft(8); device is for the hooks of one.
func (c Chain) Text(device string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
	if c.Hook != "" {
		typ, policy := "filter", "accept"
		if c.NAT {
			typ = "nat"
		}
		if c.Drop {
			policy = "drop"
		}
		if device != "" {
			device = fmt.Sprintf(" device %q", device)
		}
		fmt.Fprintf(&b, "\t\ttype %s hook %s%s priority %d; policy %s;\n", typ, c.Hook, device, c.Priority, policy)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\t\t%s\n", r.Text())
	}
	b.WriteString("\t}\n")
	return b.String()
}

// Text is the set as a part of a script for nft(8).
func (s Set) Text() string {
	typ, rest := "type ipv4_addr", ""
	if s.IPv6 {
		// Before 1.0.8, nft has no word for the target of neighbour discovery: the bytes
		// must be of one type.
		typ = "typeof @nh,64,128"
	}
	flags := "dynamic"
	if s.Timeout > 0 {
		flags, rest = "dynamic,timeout", fmt.Sprintf("; timeout %ds", s.Timeout)
	}
	return fmt.Sprintf("\tset %s { %s; size %d; flags %s%s; }\n", s.Name, typ, s.Size, flags, rest)
}
