package plan

import (
	"fmt"
	"strings"

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
		words := []string{"ip link set " + op.Bridge + " type bridge"}
		flag := func(name string, v *bool) {
			if v != nil {
				words = append(words, name+" "+map[bool]string{false: "0", true: "1"}[*v])
			}
		}
		flag("stp_state", op.STP)
		if op.ForwardDelay != nil {
			words = append(words, fmt.Sprintf("forward_delay %d", *op.ForwardDelay))
		}
		flag("mcast_snooping", op.McastSnooping)
		flag("mcast_querier", op.McastQuerier)
		return []string{strings.Join(words, " ")}
	case model.ResetOffloads:
		return []string{"ethtool -K " + op.Link + " tx off"}
	case model.AllowOffloads:
		return []string{"ethtool -K " + op.Link + " tx on tso on"}
	default:
		return nil
	}
}
