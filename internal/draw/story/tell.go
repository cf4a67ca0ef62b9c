package story

import (
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Tell makes a page of a plan.
func Tell(p plan.Plan) (Page, error) {
	states, err := p.States()
	if err != nil {
		return Page{}, err
	}
	page := Page{
		Title: "How " + p.Before.Host + " changes, step by step",
		Host:  p.Before.Host,
		Intro: []string{
			"Every picture on this page is drawn from one idea: an interface has two ends. Its host end is plugged into a stack, which owns addresses and routes; its wire end is plugged into an Ethernet, or dangles.",
			"Enslaving an interface to a bridge moves its host end out of the stack into the bridge's Ethernet. All the rest follows from that.",
		},
		Before: p.Before,
		Notes:  p.Notes,
	}
	if joinsLAN(states[0], states[len(states)-1]) {
		page.Title = "How " + p.Before.Host + " gets its virtual machines onto the LAN"
	}
	for i, st := range p.Steps {
		page.Steps = append(page.Steps, Step{
			Number: i + 1, Title: st.Title, Why: st.Why,
			Do: commands(st.Do), Undo: commands(st.Undo...), Before: states[i], After: states[i+1],
		})
	}
	return page, nil
}

func commands(ops ...model.Operation) Commands {
	var c Commands
	for _, op := range ops {
		c = c.then(Commands{plan.Commands(op, plan.Modern), plan.Commands(op, plan.Classic)})
	}
	return c
}

// joinsLAN tells whether a bridge that is on a LAN gets ports by the plan.
func joinsLAN(before, after model.Snapshot) bool {
	w, was := model.Wire(after), model.Wire(before)
	joined := false
	for _, i := range w.Interfaces {
		lan, bridge := w.Segment(i.WireEnd.ID), w.Segment(i.HostEnd.ID)
		if i.WireEnd.In != model.InSegment || i.HostEnd.In != model.InSegment || lan == nil || bridge == nil || lan.Kind != "lan" {
			continue
		}
		for _, port := range w.Interfaces {
			old := was.Interface(port.ID)
			joined = joined || port.HostEnd == i.HostEnd && (old == nil || old.HostEnd != port.HostEnd)
		}
	}
	return joined
}
