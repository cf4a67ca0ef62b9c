// Package preflight looks at what a change of the host's own way to a LAN would break and
// no plan can carry along: sockets bound to the uplink, logins among them, firewall rules
// that name it, programs that manage it.
//
// In: the snapshots before and after, the moves of the plan, and [Facts], which [Gather]
// collects through the small interfaces of a [System]. Out: findings, each with what is
// so and what to do. [Check] does no I/O; nothing here changes the host. What makes a plan
// impossible (a wireless uplink, macvlan children) is internal/plan's to refuse.
package preflight

import (
	"cmp"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// Severity says what a finding means for the change.
type Severity string

// The severities.
const (
	Refuse Severity = "refuse" // nothing is touched
	Warn   Severity = "warn"   // something may stop working
	Note   Severity = "note"   // good to know
)

func (s Severity) rank() int { return slices.Index([]Severity{Refuse, Warn, Note}, s) }

// Finding is something that a change meets on this host.
type Finding struct {
	Severity Severity `json:"severity"`
	// Object is the link, process or rule that it is about.
	Object string `json:"object"`
	What   string `json:"what"`
	// Hint says what to do about it, "" where nothing need be done.
	Hint string `json:"hint,omitempty"`
}

func (f Finding) String() string {
	s := string(f.Severity) + ": " + f.Object + ": " + f.What
	if f.Hint != "" {
		s += "\n  hint: " + f.Hint
	}
	return s
}

// Input is what a check looks at.
type Input struct {
	// Before and After are the host as it is, and as the plan leaves it.
	Before, After model.Snapshot
	Moves         []model.Move
	Facts         Facts
	// Groups are those that the plan sees to.
	Groups []model.JoinGroups
	// Passes tells whether frames between the ports of a bridge are let through the firewalls'
	// chains by the plan itself; nil: none are.
	Passes func(bridge string) bool
	// FailOnFirewall makes firewall rules that no longer match a reason to refuse.
	FailOnFirewall bool
}

// Check finds what the moves break, the gravest first.
func Check(in Input) []Finding {
	c := &checker{Input: in}
	for _, m := range in.Moves {
		c.move = m
		c.boundSockets()
		c.memberships()
		c.temporary()
		c.rules()
		c.firewall()
		if m.Plug {
			c.bridgeFilter()
			c.rootOverNetwork()
			c.portAccess()
			c.managers()
			c.heard()
		}
	}
	c.lostLogins()
	slices.SortStableFunc(c.found, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	return c.found
}

// Refused are the findings for which nothing may be touched.
func Refused(found []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Severity != Refuse })
}

type checker struct {
	Input
	move  model.Move
	found []Finding
}

func (c *checker) add(s Severity, object, what, hint string) {
	f := Finding{s, object, what, hint}
	if !slices.Contains(c.found, f) {
		c.found = append(c.found, f)
	}
}

// replace puts the new link's name where the old one's is.
func (c *checker) replace(text string) string {
	return strings.ReplaceAll(text, c.move.From, c.move.To)
}
