package draw

import (
	"slices"

	"drawbridge/internal/model"
)

// scene draws one view at the places that all views share.
func (g *graph) scene(v *view) *Scene {
	way := g.wayOf(v)
	s := &Scene{Rows: len(g.rows), Width: g.width, Height: g.height, Title: Clean(v.Title), Desc: describe(v.index)}
	if s.Title == "" && len(v.w.Stacks) > 0 {
		s.Title = "The network of " + Clean(v.w.Stacks[0].Name)
	}
	s.Groups = append(s.Groups, g.captionGroup(v))
	for _, st := range v.w.Stacks {
		if b := g.boxOf[st.ID]; b != nil && b.id == st.ID {
			s.Groups = append(s.Groups, g.boxGroup(b, st))
		} else if b != nil {
			s.Groups = append(s.Groups, g.vrfGroup(b, st, v))
		}
	}
	for _, seg := range v.w.Segments {
		if x := g.segs[seg.ID]; x != nil {
			s.Groups = append(s.Groups, g.segmentGroup(x, seg))
		}
	}
	s.Groups = append(s.Groups, g.cableGroups(v)...)
	s.Groups = append(s.Groups, g.barGroups(v)...)
	s.Groups = append(s.Groups, way.lineGroups()...)
	s.Groups = append(s.Groups, g.routerGroups(v)...)
	s.Groups = append(s.Groups, g.ghostGroups(v)...)
	for n, itf := range v.w.Interfaces {
		if i := g.byID[itf.ID]; i != nil {
			s.Groups = append(s.Groups, g.interfaceGroup(v, i, itf, v.Legend && n == 0))
			s.Groups = append(s.Groups, g.chipGroups(v, i)...)
		}
	}
	g.addHops(s)
	s.Groups = append(s.Groups, g.joints(v)...)
	s.Groups = append(s.Groups, way.hopGroups()...)
	if way != nil {
		s.Desc += describeWay(v.Trace)
		parts, _ := g.listParts(v.Trace, g.listTop)
		s.Groups = append(s.Groups, Group{ID: "hops", Title: "What decides at each hop", Parts: parts})
	}
	if v.Key || v.Legend {
		parts, _ := g.keyParts(g.keyTop)
		s.Groups = append(s.Groups, Group{ID: "key", Title: "Key", Parts: parts})
	}
	return s
}

func (g *graph) boxGroup(b *box, st model.Stack) Group {
	style := VMBox
	switch st.Kind {
	case "host":
		style = HostBox
	case "namespace", "container":
		style = NamespaceBox
	}
	grp := Group{ID: "stack:" + st.ID, Title: describeStack(st), Change: st.Change}
	for _, p := range b.parts {
		grp.Parts = append(grp.Parts, g.boxParts(p, st, style)...)
	}
	return grp
}

// boxParts draws one part of a box.
func (g *graph) boxParts(p *part, st model.Stack, style Style) []Part {
	r, m, gone := p.row, g.m, st.Change == model.Removed
	out := []Part{Box{X: p.x, Y: r.top, W: p.w, H: r.border - r.top, Style: style, Dashed: gone}}
	if p.hasBand() {
		out = append(out, Box{X: p.x + m.BandInset, Y: r.bandTop, W: p.w - 2*m.BandInset, H: r.bandFoot - r.bandTop, Style: BandBox})
	}
	x := p.x + m.Pad
	if m.Terse {
		x += 2 // ╭─ name
	}
	if st.Change != "" {
		out = append(out, g.markLabel(x+m.Measure(MarkText, "+")/2, r.name, st.Change))
		x += m.Mark + g.gap()*(1-2*m.Middle)
	}
	for n, run := range headRuns(m, st, p.index > 0) {
		l := g.label(x, r.name, run.style, run.text)
		if n == 0 {
			l.Struck, l.Change = gone, st.Change
		}
		out = append(out, l)
		x += l.W + g.gap()
	}
	if p.hasBand() && !p.box.bands {
		out = append(out, g.label(p.x+m.Pad, r.bandLabel, NoteText, "IP stack"))
	}
	return out
}

