package draw

import (
	"drawbridge/internal/model"
)

// scene draws one view at the places that all views share.
func (g *graph) scene(v *view) *Scene {
	s := &Scene{Rows: len(g.rows), Width: g.width, Height: g.height, Title: Clean(v.Title), Desc: Describe(v.Now)}
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
	s.Groups = append(s.Groups, g.ghostGroups(v)...)
	for n, itf := range v.w.Interfaces {
		if i := g.byID[itf.ID]; i != nil {
			s.Groups = append(s.Groups, g.interfaceGroup(v, i, itf, v.Legend && n == 0))
			s.Groups = append(s.Groups, g.chipGroups(v, i)...)
		}
	}
	g.addHops(s)
	s.Groups = append(s.Groups, g.joints(v)...)
	if v.Legend {
		parts, _ := g.keyParts(g.keyTop)
		s.Groups = append(s.Groups, Group{ID: "key", Title: "Key", Parts: parts})
	}
	return s
}

func (g *graph) boxGroup(b *box, st model.Stack) Group {
	r, m := b.row, g.m
	style := VMBox
	switch st.Kind {
	case "host":
		style = HostBox
	case "namespace", "container":
		style = NamespaceBox
	}
	gone := st.Change == model.Removed
	grp := Group{ID: "stack:" + st.ID, Title: describeStack(st), Change: st.Change, Parts: []Part{
		Box{X: b.x, Y: r.top, W: b.w, H: r.border - r.top, Style: style, Dashed: gone},
		Box{X: b.x + m.BandInset, Y: r.bandTop, W: b.w - 2*m.BandInset, H: r.bandFoot - r.bandTop, Style: BandBox},
	}}
	x := b.x + m.Pad
	if m.Terse {
		x += 2 // ╭─ name
	}
	if st.Change != "" {
		grp.Parts = append(grp.Parts, g.markLabel(x+m.Measure(MarkText, "+")/2, r.name, st.Change))
		x += m.Mark + g.gap()*(1-2*m.Middle)
	}
	for n, run := range headRuns(m, st) {
		l := g.label(x, r.name, run.style, run.text)
		if n == 0 {
			l.Struck, l.Change = gone, st.Change
		}
		grp.Parts = append(grp.Parts, l)
		x += l.W + g.gap()
	}
	if !b.bands {
		grp.Parts = append(grp.Parts, g.label(b.x+m.Pad, r.bandLabel, NoteText, "IP stack"))
	}
	return grp
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
		for n+1 < len(b.ifaces) && in[b.ifaces[n+1]] {
			n++
		}
		last := b.ifaces[n]
		x1, x2 := first.x-first.left, last.x+last.right
		y1 := b.row.bandTop + g.m.Zone/4
		grp.Parts = append(grp.Parts, Box{X: x1, Y: y1, W: x2 - x1, H: b.row.bandFoot - g.m.Zone/4 - y1, Style: VRFBox})
		if st.Change != "" {
			grp.Parts = append(grp.Parts, g.markLabel(first.x+g.m.TextMark, b.row.bandLabel, st.Change))
		}
		grp.Parts = append(grp.Parts, g.label(first.x+g.m.Text, b.row.bandLabel, NoteText, vrfText(st)))
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
	b, c := x.box, x.bus
	beside := c.labelBeside()
	if beside == nil {
		return grp
	}
	x1, x2 := g.extent(c.ifaces)
	tx := beside.x + g.m.Text
	x2 = max(x2+g.m.Overhang, tx+x.label-g.m.Mark)
	grp.Parts = append(grp.Parts, Line{Points: []Point{{x1 - g.m.Overhang, b.row.lines[c.row]}, {x2, b.row.lines[c.row]}}, Style: BridgeBus, Tone: x.tone, Dashed: gone})
	if seg.Change != "" {
		grp.Parts = append(grp.Parts, g.markLabel(beside.x+g.m.TextMark, b.row.labels[c.row-1], seg.Change))
	}
	grp.Parts = append(grp.Parts, g.segmentText(tx, b.row.labels[c.row-1], "", BridgeText, x.tone, name, rest)...)
	return grp
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
		x1, x2 := g.extent(in[c])
		y := c.of.box.row.lines[c.row]
		grp := Group{ID: "bar:" + c.key, Parts: []Part{
			Line{Points: []Point{{x1, y}, {x2, y}}, Style: Bar, Tone: -1},
		}}
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
func (i *iface) y(c *container) float64 { return i.box.row.lines[c.row] }

// addHops opens the lines that pipes pass over without being plugged in.
func (g *graph) addHops(s *Scene) {
	var flat []Line // horizontal strokes
	for _, grp := range s.Groups {
		for _, p := range grp.Parts {
			if l, ok := p.(Line); ok && l.Style != Pipe && l.Style != GhostPipe {
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
