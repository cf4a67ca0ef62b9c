package plan

import (
	"fmt"

	"drawbridge/internal/model"
)

// Mend is the plan of steps that somebody else chose (internal/doctor): their undo is made
// here, as for every step. What it changes is not taken for ours: 'down' brings back what
// 'up' altered, and no fault.
func Mend(now model.Snapshot, owned Owned, steps []Step) (Plan, error) {
	p := Plan{Before: now, Owned: owned}
	state := now.Clone()
	for _, st := range steps {
		st.Undo = inverse(st.Do, &state)
		if err := state.Advance(st.Do); err != nil {
			return p, fmt.Errorf("%s: %w", st.Title, err)
		}
		p.Steps = append(p.Steps, st)
	}
	return p, nil
}

// MoveHome moves the addresses that were left on a port to its bridge, with the routes by
// the port, in the order of a cutover.
func MoveHome(now model.Snapshot, port, bridge string) []Step {
	b := newBuilder(now, Owned{}, Options{})
	moving := movable(b.here().AddressesOf(port))
	adding := addresses(moving, func(a model.Address) bool { return !hasAddress(b.here(), bridge, a) })
	routes, twins := b.withTwins(b.movableRoutes(port), port, bridge)
	if len(adding) > 0 {
		b.step(fmt.Sprintf("Give %s the addresses of %s", bridge, port), "They are on both for a moment, so that not one packet finds nobody at home.",
			model.AddAddresses{Link: bridge, Addresses: inTransit(adding)})
	}
	b.moveTraffic(port, bridge, routes)
	b.dropRoutes(port, bridge+" has the same ones.", twins)
	if len(moving) > 0 {
		b.step(fmt.Sprintf("Take the addresses off %s", port), "On a port they are misplaced.", model.DeleteAddresses{Link: port, Addresses: moving})
	}
	if len(adding) > 0 {
		b.step(fmt.Sprintf("Settle the addresses of %s", bridge), "For the move they were set without duplicate address detection and without routes of their own.",
			model.SettleAddresses{Link: bridge, Addresses: adding})
	}
	return b.plan.Steps
}

// Undoing are the commands that take a plan back, newest first.
func (p Plan) Undoing() []string {
	var out []string
	for i := len(p.Steps) - 1; i >= 0; i-- {
		for _, op := range p.Steps[i].Undo {
			out = append(out, Commands(op, Modern)...)
		}
	}
	return out
}

// mendCommands are for what only a mend does.
func mendCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.SetBridge:
		return bridgeCommands(op)
	case model.ResetOffloads:
		return []string{"ethtool -K " + op.Link + " tx off"}
	case model.AllowOffloads:
		return []string{"ethtool -K " + op.Link + " tx on tso on"}
	default:
		return nil
	}
}

// bridgeCommands: a delay below 2 s is refused while spanning tree is on, and one message is
// taken in the kernel's order: what switches it off is a command of its own.
func bridgeCommands(op model.SetBridge) []string {
	set := "ip link set " + op.Bridge + " type bridge"
	var out []string
	words := set
	flag := func(name string, v *bool) {
		if v != nil {
			words += " " + name + " " + map[bool]string{false: "0", true: "1"}[*v]
		}
	}
	flag("stp_state", op.STP)
	if op.ForwardDelay != nil {
		if op.STP != nil && !*op.STP {
			out, words = append(out, words), set
		}
		words += fmt.Sprintf(" forward_delay %d", *op.ForwardDelay)
	}
	flag("mcast_snooping", op.McastSnooping)
	flag("mcast_querier", op.McastQuerier)
	return append(out, words)
}
