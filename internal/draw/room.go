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
		i.needRight(vrfs[itf.HostEnd.ID])
		lines := g.addressLines(itf, legend)
		i.room[h] = max(i.room[h], len(lines))
		for _, l := range lines {
			i.needRight(g.m.Text + g.runsWidth(l))
		}
		details := g.detailLines(itf)
		i.details = max(i.details, len(details))
		for _, d := range details {
			i.needRight(g.m.Text + g.m.Measure(SmallText, d))
		}
		wires := g.wireLines(v, itf, legend)
		i.below = max(i.below, len(wires))
		for _, l := range wires {
			i.needRight(g.m.Text + g.runsWidth(l))
		}
		plate := g.plateWidth(itf)
		left := plate / 2
		if g.m.PlateLeft > 0 {
			left = g.m.PlateLeft
		}
		i.left = max(i.left, left+g.m.Mark, g.m.Overhang+g.m.ColumnGap/2)
		i.needRight(max(plate-left, g.m.Overhang+g.m.ColumnGap/2))
		if grp := v.groups[itf.ID]; grp != nil && grp.Open {
			g.shapeGrid(i, grp, v.peers)
		}
	}
}

func (i *iface) needRight(w float64) { i.right = max(i.right, w) }

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
	limit := (g.o.MaxWidth - i.left - 6*g.m.Pad) * 0.75 / s.pitch
	s.columns = max(s.columns, int(max(1, min(ideal, limit))))
	s.rows = max(s.rows, (len(grp.Members)+s.columns-1)/s.columns)
	i.needRight(g.m.Text + float64(s.columns)*s.pitch)
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
	return out
}
