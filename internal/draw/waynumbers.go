package draw

import (
	"math"
	"slices"

	"drawbridge/internal/trace"
)

// The numbers of the hops stand on the wires, where these are known to be free.

// The sizes of a way, in pixels.
const (
	badge    = 9.0  // half of a number's height
	wayGap   = 4.0  // between two numbers
	besideBy = 6.5  // from the middle of a wire to the way beside it
	endRoom  = 10.0 // half of what an end takes of its pipe
)

const pitch = 2*badge + wayGap

// numberPipe puts the numbers on the pipe, above and below the name plate.
func (w *way) numberPipe(p *pipe, h *trace.Hop) {
	pl := w.at("pipe "+p.id, h)
	if len(pl.at) > 0 {
		return
	}
	m, r := w.g.m, p.part.row
	plate := r.plates[min(p.plateRow, len(r.plates))-1]
	half := m.Plate / 2
	above := int((plate - half - p.top - endRoom + wayGap) / pitch)
	below := int((p.bottom - endRoom - plate - half + wayGap) / pitch)
	if p.tee != nil { // its bar crosses the pipe below the plate
		below = 0
	}
	slots := max(1, max(0, above)+max(0, below))
	n := min(len(pl.hops), slots)
	lower := min(max(n/2, n-max(0, above)), max(0, below))
	if above <= 0 && below <= 0 {
		lower = 1 // there is no room, and the end gives way
	}
	for k := n - lower; k > 0; k-- {
		pl.at = append(pl.at, Point{p.x, plate - half - badge - 2 - float64(k-1)*pitch})
	}
	for k := range lower {
		pl.at = append(pl.at, Point{p.x, plate + half + badge + 2 + float64(k)*pitch})
	}
}

// numberStack puts them in the line of a router's sign, right of it; in a stack without one
// on the pipe's own line.
func (w *way) numberStack(p *place, stack string, anchor *iface) {
	if len(p.at) > 0 {
		return
	}
	x, y := anchor.x, anchor.part.row.router
	if sign := w.g.signRight(w.v, stack, anchor.part); sign > 0 {
		x = sign + badge + wayGap
	}
	for range p.hops {
		p.at = append(p.at, Point{x, y})
		x += pitch
	}
	p.end = Point{x, y}
}

// gap is a stretch of a bus without a pipe on it or over it.
type gap struct{ lo, hi float64 }

func (g gap) width() float64 { return g.hi - g.lo }

// gaps are those between lo and hi.
func (w *way) gaps(r *row, y, lo, hi float64) []gap {
	xs := []float64{lo, hi}
	for _, itf := range w.v.w.Interfaces {
		i := w.g.byID[itf.ID]
		if i == nil || i.part.row != r || i.x <= lo || i.x >= hi {
			continue
		}
		if top, bottom, _ := w.g.ends(i, itf); top <= y && bottom >= y {
			xs = append(xs, i.x)
		}
	}
	slices.Sort(xs)
	var out []gap
	for n := 1; n < len(xs); n++ {
		out = append(out, gap{xs[n-1] + endRoom, xs[n] - endRoom})
	}
	return out
}

// numberBus puts the numbers into the widest gap of a stretch.
func (w *way) numberBus(p *place, r *row, y, lo, hi float64) {
	best := gap{(lo + hi) / 2, (lo + hi) / 2}
	for _, g := range w.gaps(r, y, lo, hi) {
		if g.width() > best.width() {
			best = g
		}
	}
	n := len(p.hops)
	dies := p.hops[n-1].Result == trace.Dies
	room := float64(n) * pitch
	if dies {
		room += pitch
	}
	if best.width() < room {
		n = 1
		room = 2 * badge
	}
	x := (best.lo+best.hi)/2 - room/2 + badge
	p.at = nil
	for range n {
		p.at = append(p.at, Point{x, y})
		x += pitch
	}
	p.end = Point{x, y}
}

// numberOutside puts the numbers, and the name of who is outside, where the bus is free: to
// its right, where there is room.
func (w *way) numberOutside(p *place, h *trace.Hop, r *row, y, x1, x2 float64) {
	if len(p.at) > 0 {
		return
	}
	room := float64(len(p.hops)+1) * pitch
	name := w.outside(h)
	l := w.g.label(0, y-badge-besideBy-2, AddressText, name)
	var best gap
	for _, g := range w.gaps(r, y, x1, x2) {
		if g.width() >= max(room, l.W+2*w.g.gap()) || g.width() > best.width() && best.width() < room {
			best = g // the last that suits
		}
	}
	middle := (best.lo + best.hi) / 2
	if best.width() > 3*max(room, l.W) { // not too far off
		middle = best.lo + 1.5*max(room, l.W)
	}
	x := math.Round(middle - room/2 + badge)
	for range p.hops {
		p.at = append(p.at, Point{x, y})
		x += pitch
	}
	p.end = Point{x, y}
	if name != "" && best.width() >= l.W+2*w.g.gap() {
		l.At.X, l.Anchor = math.Round(middle), Middle
		p.name = &l
	}
}

// outside is who is met at the hop, and is not in the picture; "" for nobody.
func (w *way) outside(h *trace.Hop) string {
	t := w.trace
	first, last := t.From, t.To
	if h.Answer {
		first, last = last, first
	}
	there, back := halvesOf(w.trace)
	hops := there
	if h.Answer {
		hops = back
	}
	e := last
	if h == hops[0] {
		e = first
	}
	switch {
	case e.Stack != "":
		return ""
	case e.Address.IsValid():
		return e.Address.String()
	}
	return Clean(e.Name)
}
