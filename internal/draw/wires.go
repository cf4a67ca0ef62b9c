package draw

import (
	"slices"

	"drawbridge/internal/model"
)

// cableGroups draws the cables of one view.
func (g *graph) cableGroups(v *view) []Group {
	changes := map[string]model.Change{}
	for _, s := range v.w.Segments {
		changes[s.ID] = s.Change
	}
	var out []Group
	for _, c := range g.cablesOf(v, &v.w) {
		placed := g.cabled[c.key()]
		if placed == nil {
			continue
		}
		line := Line{Points: g.cablePoints(placed), Style: Cable, Tone: -1, Dashed: changes[c.id] == model.Removed}
		grp := Group{
			ID: "cable:" + c.id, Change: changes[c.id], Parts: []Part{line},
			Title: "Cable between " + Clean(c.a.name) + " and " + Clean(c.b.name),
		}
		if c.tunnel {
			line.Style = Tunneled
			grp.Parts[0], grp.Title = line, "Tunnel between "+Clean(c.a.name)+" and "+Clean(c.b.name)
		}
		if c.onPipe {
			grp.Title = Clean(c.a.name) + " is plugged into " + Clean(c.b.name)
		}
		if l, ok := g.cableLabel(placed); ok && v.Trace == nil {
			grp.Parts = append(grp.Parts, l)
		}
		out = append(out, grp)
	}
	return out
}

// cablePoints go down from one wire end, along, and up to the other; between two rows
// of boxes they go round at the right.
func (g *graph) cablePoints(c *cable) []Point {
	ra, rb := c.a.part.row, c.b.part.row
	ya := g.trackY(ra, c.trackA)
	if ra == rb {
		if c.onPipe && c.b.onLAN {
			return []Point{{c.a.x, ra.exit}, {c.a.x, ya}, {c.b.x, ya}}
		}
		return []Point{{c.a.x, ra.exit}, {c.a.x, ya}, {c.b.x, ya}, {c.b.x, rb.exit}}
	}
	x, yb := g.gutterX(c), g.trackY(rb, c.trackB)
	way := []Point{{c.a.x, ra.exit}, {c.a.x, ya}, {x, ya}, {x, yb}, {c.b.x, yb}, {c.b.x, rb.exit}}
	if c.onPipe && c.b.onLAN {
		return way[:5] // the pipe goes on down to its LAN
	}
	return way
}

// cableLabel names a cable where there is one only below its row, so that a label
// has room under it and no pipe to a LAN runs through.
func (g *graph) cableLabel(c *cable) (Label, bool) {
	r := c.a.part.row
	if g.m.CableText == 0 || r.tracks != 1 || c.b.part.row != r || c.onPipe || c.tunnel {
		return Label{}, false
	}
	l := g.label((c.a.x+c.b.x)/2, g.trackY(r, 1)+g.m.CableText, NoteText, "virtual Ethernet cable")
	l.Anchor = Middle
	lo, hi := l.Left()-g.gap(), l.Left()+l.W+g.gap()
	crossed := slices.ContainsFunc(g.ifaces, func(i *iface) bool { return i.onLAN && i.x > lo && i.x < hi })
	return l, !crossed && lo > min(c.a.x, c.b.x) && hi < max(c.a.x, c.b.x)
}

