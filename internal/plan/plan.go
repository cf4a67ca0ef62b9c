// Package plan turns what is and what is wanted into ordered steps.
//
// In: a model.Snapshot, a spec.Desired, and what earlier runs own. Out: a [Plan]:
// steps that each tell what, why, the command a person would type, and the undo.
// It imports model and spec, and does no I/O.
package plan

import (
	"errors"
	"fmt"
	"net/netip"

	"drawbridge/internal/model"
)

// Plan is an ordered list of steps from a snapshot to what is wanted.
type Plan struct {
	Before model.Snapshot
	Steps  []Step
	// Owned is what is ours once the plan is carried out.
	Owned Owned
	// Notes are what a person should know but need not do anything about.
	Notes []string
}

// Step is one step of a plan.
type Step struct {
	// Title says what is done: "Make the bridge br0".
	Title string
	// Why explains it to a learner in one or two sentences.
	Why string
	Do  model.Operation
	// Undo brings back what was before Do, given that all later steps are undone;
	// empty where there is nothing to undo.
	Undo model.Operations
}

// States are the predicted snapshots around the steps: the one before the first
// step, then the one after each.
func (p Plan) States() ([]model.Snapshot, error) {
	states := []model.Snapshot{p.Before}
	for _, st := range p.Steps {
		next := states[len(states)-1].Clone()
		if err := next.Apply(st.Do); err != nil {
			return nil, fmt.Errorf("%s: %w", st.Title, err)
		}
		states = append(states, next)
	}
	return states, nil
}

// After is the snapshot that the whole plan leads to.
func (p Plan) After() (model.Snapshot, error) {
	s := p.Before.Clone()
	for _, st := range p.Steps {
		if err := s.Advance(st.Do); err != nil {
			return s, fmt.Errorf("%s: %w", st.Title, err)
		}
	}
	s.Settle()
	return s, nil
}

// Refusal is a reason why no plan can be made: the file is right, this host is not
// as it must be. All refusals of a plan are joined in one error.
type Refusal struct {
	Object string // the link, machine or user that it is about
	Reason string
	Hint   string // what to do about it
}

func (r *Refusal) Error() string {
	msg := r.Object + ": " + r.Reason
	if r.Hint != "" {
		msg += "\n  hint: " + r.Hint
	}
	return msg
}

// Options are the facts that a plan needs and a snapshot does not hold.
type Options struct {
	// Users maps the owners and groups that the file names to their ids; a name
	// that is missing here does not exist.
	Users, Groups map[string]uint32
	// NoTaps says that taps cannot be made here: machines get veth pairs instead.
	NoTaps bool
	// NoRedirect says that this kernel cannot redirect what arrives at an uplink (tcx,
	// Linux 6.6): the cutover may then lose a few frames of a flood.
	NoRedirect bool
	// Multicast are the groups that programs have joined, by link.
	Multicast map[string][]netip.Addr
	// NoSecurity says why ports cannot be secured here, "" if they can.
	NoSecurity string
	// NoForwarding says why nothing can be forwarded and hidden by rules of ours, "" if it
	// can.
	NoForwarding string
	// NoFirewalld says why firewalld, where it filters here, cannot be told anything, "" if it
	// can.
	NoFirewalld string
	// Listening are the sockets that wait for connections or datagrams.
	Listening []model.Socket
	// NoSnoop says that this kernel cannot learn leases from what goes to a port (no
	// egress hook, before Linux 5.16).
	NoSnoop bool
	// Written: files are there that bring the network back at the next boot; until they are
	// taken away, no manager is given its links back.
	Written bool
	// Filtered are the links whose LAN takes frames from their own MAC address only, as was
	// found by asking: nothing that is bridged to them is heard there. Unasked are those of
	// which it could not be found out.
	Filtered, Unasked map[string]bool
	// Seed makes chosen MAC addresses differ from those of other hosts: a value of
	// this host's own that does not change.
	Seed string
}

// builder makes a plan: it advances now with every step.
type builder struct {
	plan  Plan
	now   model.Snapshot
	own   Owned
	opt   Options
	fails []error
	// given are the subnets that were chosen or given for networks.
	given []netip.Prefix
	// needed are the sysctls that a network needs; see [Need].
	needed map[string]bool
}

func newBuilder(now model.Snapshot, own Owned, opt Options) *builder {
	return &builder{plan: Plan{Before: now}, now: now.Clone(), own: own.clone(), opt: opt, needed: map[string]bool{}}
}

func (b *builder) here() *model.Namespace { return b.now.Here() }

func (b *builder) note(format string, args ...any) {
	b.plan.Notes = append(b.plan.Notes, fmt.Sprintf(format, args...))
}

func (b *builder) refuse(object, reason, hint string) {
	b.fails = append(b.fails, &Refusal{object, reason, hint})
}

// step appends a step and advances the prediction and the ownership by it. What the
// simulated kernel refuses is refused here already, before anything is touched.
func (b *builder) step(title, why string, op model.Operation) {
	undo := inverse(op, &b.now)
	b.own.record(op, &b.now)
	if err := b.now.Advance(op); err != nil {
		b.fails = append(b.fails, fmt.Errorf("%s: %w", title, err))
		return
	}
	b.plan.Steps = append(b.plan.Steps, Step{Title: title, Why: why, Do: op, Undo: undo})
}

func (b *builder) done() (Plan, error) {
	b.plan.Owned = b.own
	return b.plan, errors.Join(b.fails...)
}
