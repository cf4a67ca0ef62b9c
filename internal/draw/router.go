package draw

import (
	"slices"

	"drawbridge/internal/model"
)

// A stack that routes has a sign in its band, above the host ends that it routes between,
// with a line to each of them.

// routedEnds are the interfaces between which a stack of one view routes.
func (g *graph) routedEnds(v *view, st model.Stack) []*iface {
	var out []*iface
	if !st.Forwards || st.Change == model.Removed {
		return nil
	}
	for _, itf := range v.w.Interfaces {
		i := g.byID[itf.ID]
		if i != nil && itf.HostEnd == (model.End{In: model.InStack, ID: st.ID}) && itf.Change != model.Removed && itf.Routes {
			out = append(out, i)
		}
	}
	return out
}

// routerText is what the sign says.
func routerText(v *view, st model.Stack) string {
	for _, itf := range v.w.Interfaces {
		if itf.Stack == st.ID && len(itf.NAT) > 0 {
			return "router · NAT"
		}
	}
	for _, s := range v.w.Segments {
		if s.Stack == st.ID && s.Behind == model.BehindNAT {
			return "router · NAT"
		}
	}
	return "router"
}

func (g *graph) routerWidth(v *view, st model.Stack) float64 {
	return g.m.Measure(PlateText, routerText(v, st)) + 2*g.m.PlatePad
}

// addRouters notes the room for the signs of one view.
func (g *graph) addRouters(v *view) {
	for _, st := range v.w.Stacks {
		for _, i := range g.routedEnds(v, st) {
			c := g.container(i.box, stackKey(st.ID))
			i.room.texts[c] = max(i.room.texts[c], g.routerWidth(v, st)-g.m.Overhang)
			i.routed = true
		}
	}
}

// routes tells whether there is a sign, or a way, in the stacks of a row of boxes in any view.
func (r *row) routes() bool {
	return slices.ContainsFunc(r.parts, func(p *part) bool {
		return slices.ContainsFunc(p.ifaces, func(i *iface) bool { return i.routed || i.passed })
	})
}

// routerGroups draw the signs of one view, in each part of a box that has ends of it.
func (g *graph) routerGroups(v *view) []Group {
	var out []Group
	for _, st := range v.w.Stacks {
		b := g.boxOf[st.ID]
		ends := g.routedEnds(v, st)
		if b == nil || len(ends) == 0 {
			continue
		}
		grp := Group{ID: "router:" + st.ID, Title: Clean(st.Name) + " routes between these"}
		for _, p := range b.parts {
			in := slices.DeleteFunc(slices.Clone(ends), func(i *iface) bool { return i.part != p })
			slices.SortFunc(in, func(x, y *iface) int { return y.col - x.col }) // the farthest first
			if len(in) > 0 {
				grp.Parts = append(grp.Parts, g.routerParts(in, routerText(v, st), g.routerWidth(v, st))...)
			}
		}
		out = append(out, grp)
	}
	return out
}

// signLeft is where a sign begins above the first of its host ends.
func (g *graph) signLeft(first *iface) float64 { return first.x - g.m.Overhang + g.m.Zone/2 }

// signRight is where the sign of a stack ends in a part of its box, 0 where it has none.
func (g *graph) signRight(v *view, stack string, p *part) float64 {
	st := v.w.Stack(stack)
	if st == nil {
		return 0
	}
	var first *iface
	for _, i := range g.routedEnds(v, *st) {
		if i.part == p && (first == nil || i.col < first.col) {
			first = i
		}
	}
	if first == nil {
		return 0
	}
	return g.signLeft(first) + g.routerWidth(v, *st)
}

func (g *graph) routerParts(ends []*iface, text string, width float64) []Part {
	m, first := g.m, ends[len(ends)-1]
	r := first.part.row
	left, y := g.signLeft(first), r.router
	var out []Part
	for n, i := range ends {
		way := []Point{{i.x, y}, {i.x, r.lines[0]}}
		switch {
		case i.x <= left+width:
			way[0].Y += m.RouterBox / 2
		case n == 0: // the others join its line
			way = append([]Point{{left + width, y}}, way...)
		}
		out = append(out, Line{Points: way, Style: Route, Tone: -1})
	}
	name := g.label(left+m.PlatePad, y, RouterText, text)
	if m.PlateLeft == 0 {
		name.At.X, name.Anchor = left+width/2, Middle
	}
	return append(out, Box{X: left, Y: y - m.RouterBox/2, W: width, H: m.RouterBox, Style: RouterBox}, name)
}
