package draw

import (
	"fmt"
	"math"
	"strings"

	"drawbridge/internal/trace"
)

// addWay notes the room that the way of a view takes in the stacks on it.
func (g *graph) addWay(v *view) {
	if v.Trace == nil || g.m.Terse {
		return
	}
	count := map[string]float64{}
	for _, h := range v.Trace.Hops {
		count[h.Stack]++
	}
	for _, st := range v.w.Stacks {
		b, n := g.boxOf[st.ID], count[st.ID]
		if b == nil || n == 0 || st.ID == "" {
			continue
		}
		room := (n+1)*pitch + badge
		for _, i := range b.ifaces {
			c := g.container(i.box, stackKey(st.ID))
			i.passed = i.passed || len(i.hosts) > 0 && i.hosts[0] == c
			if i.passed {
				i.room.texts[c] = max(i.room.texts[c], room)
			}
		}
		for _, i := range g.routedEnds(v, st) {
			c := g.container(i.box, stackKey(st.ID))
			i.room.texts[c] = max(i.room.texts[c], g.routerWidth(v, st)-g.m.Overhang+room)
		}
	}
}

// wayGroups are the lines of a way, which are painted before the pipes and plates.
func (w *way) lineGroups() []Group {
	if w == nil {
		return nil
	}
	var out []Group
	for _, d := range []struct {
		id, title string
		style     Style
		runs      [][]Point
	}{{"way:there", "The way of the packet", WayThere, w.there}, {"way:back", "The way of the answer", WayBack, w.back}} {
		grp := Group{ID: d.id, Title: d.title}
		for _, run := range d.runs {
			grp.Parts = append(grp.Parts, w.lines(run, d.style)...)
		}
		if len(grp.Parts) > 0 {
			out = append(out, grp)
		}
	}
	return out
}

// lines is a run beside its wire, with an arrow on each stretch that has room for one.
func (w *way) lines(run []Point, style Style) []Part {
	run = straight(run)
	if len(run) < 2 {
		return nil
	}
	out := []Part{Line{Points: besides(run, besideBy), Style: style, Tone: -1, Dashed: style == WayBack}}
	for n := 1; n < len(run); n++ {
		a, b := run[n-1], run[n]
		u := Point{math.Copysign(1, b.X-a.X), 0}
		length := math.Abs(b.X-a.X) + math.Abs(b.Y-a.Y)
		if a.X == b.X {
			u = Point{0, math.Copysign(1, b.Y-a.Y)}
		}
		for _, f := range []float64{0.5, 0.35, 0.65, 0.2, 0.8} {
			at := Point{a.X + u.X*f*length - u.Y*besideBy, a.Y + u.Y*f*length + u.X*besideBy}
			if length*min(f, 1-f) < 3*besideBy || w.covered(at) {
				continue
			}
			tip, wing := 4.0, 4.5
			out = append(out, Line{Style: style, Tone: -1, Points: []Point{
				{at.X - u.X*tip - u.Y*wing, at.Y - u.Y*tip + u.X*wing}, {at.X + u.X*tip, at.Y + u.Y*tip}, {at.X - u.X*tip + u.Y*wing, at.Y - u.Y*tip - u.X*wing},
			}})
			break
		}
	}
	return out
}

// covered tells whether something is painted over a point of the way: a plate, an end, a
// number.
func (w *way) covered(at Point) bool {
	near := func(p Point, r float64) bool { return math.Abs(p.X-at.X) < r && math.Abs(p.Y-at.Y) < r }
	for _, p := range w.order {
		for _, n := range p.at {
			if near(n, badge+7) {
				return true
			}
		}
	}
	for _, itf := range w.v.w.Interfaces {
		i := w.g.byID[itf.ID]
		if i == nil || math.Abs(i.x-at.X) > 200 {
			continue
		}
		top, bottom, _ := w.g.ends(i, itf)
		plate := i.part.row.plates[min(i.plateRow, len(i.part.row.plates))-1]
		over := math.Abs(plate-at.Y) < w.g.m.Plate/2+6 && math.Abs(i.x-at.X) < w.g.plateWidth(itf)/2+6
		if over || near(Point{i.x, top}, endRoom+8) || near(Point{i.x, bottom}, endRoom+8) {
			return true
		}
	}
	return false
}

// straight leaves out the points on which a run only goes on.
func straight(run []Point) []Point {
	var out []Point
	for _, p := range run {
		for len(out) > 1 && between(out[len(out)-2], out[len(out)-1], p) {
			out = out[:len(out)-1]
		}
		if len(out) == 0 || out[len(out)-1] != p {
			out = append(out, p)
		}
	}
	return out
}