// hasBand: a further part of a box shows the stack where something is plugged into it.
func (p *part) hasBand() bool {
	return p.index == 0 || slices.ContainsFunc(p.ifaces, func(i *iface) bool { return slices.ContainsFunc(i.hosts, (*container).isStack) })
}

// vrfGroup draws a VRF as bands around the host ends in it, one for each run of
// columns that stand together.
func (g *graph) vrfGroup(b *box, st model.Stack, v *view) Group {
	grp := Group{ID: "stack:" + st.ID, Title: describeStack(st), Change: st.Change}
	in := map[*iface]bool{}
	for _, itf := range v.w.Interfaces {
		if itf.HostEnd == (model.End{In: model.InStack, ID: st.ID}) && g.byID[itf.ID] != nil {
			in[g.byID[itf.ID]] = true
		}
	}
	for n := 0; n < len(b.ifaces); n++ {
		first := b.ifaces[n]
		if !in[first] {
			continue
		}
		for n+1 < len(b.ifaces) && in[b.ifaces[n+1]] && b.ifaces[n+1].part == first.part {
			n++
		}
		last, r := b.ifaces[n], first.part.row
		x1, x2 := first.x-g.m.Overhang, last.x+g.m.Overhang
		for _, i := range b.ifaces[slices.Index(b.ifaces, first) : n+1] {
			x2 = max(x2, i.x+i.room.texts[g.container(b, stackKey(st.ID))]+g.m.Zone)
		}
		y1 := r.bandTop + g.m.Zone/4
		grp.Parts = append(grp.Parts, Box{X: x1, Y: y1, W: x2 - x1, H: r.bandFoot - g.m.Zone/4 - y1, Style: VRFBox})
		if st.Change != "" {
			grp.Parts = append(grp.Parts, g.markLabel(first.x+g.m.TextMark, r.bandLabel, st.Change))
		}
		grp.Parts = append(grp.Parts, g.label(first.x+g.m.Text, r.bandLabel, NoteText, vrfText(st)))
	}
	return grp
}

func vrfText(st model.Stack) string { return "VRF " + Clean(st.Name) }

func (g *graph) markLabel(x, y float64, c model.Change) Label {
	return Label{At: Point{x, y}, W: g.m.Measure(MarkText, mark(c)), Text: mark(c), Style: MarkText, Anchor: Middle, Change: c}
}

// segmentGroup draws a LAN's bus in every row that it is used in, or a bridge's.
func (g *graph) segmentGroup(x *segment, seg model.Segment) Group {
	name, rest := segmentLabel(g.m, seg)
	grp := Group{ID: "segment:" + seg.ID, Title: describeSegment(seg), Change: seg.Change}
	gone := seg.Change == model.Removed
	if x.bus == nil {
		for _, p := range x.places {
			grp.Parts = append(grp.Parts, Line{Points: []Point{{p.x1, p.y}, {p.x2, p.y}}, Style: LANBus, Tone: -1, Dashed: gone})
			grp.Parts = append(grp.Parts, g.segmentText(p.text, p.textY, seg.Change, LANText, -1, name, rest)...)
		}
		return grp
	}
	c := x.bus
	var right []Point // where the bus ends in each part
	for _, p := range c.at {
		y, label := c.y(p), p.row.labels[p.rowOf[c]-1]
		beside := c.labelBeside(p.ifaces)
		x1, x2 := g.extent(c.in(p))
		tx := beside.x + g.m.Text
		width := x.label
		if c.continued(p.ifaces) {
			name, rest, width = Clean(seg.Name), "", x.short
		}
		x2 = max(x2+g.m.Overhang, tx+width-g.m.Mark)
		right = append(right, Point{x2, y})
		if !c.wraps() {
			grp.Parts = append(grp.Parts, Line{Points: []Point{{x1 - g.m.Overhang, y}, {x2, y}}, Style: BridgeBus, Tone: x.tone, Dashed: gone})
		}
		if seg.Change != "" {
			grp.Parts = append(grp.Parts, g.markLabel(beside.x+g.m.TextMark, label, seg.Change))
		}
		grp.Parts = append(grp.Parts, g.segmentText(tx, label, "", BridgeText, x.tone, name, rest)...)
	}
	if c.wraps() {
		for _, l := range g.wrapLines(c, right) {
			l.Style, l.Tone, l.Dashed = BridgeBus, x.tone, gone
			grp.Parts = append(grp.Parts, l)
		}
	}
	return grp
}

