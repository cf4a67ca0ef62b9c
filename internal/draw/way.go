package draw

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/trace"
)

// The way of a packet is painted after the layout: each hop of a trace is a thing of the
// picture by its id, and the way runs along the wires from one to the next. It keeps to the
// right of them, so that the way there and the answer's never lie on each other. At each
// place stands the number by which the list below the picture tells what decides there.

// way is a trace in one view.
type way struct {
	g      *graph
	v      *view
	trace  *trace.Trace
	places map[string]*place
	order  []*place
	// there and back are the runs of the packet and of its answer, in the middle of the wires;
	// more than one where what is between is not drawn.
	there, back [][]Point
	cross       *Point // where it dies
	pen         *pen
}

// place is where the way stops at a thing of the picture, once or several times.
type place struct {
	hops []*trace.Hop
	at   []Point // of the numbers; fewer than hops where they share
	end  Point   // right of them: where a way dies that ends here
	// name is whom one meets there outside of the picture.
	name *Label
}

// pen draws runs of strokes.
type pen struct{ runs [][]Point }

func (p *pen) to(x, y float64) {
	if len(p.runs) == 0 {
		p.lift()
	}
	run := &p.runs[len(p.runs)-1]
	if n := len(*run); n == 0 || (*run)[n-1] != (Point{x, y}) {
		*run = append(*run, Point{x, y})
	}
}

// lift ends a run: the next point begins another one.
func (p *pen) lift() {
	if n := len(p.runs); n == 0 || len(p.runs[n-1]) > 0 {
		p.runs = append(p.runs, nil)
	}
}

func (p *pen) last() (Point, bool) {
	if n := len(p.runs); n > 0 && len(p.runs[n-1]) > 0 {
		return p.runs[n-1][len(p.runs[n-1])-1], true
	}
	return Point{}, false
}

// wayOf finds the way through a view whose layout is done, nil where it has no trace or the
// medium has no room for it.
func (g *graph) wayOf(v *view) *way {
	if v.Trace == nil || g.m.Terse {
		return nil
	}
	w := &way{g: g, v: v, trace: v.Trace, places: map[string]*place{}}
	there, back := halvesOf(w.trace)
	for _, hops := range [][]*trace.Hop{there, back} { // first how many meet at each place
		w.follow(hops)
	}
	for _, p := range w.order {
		p.at, p.name = nil, nil
	}
	w.there, w.back = w.follow(there), w.follow(back)
	return w
}

// follow draws the hops of one direction.
func (w *way) follow(hops []*trace.Hop) [][]Point {
	w.pen = &pen{}
	for n, h := range hops {
		var prev, next *trace.Hop
		if n > 0 {
			prev = hops[n-1]
		}
		if n+1 < len(hops) {
			next = hops[n+1]
		}
		switch {
		case h.Interface != "":
			w.alongPipe(prev, h, next)
		case h.Stack != "":
			w.throughStack(prev, h, next)
		default:
			w.onSegment(prev, h, next)
		}
		if h.Result == trace.Dies {
			if at, ok := w.pen.last(); ok {
				w.cross = &at
			}
		}
	}
	return w.pen.runs
}

// at is the place with a key. The hop is noted there the first time that it is met.
func (w *way) at(key string, h *trace.Hop) *place {
	p := w.places[key]
	if p == nil {
		p = &place{}
		w.places[key] = p
		w.order = append(w.order, p)
	}
	p.hops = appendNew(p.hops, h)
	return p
}

// pipe is an interface as it is drawn.
type pipe struct {
	*iface
	itf         *model.Interface
	top, bottom float64
}

func (w *way) pipeOf(h *trace.Hop) *pipe {
	if h == nil || h.Interface == "" {
		return nil
	}
	i, itf := w.g.byID[h.Interface], w.v.w.Interface(h.Interface)
	if i == nil || itf == nil {
		return nil
	}
	p := &pipe{iface: i, itf: itf}
	p.top, p.bottom, _ = w.g.ends(i, *itf)
	return p
}

// alongPipe goes through an interface, from its host end to its wire end or the other way
// round. By what is plugged into its pipe it is met, or left, in the middle.
func (w *way) alongPipe(prev, h, next *trace.Hop) {
	p, before, after := w.pipeOf(h), w.pipeOf(prev), w.pipeOf(next)
	if p == nil {
		w.pen.lift()
		return
	}
	from, to := p.top, p.bottom
	if h.In {
		from, to = to, from
	}
	on := func(upper *pipe) bool {
		return upper != nil && p.tee != nil && upper.itf.WireEnd == (model.End{In: model.InInterface, ID: p.itf.ID})
	}
	if !h.In && on(before) {
		from = p.y(p.tee)
	}
	if h.In && on(after) {
		to = p.y(p.tee)
	}
	if prev != nil {
		w.reach(before, p, &from, prev.Interface != "")
	}
	w.pen.to(p.x, from)
	w.numberPipe(p, h)
	if h.In && diesBy(h, trace.ByLink) {
		return // it does not get in
	}
	w.pen.to(p.x, to)
}

func diesBy(h *trace.Hop, by trace.Kind) bool {
	return h.Result == trace.Dies && h.Decisions[len(h.Decisions)-1].By == by
}

