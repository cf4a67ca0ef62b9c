// Package doctor finds what is wrong with a host's network, says how that shows, and how it
// is mended.
//
// In: a [Host], which is a snapshot and plain [Facts] that internal/cli gathers. Out: a
// [Report] of findings, the gravest first, and of what could not be checked for want of a
// fact. Each check is a file of its own, and is listed in checks.go. The package is pure:
// no I/O, no clock. A mend is a list of plan.Step that internal/apply carries out as one
// transaction, or commands for a person where it is not ours to do.
package doctor

import (
	"cmp"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Severity says what a finding means for who uses the host.
type Severity string

// The severities. Notes do not count as something wrong.
const (
	Broken Severity = "broken" // something does not work now
	Risk   Severity = "risk"   // it works, and stops at an event that will come
	Note   Severity = "note"   // nothing is wrong; good to know when something else is
)

// Severities are all of them, the gravest first.
func Severities() []Severity { return []Severity{Broken, Risk, Note} }

func (s Severity) rank() int { return slices.Index(Severities(), s) }

// Sureness says how far the facts carry.
type Sureness string

// The degrees of sureness.
const (
	Certain  Sureness = "certain"  // the kernel's own rules say so
	Likely   Sureness = "likely"   // it is so, unless something that is not seen makes up for it
	Possible Sureness = "possible" // it depends on what cannot be seen from here
)

func (s Sureness) rank() int { return slices.Index([]Sureness{Certain, Likely, Possible}, s) }

// Check is one thing that may be wrong with a host.
type Check struct {
	// ID names it for ever: kebab-case.
	ID string
	// Title says what is wrong in one line, without names.
	Title string
	// Shows is how it shows to somebody who uses the host.
	Shows string
	// Knows is how we know: the facts that are looked at, and the kernel's rule.
	Knows string
	// Mends is what mends it.
	Mends string
	// Needs are the facts without which it cannot be checked.
	Needs []Fact
	// Find looks.
	Find func(*Host) []Finding
}

// Finding is something that is wrong here.
type Finding struct {
	// Check is the id of the check that found it, Object what it is about: a link, mostly.
	Check    string   `json:"check"`
	Object   string   `json:"object"`
	Severity Severity `json:"severity"`
	Sure     Sureness `json:"sure"`
	// What is wrong, with the names of this host.
	What  string `json:"what"`
	Shows string `json:"shows"`
	// Seen are the facts that say so, with their values.
	Seen []string `json:"seen"`
	Mend Mend     `json:"mend"`
}

// Name identifies a finding on its host.
func (f Finding) Name() string { return f.Check + ":" + f.Object }

// Mend is what mends a finding.
type Mend struct {
	// Says what is done, or has to be, and what it costs.
	Says string `json:"says"`
	// Steps are what --fix carries out; none where it is not ours to do.
	Steps []plan.Step `json:"-"`
	// Commands do the same by hand, as root.
	Commands []string `json:"commands,omitempty"`
}

// Fixable tells whether --fix mends it.
func (m Mend) Fixable() bool { return len(m.Steps) > 0 }

// by is a mend of ours, one step for each operation.
func by(says string, ops ...model.Operation) Mend {
	m := Mend{Says: says}
	for _, op := range ops {
		m.Steps = append(m.Steps, plan.Step{Title: titleOf(op), Why: says, Do: op})
		m.Commands = append(m.Commands, plan.Commands(op, plan.Modern)...)
	}
	return m
}

// bySteps is a mend whose steps internal/plan knows already.
func bySteps(says string, steps []plan.Step) Mend {
	m := Mend{Says: says, Steps: steps}
	for _, st := range steps {
		m.Commands = append(m.Commands, st.Commands(plan.Modern)...)
	}
	return m
}

// byHand is a mend that is a person's.
func byHand(says string, commands ...string) Mend { return Mend{Says: says, Commands: commands} }

// titleOf says in a few words what an operation does.
func titleOf(op model.Operation) string {
	switch op := op.(type) {
	case model.SetSetting:
		return "Set " + op.Path + " to " + op.Value
	case model.SetBridge:
		return "Change the settings of " + op.Bridge
	case model.SetMTU:
		return "Set the MTU of " + op.Link
	case model.SetMAC:
		return "Give " + op.Link + " the MAC address " + string(op.MAC)
	case model.AddAddresses:
		return "Give " + op.Link + " " + model.SplitAddresses(op.Addresses)
	case model.DeleteAddresses:
		return "Take " + model.SplitAddresses(op.Addresses) + " off " + op.Link
	case model.SettleAddresses:
		return "Settle the addresses of " + op.Link
	case model.CopyNeighbours:
		return "Copy the neighbours of " + op.From + " to " + op.To
	case model.MoveRoutes:
		return "Move the routes from " + op.From + " to " + op.To
	case model.OpenPassage:
		return "Let network " + op.Passage.Network + " through " + plan.PlaceOf(op.Passage)
	case model.ClosePassage:
		return "Take network " + op.Passage.Network + " out of " + plan.PlaceOf(op.Passage)
	case model.SetUp:
		return "Bring " + op.Link + " up"
	case model.ResetOffloads:
		return "Reset the offloads of " + op.Link
	case model.DeleteLink:
		return "Delete " + op.Name
	case model.CreateTap:
		return "Make " + op.Name + " anew"
	case model.SetMaster:
		return "Plug " + op.Link + " into " + op.Master
	case model.SetForwarding:
		return "Make the rules of network " + op.Forwarding.Network
	case model.SecurePorts:
		return "Secure " + op.Object()
	default:
		return strings.ReplaceAll(op.Op(), "-", " ") + " " + op.Object()
	}
}

// Unchecked is a check that could not be made.
type Unchecked struct {
	Check string `json:"check"`
	// Why is what is not known, and what would tell it.
	Why string `json:"why"`
}

// Report is what was found.
type Report struct {
	Findings  []Finding   `json:"findings"`
	Checked   []string    `json:"checked"`
	Unchecked []Unchecked `json:"unchecked,omitempty"`
}

// Wrong counts the findings that are more than a note.
func (r Report) Wrong() int {
	return len(slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Severity == Note }))
}

// Still finds a finding of an earlier report that is there still, as grave as it was: what a
// mend has made a note of is mended.
func (r Report) Still(f Finding) (Finding, bool) {
	for _, now := range r.Findings {
		if now.Name() == f.Name() && now.Severity.rank() <= f.Severity.rank() {
			return now, true
		}
	}
	return Finding{}, false
}

// Examine makes every check, and sorts what it finds: the gravest first, then the surest.
func Examine(h Host) Report { return examine(h, Checks()) }

func examine(h Host, checks []Check) Report {
	h.index()
	r := Report{Findings: []Finding{}}
	for _, c := range checks {
		if why := h.lacks(c.Needs); why != "" {
			r.Unchecked = append(r.Unchecked, Unchecked{c.ID, why})
			continue
		}
		r.Checked = append(r.Checked, c.ID)
		for _, f := range c.Find(&h) {
			f.Check = c.ID
			f.Shows = cmp.Or(f.Shows, c.Shows)
			r.Findings = append(r.Findings, f)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()), cmp.Compare(a.Sure.rank(), b.Sure.rank()))
	})
	return r
}

// Explain finds a check by its id.
func Explain(id string) (Check, bool) {
	for _, c := range Checks() {
		if c.ID == id {
			return c, true
		}
	}
	return Check{}, false
}