// wrapLines draw what wraps: from its end in the first part to the left, down its lane
// beside the boxes, and to its end in the last; those between join the lane.
func (g *graph) wrapLines(c *container, right []Point) []Line {
	x := g.m.Margin + float64(c.lane-1)*g.m.Track
	first, last := right[0], right[len(right)-1]
	lines := []Line{{Points: []Point{first, {x, first.Y}, {x, last.Y}, last}}}
	for _, p := range right[1 : len(right)-1] {
		lines = append(lines, Line{Points: []Point{{x, p.Y}, p}})
	}
	return lines
}

func (g *graph) segmentText(x, y float64, c model.Change, s Style, tone int, name, rest string) []Part {
	var parts []Part
	if c != "" {
		parts = append(parts, g.markLabel(x+g.m.Measure(MarkText, mark(c))/2, y, c))
		x += g.m.Mark
	}
	l := g.label(x, y, s, name)
	l.Tone = tone
	parts = append(parts, l)
	if rest != "" {
		parts = append(parts, g.label(x+l.W+g.gap(), y, SystemText, rest))
	}
	return parts
}

// extent is the range of x of interfaces.
func (g *graph) extent(list []*iface) (x1, x2 float64) {
	x1, x2 = g.width, 0
	for _, i := range list {
		x1, x2 = min(x1, i.x), max(x2, i.x)
	}
	return x1, x2
}

// barGroups draws the bars at which ends are plugged into interfaces.
func (g *graph) barGroups(v *view) []Group {
	var order []*container
	in := map[*container][]*iface{}
	for _, itf := range v.w.Interfaces {
		i := g.byID[itf.ID]
		if i == nil {
			continue
		}
		for _, c := range []*container{g.hostContainer(i, itf.HostEnd), g.wireContainer(i, itf)} {
			if c == nil || c.of == nil || c.of == i {
				continue
			}
			if in[c] == nil {
				order = append(order, c)
				in[c] = []*iface{c.of}
			}
			in[c] = append(in[c], i)
		}
	}
	var out []Group
	for _, c := range order {
		grp := Group{ID: "bar:" + c.key}
		var right []Point
		for _, p := range c.at {
			list := slices.DeleteFunc(slices.Clone(in[c]), func(i *iface) bool { return i.part != p })
			if len(list) == 0 {
				continue
			}
			x1, x2 := g.extent(list)
			right = append(right, Point{x2, c.y(p)})
			if !c.wraps() {
				grp.Parts = append(grp.Parts, Line{Points: []Point{{x1, c.y(p)}, {x2, c.y(p)}}, Style: Bar, Tone: -1})
			}
		}
		if c.wraps() && len(right) > 1 {
			for _, l := range g.wrapLines(c, right) {
				l.Style, l.Tone = Bar, -1
				grp.Parts = append(grp.Parts, l)
			}
		}
		out = append(out, grp)
	}
	return out
}