// reach goes on to a pipe: straight, by the cable between two wire ends, or around where
// what both are plugged into wraps.
func (w *way) reach(before, p *pipe, from *float64, wire bool) {
	last, ok := w.pen.last()
	if !ok {
		return
	}
	if wire && before != nil {
		for _, c := range w.g.cables {
			if c.tunnel || (c.a != before.iface || c.b != p.iface) && (c.b != before.iface || c.a != p.iface) {
				continue
			}
			points := w.g.cablePoints(c)
			if c.a != before.iface {
				slices.Reverse(points)
			}
			for _, at := range points {
				w.pen.to(at.X, at.Y)
			}
			*from = points[len(points)-1].Y
			return
		}
	}
	if before != nil && before.box != p.box || last.X != p.x && last.Y != *from {
		if c := w.wrapped(last.Y, *from); c != nil {
			lane := w.g.m.Margin + float64(c.lane-1)*w.g.m.Track
			w.pen.to(lane, last.Y)
			w.pen.to(lane, *from)
			return
		}
		w.pen.lift()
	}
}

// wrapped finds what is drawn at both heights, beside the boxes from the one to the other.
func (w *way) wrapped(y1, y2 float64) *container {
	for _, c := range w.g.wrapped {
		var at [2]bool
		for _, p := range c.at {
			at[0], at[1] = at[0] || c.y(p) == y1, at[1] || c.y(p) == y2
		}
		if at[0] && at[1] {
			return c
		}
	}
	return nil
}

// throughStack goes up from a host end into the stack, and down to another one.
func (w *way) throughStack(prev, h, next *trace.Hop) {
	b := w.g.boxOf[h.Stack]
	in, out := w.pipeOf(prev), w.pipeOf(next)
	if in != nil && in.box != b {
		in = nil
	}
	if out != nil && out.box != b {
		out = nil
	}
	anchor := w.anchor(b, h.Stack, in, out)
	if anchor == nil {
		w.pen.lift()
		return
	}
	row := anchor.part.row
	p := w.at(fmt.Sprintf("stack %s %d", h.Stack, anchor.part.index), h)
	w.numberStack(p, h.Stack, anchor)
	if in != nil {
		w.pen.to(in.x, row.router)
	} else {
		w.pen.lift()
		w.pen.to(p.spot(h), row.router)
	}
	switch {
	case h.Result == trace.Dies:
		w.pen.to(p.end.X, row.router)
	case out == nil:
		w.pen.to(p.spot(h), row.router)
	case out.part != anchor.part:
		w.pen.lift()
		w.pen.to(out.x, out.part.row.router)
	default:
		w.pen.to(out.x, row.router)
	}
}

// spot is the x of a hop's number.
func (p *place) spot(h *trace.Hop) float64 {
	return p.at[min(slices.Index(p.hops, h), len(p.at)-1)].X
}

// anchor is the interface at whose host end the way meets a stack.
func (w *way) anchor(b *box, stack string, in, out *pipe) *iface {
	switch {
	case b == nil:
		return nil
	case in != nil:
		return in.iface
	case out != nil:
		return out.iface
	}
	for _, i := range b.ifaces {
		if slices.ContainsFunc(i.hosts, func(c *container) bool { return c.key == stackKey(stack) }) && i.part.row.router > 0 {
			return i
		}
	}
	return nil
}

// onSegment goes along a bus: from one pipe to the next, or to the place of somebody who
// is not in the picture.
func (w *way) onSegment(prev, h, next *trace.Hop) {
	from, to := w.pipeOf(prev), w.pipeOf(next)
	at := from
	if at == nil {
		at = to
	}
	s := w.g.segs[h.Segment]
	if at == nil || s == nil {
		w.onCable(h)
		return
	}
	y, x1, x2, ok := w.bus(s, at.part)
	if !ok {
		w.pen.lift()
		return
	}
	if from != nil && to != nil && from.part.row == to.part.row {
		lo, hi := min(from.x, to.x), max(from.x, to.x)
		p := w.at(fmt.Sprintf("bus %s %v %v", s.id, lo, hi), h)
		w.numberBus(p, at.part.row, y, lo, hi)
		if h.Result == trace.Dies {
			w.pen.to(p.end.X, y)
		}
		return
	}
	p := w.at(fmt.Sprintf("bus %s %v", s.id, y), h)
	if from != nil && to != nil {
		p.at = []Point{{(at.x + x2) / 2, y}} // it goes on in another row
		w.numberBus(p, at.part.row, y, min(at.x, x2), max(at.x, x2))
		return
	}
	w.numberOutside(p, h, at.part.row, y, x1, x2)
	switch {
	case h.Result == trace.Dies && from == nil:
		w.pen.lift()
		w.pen.to(p.spot(h), y)
		w.pen.to(p.end.X, y)
	case h.Result == trace.Dies:
		w.pen.to(p.end.X, y)
	case from == nil:
		w.pen.lift()
		w.pen.to(p.spot(h), y)
	default:
		w.pen.to(p.spot(h), y)
	}
}

// bus is where a segment's bus is in a part of a box, or below it.
func (w *way) bus(s *segment, p *part) (y, x1, x2 float64, ok bool) {
	if s.bus == nil {
		for _, l := range s.places {
			if l.row == p.row {
				return l.y, l.x1, l.x2, true
			}
		}
		return 0, 0, 0, false
	}
	if !slices.Contains(s.bus.at, p) {
		return 0, 0, 0, false
	}
	x1, x2 = w.g.extent(s.bus.in(p))
	return s.bus.y(p), x1 - w.g.m.Overhang, x2 + w.g.m.Overhang, true
}

// onCable is a place on a cable whose other end is not drawn.
func (w *way) onCable(h *trace.Hop) {
	last, ok := w.pen.last()
	if !ok {
		return
	}
	p := w.at(fmt.Sprintf("cable %s", h.Segment), h)
	y := last.Y + badge + wayGap
	p.at, p.end = []Point{{last.X, y}}, Point{last.X, y}
	w.pen.to(last.X, y)
}