// interfaceGroup draws an interface: its pipe, its ends, its plate, and what is known
// about each of them beside it.
func (g *graph) interfaceGroup(v *view, i *iface, itf model.Interface, legend bool) Group {
	r, m := i.part.row, g.m
	top, bottom, wire := g.ends(i, itf)
	gone := itf.Change == model.Removed
	tone := g.toneOf(itf)
	grp := Group{ID: "interface:" + itf.ID, Title: Clean(describeInterface(v.index, itf)), Change: itf.Change}
	plate := r.plates[len(r.plates)-1]
	if i.plateRow <= len(r.plates) {
		plate = r.plates[i.plateRow-1]
	}
	w := g.plateWidth(itf)
	left := w / 2
	if m.PlateLeft > 0 {
		left = m.PlateLeft
	}
	grp.Parts = append(grp.Parts,
		Line{Points: []Point{{i.x, top}, {i.x, bottom}}, Style: Pipe, Tone: tone, Dashed: gone || itf.Declared},
		End{At: Point{i.x, top}, Style: hostStyle(itf), Tone: tone},
		End{At: Point{i.x, bottom}, Style: wire, Tone: tone},
		Box{X: i.x - left, Y: plate - m.Plate*m.Middle, W: w, H: m.Plate * m.Middle * 2, Style: PlateBox, Dashed: gone || itf.Declared},
	)
	name := Label{At: Point{i.x - left + m.PlatePad, plate}, W: w - 2*m.PlatePad, Text: Clean(itf.Name), Style: PlateText, Struck: gone, Change: itf.Change}
	if m.PlateLeft == 0 {
		name.At.X, name.Anchor = i.x, Middle
	}
	grp.Parts = append(grp.Parts, name)
	if itf.Change != "" {
		grp.Parts = append(grp.Parts, g.markLabel(i.x-left-m.Mark/2-(0.5-m.Middle), plate, itf.Change))
	}
	y := r.texts[i.part.rowOf[g.hostContainer(i, itf.HostEnd)]]
	for _, runs := range g.addressLines(v, itf, legend) {
		grp.Parts = append(grp.Parts, g.runParts(i.x, y, runs)...)
		y += m.Line
	}
	y = r.details[i.plateRow-1] + m.Small*m.Middle
	for n, d := range g.detailLines(itf) {
		grp.Parts = append(grp.Parts, g.label(i.x+m.Text, y, detailStyle(itf, n), d))
		y += m.Small
	}
	y = r.exit
	for _, runs := range g.wireLines(v, itf, legend) {
		grp.Parts = append(grp.Parts, g.runParts(i.x, y, runs)...)
		y += m.Line
	}
	return grp
}

// notOnIt is what a hollow host end means.
const notOnIt = "the host is not on it"

// hostStyle is how the host end looks: that of a bridge may dangle, where the host is
// not on it.
func hostStyle(itf model.Interface) Style {
	if itf.HostEnd.In == model.InNothing {
		return Dangling
	}
	return Plugged
}

// ends is where the ends are, and how the wire end looks.
func (g *graph) ends(i *iface, itf model.Interface) (top, bottom float64, wire Style) {
	r := i.part.row
	top, bottom, wire = i.y(g.hostContainer(i, itf.HostEnd)), r.exit, Plugged
	if c := g.wireContainer(i, itf); c != nil {
		return top, i.y(c), wire
	}
	if !itf.WireEnd.Plugged() {
		return top, bottom, Dangling
	}
	if s := g.segs[itf.WireEnd.ID]; itf.WireEnd.In == model.InSegment && s != nil && s.kind == "lan" {
		for _, p := range s.places {
			if p.row == r {
				return top, p.y, wire
			}
		}
	}
	return top, bottom, wire
}

// toneOf is the tone of the bridge that an interface is plugged into, -1 for none.
func (g *graph) toneOf(itf model.Interface) int {
	for _, e := range []model.End{itf.HostEnd, itf.WireEnd} {
		if s := g.segs[e.ID]; e.In == model.InSegment && s != nil && s.kind == "bridge" {
			return s.tone
		}
	}
	return -1
}

// runParts sets a line of text beside a pipe, its change mark before it.
func (g *graph) runParts(x, y float64, runs []run) []Part {
	var parts []Part
	if c := runs[0].change; c != "" {
		parts = append(parts, g.markLabel(x+g.m.TextMark, y, c))
	}
	x += g.m.Text
	for _, r := range runs {
		l := g.label(x, y, r.style, r.text)
		l.Struck, l.Change = r.struck, r.change
		parts = append(parts, l)
		x += l.W + g.gap()
	}
	return parts
}

// chipGroups lists the members of an opened group, each with its dot and its name.
func (g *graph) chipGroups(v *view, i *iface) []Group {
	grp := v.groups[i.id]
	if grp == nil || !grp.Open || i.grid == nil {
		return nil
	}
	r, m := i.part.row, g.m
	top := r.details[i.plateRow-1] + float64(i.details)*m.Small + m.Small*m.Middle
	var out []Group
	for n, itf := range grp.Members {
		x := i.x + m.Text + float64(n%i.grid.columns)*i.grid.pitch
		y := top + float64(n/i.grid.columns)*m.Small
		style := Dangling
		if _, held := v.peers[itf.ID]; held || itf.WireEnd.Plugged() {
			style = Plugged
		}
		out = append(out, Group{ID: "interface:" + itf.ID, Change: itf.Change, Parts: []Part{
			End{At: Point{x, y}, Style: style, Tone: g.toneOf(itf), Small: true},
			g.label(x+g.m.Text/2*(1+(0.5-m.Middle)*2), y, SmallText, chipText(itf, v.peers)),
		}})
	}
	return out
}