// joints are where bars meet the pipes of the interfaces that they are on.
func (g *graph) joints(v *view) []Group {
	var out []Group
	seen := map[*container]bool{}
	for _, itf := range v.w.Interfaces {
		i := g.byID[itf.ID]
		if i == nil {
			continue
		}
		if c := g.wireContainer(i, itf); c != nil && c.of != nil && c.of.tee == c && !seen[c] {
			seen[c] = true
			out = append(out, Group{ID: "joint:" + c.key, Parts: []Part{End{At: Point{c.of.x, c.of.y(c)}, Style: Joint, Tone: -1}}})
		}
	}
	for _, c := range g.cablesOf(v, &v.w) {
		if placed := g.cabled[c.key()]; placed != nil && placed.onPipe {
			way := g.cablePoints(placed)
			out = append(out, Group{ID: "joint:" + c.id, Parts: []Part{End{At: way[len(way)-1], Style: Joint, Tone: -1}}})
		}
	}
	return out
}

// ghostGroups show where a host end was in the step before.
func (g *graph) ghostGroups(v *view) []Group {
	was := map[string]model.End{}
	for _, itf := range v.before.Interfaces {
		was[itf.ID] = itf.HostEnd
	}
	var out []Group
	for _, itf := range v.w.Interfaces {
		i, old := g.byID[itf.ID], was[itf.ID]
		if i == nil || old.In == "" || itf.Change == model.Removed {
			continue
		}
		from, to := g.hostContainer(i, old), g.hostContainer(i, itf.HostEnd)
		if from == to {
			continue
		}
		y1, y2 := i.y(from), i.y(to)
		out = append(out, Group{ID: "ghost:" + itf.ID, Title: Clean(itf.Name) + " was plugged in here before", Parts: []Part{
			Line{Points: []Point{{i.x, y1}, {i.x, y2}}, Style: GhostPipe, Tone: -1},
			End{At: Point{i.x, y1}, Style: Ghost, Tone: -1},
		}})
	}
	return out
}

// y is where ends in a container of the interface's box are.
func (i *iface) y(c *container) float64 { return c.y(i.part) }

// y is where the container is in a part.
func (c *container) y(p *part) float64 { return p.row.lines[p.rowOf[c]] }

// addHops opens the lines that pipes pass over without being plugged in.
func (g *graph) addHops(s *Scene) {
	var flat []Line // horizontal strokes
	for _, grp := range s.Groups {
		for _, p := range grp.Parts {
			if l, ok := p.(Line); ok && l.Style != Pipe && l.Style != GhostPipe && l.Style != Route && l.Style != WayThere && l.Style != WayBack {
				for n := 1; n < len(l.Points); n++ {
					if l.Points[n].Y == l.Points[n-1].Y {
						flat = append(flat, Line{Points: l.Points[n-1 : n+1], Style: l.Style})
					}
				}
			}
		}
	}
	for k := range s.Groups {
		grp := &s.Groups[k]
		pipe, ok := firstPipe(grp)
		if !ok {
			continue
		}
		var hops []Part
		x, top, bottom := pipe.Points[0].X, pipe.Points[0].Y, pipe.Points[1].Y
		for _, l := range flat {
			y := l.Points[0].Y
			lo, hi := min(l.Points[0].X, l.Points[1].X), max(l.Points[0].X, l.Points[1].X)
			if y <= min(top, bottom) || y >= max(top, bottom) || x < lo || x > hi || (x == lo || x == hi) && l.Style != BridgeBus && l.Style != LANBus {
				continue
			}
			style := HopOutside
			if l.Style == BridgeBus || l.Style == Bar {
				style = Hop
			}
			h := g.m.Bus * g.m.Middle
			hops = append(hops, Line{Points: []Point{{x, y - h}, {x, y + h}}, Style: style, Tone: -1})
		}
		grp.Parts = append(hops, grp.Parts...)
	}
}

func firstPipe(grp *Group) (Line, bool) {
	for _, p := range grp.Parts {
		if l, ok := p.(Line); ok && l.Style == Pipe {
			return l, true
		}
	}
	return Line{}, false
}