func between(a, p, b Point) bool {
	return a.X == p.X && p.X == b.X && (p.Y-a.Y)*(b.Y-p.Y) >= 0 || a.Y == p.Y && p.Y == b.Y && (p.X-a.X)*(b.X-p.X) >= 0
}

// besides is a run of horizontal and vertical strokes moved to its right by d. Where it
// turns back, it goes round.
func besides(run []Point, d float64) []Point {
	side := func(a, b Point) Point { // y grows downwards: right of east is south
		switch {
		case b.X > a.X:
			return Point{0, d}
		case b.X < a.X:
			return Point{0, -d}
		case b.Y > a.Y:
			return Point{-d, 0}
		}
		return Point{d, 0}
	}
	var out []Point
	for n, p := range run {
		switch {
		case n == 0:
			s := side(p, run[1])
			out = append(out, Point{p.X + s.X, p.Y + s.Y})
		case n == len(run)-1:
			s := side(run[n-1], p)
			out = append(out, Point{p.X + s.X, p.Y + s.Y})
		default:
			a, b := side(run[n-1], p), side(p, run[n+1])
			if a.X == -b.X && a.Y == -b.Y {
				out = append(out, Point{p.X + a.X, p.Y + a.Y}, Point{p.X + b.X, p.Y + b.Y})
			} else {
				out = append(out, Point{p.X + a.X + b.X, p.Y + a.Y + b.Y})
			}
		}
	}
	return out
}

// hopGroups are the numbers, the names of who is outside, and the cross: above everything.
func (w *way) hopGroups() []Group {
	if w == nil {
		return nil
	}
	var out []Group
	for _, p := range w.order {
		if p.name != nil {
			out = append(out, Group{ID: "outside:" + p.name.Text, Parts: []Part{*p.name}})
		}
		for k, at := range p.at {
			if hops := p.hops[k*len(p.hops)/len(p.at) : (k+1)*len(p.hops)/len(p.at)]; len(hops) > 0 {
				out = append(out, w.hopGroup(hops, at))
			}
		}
	}
	if w.cross != nil {
		x, y, r := w.cross.X, w.cross.Y, 8.0
		grp := Group{ID: "cross", Title: "Here the packet dies: " + Clean(w.trace.Summary)}
		for _, s := range []Style{CrossCasing, Cross} {
			grp.Parts = append(grp.Parts, Line{Points: []Point{{x - r, y - r}, {x + r, y + r}}, Style: s, Tone: -1}, Line{Points: []Point{{x - r, y + r}, {x + r, y - r}}, Style: s, Tone: -1})
		}
		out = append(out, grp)
	}
	return out
}

// hopGroup is a number, or several that share one place.
func (w *way) hopGroup(hops []*trace.Hop, at Point) Group {
	var numbers, titles []string
	for _, h := range hops {
		numbers = append(numbers, fmt.Sprint(h.Number))
		titles = append(titles, hopTitle(h))
	}
	grp := Group{ID: "hop:" + strings.Join(numbers, "-"), Title: strings.Join(titles, "; ")}
	grp.Parts = w.g.badgeParts(strings.Join(numbers, ","), at.X-badge, at.Y, hopStyle(hops))
	return grp
}

// badgeParts are a number in its sign, from x on.
func (g *graph) badgeParts(text string, x, y float64, style Style) []Part {
	l := g.label(0, y, HopText, text)
	if style == HopMay {
		l.Style = HopMayText
	}
	width := max(2*badge, l.W+1)
	if width < 2*badge+4 { // in the middle as others are
		x -= (width - 2*badge) / 2
	}
	l.At.X, l.Anchor = x+width/2, Middle
	return []Part{Box{X: x, Y: y - badge, W: width, H: 2 * badge, Style: style}, l}
}

func hopStyle(hops []*trace.Hop) Style {
	style := HopThere
	if hops[0].Answer {
		style = HopBack
	}
	for _, h := range hops {
		switch h.Result {
		case trace.Dies:
			return HopDies
		case trace.May:
			style = HopMay
		}
	}
	return style
}

func hopTitle(h *trace.Hop) string {
	text := fmt.Sprintf("%d: %s", h.Number, h.Name)
	for _, d := range h.Decisions {
		text += fmt.Sprintf("; %s: %s", d.By, d.Text)
	}
	return Clean(text)
}
