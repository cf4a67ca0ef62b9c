package draw

import (
	"math"

	"drawbridge/internal/model"
)

// addRoom notes the room that the labels of one view need.
func (g *graph) addRoom(v *view) {
	vrfs := map[string]float64{}
	for _, s := range v.w.Stacks {
		if b := g.boxOf[s.ID]; b != nil && b.id != s.ID {
			vrfs[s.ID] = g.m.Text + g.m.Measure(NoteText, vrfText(s))
		}
	}
	for n, itf := range v.w.Interfaces {
		i := g.byID[itf.ID]
		if i == nil {
			continue
		}
		legend := v.Legend && n == 0
		h := g.hostContainer(i, itf.HostEnd)
		rm := &i.room
		rm.texts[h] = max(rm.texts[h], vrfs[itf.HostEnd.ID])
		rm.framed = rm.framed || vrfs[itf.HostEnd.ID] > 0
		lines := g.addressLines(v, itf, legend)
		rm.lines[h] = max(rm.lines[h], len(lines))
		for _, l := range lines {
			rm.texts[h] = max(rm.texts[h], g.m.Text+g.runsWidth(l))
		}
		details := g.detailLines(itf)
		i.details = max(i.details, len(details))
		for n, d := range details {
			rm.details = max(rm.details, g.m.Text+g.m.Measure(detailStyle(itf, n), d))
		}
		wires := g.wireLines(v, itf, legend)
		i.below = max(i.below, len(wires))
		for _, l := range wires {
			rm.wire = max(rm.wire, g.m.Text+g.runsWidth(l))
		}
		plate := g.plateWidth(itf)
		left := plate / 2
		if g.m.PlateLeft > 0 {
			left = g.m.PlateLeft
		}
		rm.plateLeft = max(rm.plateLeft, left+g.m.Mark)
		rm.plate = max(rm.plate, plate-left)
		if grp := v.groups[itf.ID]; grp != nil && grp.Open {
			g.shapeGrid(i, grp, v.peers)
		}
	}
}

func (g *graph) plateWidth(itf model.Interface) float64 {
	return g.m.Measure(PlateText, Clean(itf.Name)) + 2*g.m.PlatePad
}

// shapeGrid makes the block of an opened group about twice as wide as high.
func (g *graph) shapeGrid(i *iface, grp *portGroup, peers map[string]peer) {
	if i.grid == nil {
		i.grid = &gridShape{}
	}
	s := i.grid
	for _, m := range grp.Members {
		s.pitch = max(s.pitch, g.m.Text+g.m.Measure(SmallText, chipText(m, peers))+g.gap())
	}
	n := float64(len(grp.Members))
	ideal := math.Sqrt(2 * n * g.m.Small / s.pitch)
	limit := (g.o.MaxWidth - i.room.plateLeft - 6*g.m.Pad) * 0.75 / s.pitch
	s.columns = max(s.columns, int(max(1, min(ideal, limit))))
	s.rows = max(s.rows, (len(grp.Members)+s.columns-1)/s.columns)
	i.room.details = max(i.room.details, g.m.Text+float64(s.columns)*s.pitch)
}

// smallLines is the number of lines of small print above the plate.
func (i *iface) smallLines() int {
	if i.grid != nil {
		return i.details + i.grid.rows
	}
	return i.details
}

// addCables notes the cables of one view.
func (g *graph) addCables(v *view) {
	for _, w := range []*model.Wiring{&v.before, &v.w} {
		for _, c := range g.cablesOf(v, w) {
			if key := c.key(); g.cabled[key] == nil {
				g.cabled[key] = c
				g.cables = append(g.cables, c)
				if c.a.box != c.b.box {
					c.a.cabled, c.b.cabled = true, true
					c.a.peers, c.b.peers = append(c.a.peers, c.b), append(c.b.peers, c.a)
				}
			}
		}
	}
}

func (c *cable) key() string { return c.id + " " + c.a.id + " " + c.b.id }

// cablesOf finds the pairs of wire ends that a cable joins, and the wire ends that
// are in an interface of another box.
func (g *graph) cablesOf(v *view, w *model.Wiring) []*cable {
	var out []*cable
	first := map[string]*iface{}
	join := func(id string, i *iface) {
		if other := first[id]; other != nil && other != i {
			out = append(out, &cable{id: id, a: other, b: i})
		}
		first[id] = i
	}
	for _, itf := range w.Interfaces {
		i := g.byID[itf.ID]
		switch {
		case i == nil:
		case v.groups[itf.ID] != nil:
			for _, id := range v.groups[itf.ID].Cables {
				join(id, i)
			}
		case itf.WireEnd.In == model.InSegment && g.segs[itf.WireEnd.ID] == nil:
			join(itf.WireEnd.ID, i)
		case itf.WireEnd.In == model.InInterface:
			if lower := g.byID[itf.WireEnd.ID]; lower != nil && lower.box != i.box {
				out = append(out, &cable{id: "wire:" + itf.ID, a: i, b: lower, onPipe: true})
			}
		}
	}
	return append(out, g.tunnelsOf(w)...)
}

// tunnelsOf finds the pairs of tunnels that lead to each other: of one kind and number, the
// far address of each on the other's stack.
func (g *graph) tunnelsOf(w *model.Wiring) []*cable {
	at := map[string]map[string]bool{} // addresses by stack
	tunnels := 0
	for _, itf := range w.Interfaces {
		if itf.WireEnd.In == model.InTunnel && itf.WireEnd.ID != "" {
			tunnels++
		}
	}
	if tunnels < 2 {
		return nil
	}
	for _, itf := range w.Interfaces {
		for _, a := range itf.Addresses {
			if at[itf.Stack] == nil {
				at[itf.Stack] = map[string]bool{}
			}
			at[itf.Stack][a.Address.Addr().String()] = true
		}
	}
	type end struct{ stack, what string }
	open := map[end]model.Interface{}
	var out []*cable
	for _, itf := range w.Interfaces {
		i := g.byID[itf.ID]
		if i == nil || itf.WireEnd.In != model.InTunnel || itf.WireEnd.ID == "" {
			continue
		}
		what := string(itf.Kind) + " " + itf.Detail
		for stack, addresses := range at {
			other, ok := open[end{stack, what}]
			if ok && stack != itf.Stack && addresses[itf.WireEnd.ID] && at[itf.Stack][other.WireEnd.ID] {
				out = append(out, &cable{id: "tunnel:" + other.ID, a: g.byID[other.ID], b: i, tunnel: true})
			}
		}
		open[end{itf.Stack, what}] = itf
	}
	return out
}
