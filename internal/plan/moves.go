package plan

import (
	"slices"

	"drawbridge/internal/model"
)

// Moves are the changes of the link by which the host is on a LAN, in the plan's order:
// what must be looked at beforehand, and asked afterwards.
func (p Plan) Moves() []model.Move {
	var out []model.Move
	for _, st := range p.Steps {
		op, ok := st.Do.(model.SetMaster)
		if !ok {
			continue
		}
		if slices.ContainsFunc(p.Owned.Uplinks, func(u OwnedUplink) bool { return u.Name == op.Link && u.Bridge == op.Master }) {
			out = append(out, model.Move{From: op.Link, To: op.Master, Plug: true, Host: p.movesTraffic(op.Link, op.Master)})
		}
		before := p.Before
		if l := before.Here().Link(op.Link); op.Master == "" && l != nil && p.movesTraffic(l.Master, op.Link) {
			out = append(out, model.Move{From: l.Master, To: op.Link, Host: true})
		}
	}
	return out
}

// Groups are the multicast groups that the plan sees to: those that the bridge hears for
// an uplink from now on, and those that it has heard until now.
func (p Plan) Groups() []model.JoinGroups {
	var out []model.JoinGroups
	for _, st := range p.Steps {
		switch op := st.Do.(type) {
		case model.JoinGroups:
			out = append(out, op)
		case model.LeaveGroups:
			out = append(out, model.JoinGroups(op))
		}
	}
	return out
}

// movesTraffic: neighbours are copied wherever, and only where, routes move.
func (p Plan) movesTraffic(from, to string) bool {
	return slices.ContainsFunc(p.Steps, func(st Step) bool { return st.Do == model.Operation(model.CopyNeighbours{From: from, To: to}) })
}
