package draw

import (
	"cmp"
	"math"
	"slices"
)

// placeGutters gives the cables between two rows of boxes their places right of
// the boxes, and returns the width that they take. The further left a cable begins,
// the lower it runs, and the sooner it has to turn down.
func (g *graph) placeGutters() float64 {
	var down []*cable
	for _, c := range g.cables {
		if slices.Index(g.rows, c.a.part.row) > slices.Index(g.rows, c.b.part.row) && !c.onPipe {
			c.a, c.b = c.b, c.a
		}
		if c.a.part.row != c.b.part.row {
			down = append(down, c)
		}
	}
	slices.SortStableFunc(down, func(x, y *cable) int {
		xu, xl := g.upperLower(x)
		yu, yl := g.upperLower(y)
		return cmp.Or(cmp.Compare(xu.x, yu.x), cmp.Compare(yl.x, xl.x))
	})
	for n, c := range down {
		c.gutter = n + 1
	}
	if len(down) == 0 {
		return 0
	}
	return g.m.Overhang + float64(len(down)-1)*g.m.Track
}

// upperLower are a cable's ends in the upper and in the lower row.
func (g *graph) upperLower(c *cable) (upper, lower *iface) {
	if slices.Index(g.rows, c.a.part.row) > slices.Index(g.rows, c.b.part.row) {
		return c.b, c.a
	}
	return c.a, c.b
}

func (g *graph) gutterX(c *cable) float64 {
	return g.right + g.m.Overhang + float64(c.gutter-1)*g.m.Track
}

// stretch is the part of a cable below one row of boxes.
type stretch struct {
	lo, hi float64
	nest   int // of those that begin at one pipe, the lower comes first
	track  *int
}

// routeCables gives every cable below a row a track: a short one above the longer
// ones that it is under, so that they nest.
func (g *graph) routeCables(r *row) {
	var list []stretch
	for _, c := range g.cables {
		inA, inB := c.a.part.row == r, c.b.part.row == r
		switch {
		case inA && inB:
			list = append(list, stretch{min(c.a.x, c.b.x), max(c.a.x, c.b.x), 0, &c.trackA})
		case inA:
			list = append(list, stretch{c.a.x, math.Inf(1), g.nest(c, c.a), &c.trackA})
		case inB:
			list = append(list, stretch{c.b.x, math.Inf(1), g.nest(c, c.b), &c.trackB})
		}
	}
	slices.SortStableFunc(list, func(x, y stretch) int {
		if c := cmp.Compare(x.hi, y.hi); c != 0 && (math.IsInf(x.hi, 1) || math.IsInf(y.hi, 1)) {
			return c
		}
		if math.IsInf(x.hi, 1) {
			return cmp.Or(cmp.Compare(y.lo, x.lo), cmp.Compare(x.nest, y.nest))
		}
		return cmp.Or(cmp.Compare(x.hi-x.lo, y.hi-y.lo), cmp.Compare(y.lo, x.lo))
	})
	for n, s := range list {
		t := 0
		for _, o := range list[:n] {
			if s.lo <= o.hi && o.lo <= s.hi {
				t = max(t, *o.track)
			}
		}
		*s.track = t + 1
		r.tracks = max(r.tracks, t+1)
	}
}

// nest orders the cables of one pipe by the places right of the boxes where they turn: in
// the upper row the outermost is the highest, in the lower row the lowest.
func (g *graph) nest(c *cable, at *iface) int {
	if upper, _ := g.upperLower(c); upper == at {
		return -c.gutter
	}
	return c.gutter
}

// trackY is the y of a track; tracks count from 1.
func (g *graph) trackY(r *row, track int) float64 { return r.trackTop + float64(track)*g.m.Track }

// lanPlace is where a LAN's bus is below one row of boxes.
type lanPlace struct {
	row          *row
	y, textY     float64
	x1, x2, text float64
}

// lanUse is a LAN below one row with the pipes that come down to it.
type lanUse struct {
	seg    *segment
	pipes  []float64
	lo, hi float64
}

// placeLANs draws the LANs that are used in a row below it: beside each other where
// there is room, else below each other, the leftmost lowest, so that no pipe has to
// pass a bus that it is not on.
func (g *graph) placeLANs(n int, r *row, f *flow) {
	uses := g.lanUses(n, r)
	if len(uses) == 0 {
		f.y += g.m.Line * g.m.Middle
		return
	}
	var lines [][]lanUse
	if g.fitBeside(uses) {
		for k := range uses {
			uses[k].hi = g.right
			if k+1 < len(uses) {
				uses[k].hi = uses[k+1].lo - g.m.BoxGap/2
			}
		}
		uses[0].lo = g.left
		lines = [][]lanUse{uses}
	} else {
		slices.Reverse(uses)
		for _, u := range uses {
			u.hi = g.right
			lines = append(lines, []lanUse{u})
		}
	}
	for k, line := range lines {
		f.y += g.m.LANGap
		if k > 0 {
			f.y += g.m.LANTextGap - g.m.LANGap
		}
		y := f.y
		f.y += g.m.LANText
		for _, u := range line {
			text := g.freeOf(lines[k+1:], u)
			if right := max(g.right, g.o.MaxWidth-g.m.Margin); text+u.seg.label > right && !g.crossed(lines[k+1:], right-u.seg.label, right) {
				text = right - u.seg.label // to the left of its bus, where it has room
			}
			u.hi = max(u.hi, text+u.seg.label)
			g.width = max(g.width, u.hi+g.m.Margin)
			u.seg.places = append(u.seg.places, lanPlace{row: r, y: y, textY: f.y, x1: u.lo, x2: u.hi, text: text})
		}
	}
	f.y += 1 - g.m.Middle*2
}

func (g *graph) lanUses(n int, r *row) []lanUse {
	var uses []lanUse
	for _, s := range g.lans {
		u := lanUse{seg: s, lo: g.left, hi: g.left}
		anywhere := false
		for _, i := range g.ifaces {
			if !slices.Contains(i.lanIDs, s.id) {
				continue
			}
			anywhere = true
			if i.part.row == r {
				u.pipes = append(u.pipes, i.x)
			}
		}
		if len(u.pipes) > 0 {
			u.lo, u.hi = slices.Min(u.pipes)-g.m.Overhang, slices.Max(u.pipes)+g.m.Overhang
		}
		if len(u.pipes) > 0 || !anywhere && n == 0 {
			uses = append(uses, u)
		}
	}
	slices.SortStableFunc(uses, func(a, b lanUse) int { return cmp.Compare(a.lo, b.lo) })
	return uses
}

// fitBeside tells whether the buses and their labels have room side by side.
func (g *graph) fitBeside(uses []lanUse) bool {
	for k := 1; k < len(uses); k++ {
		if max(uses[k-1].hi, uses[k-1].lo+uses[k-1].seg.label) > uses[k].lo-g.m.BoxGap {
			return false
		}
	}
	return len(uses) == 1 || uses[len(uses)-1].lo+uses[len(uses)-1].seg.label <= g.right
}

// crossed tells whether a pipe to a lower line comes down between two places.
func (g *graph) crossed(lower [][]lanUse, x1, x2 float64) bool {
	for _, line := range lower {
		for _, u := range line {
			if slices.ContainsFunc(u.pipes, func(p float64) bool { return p > x1-g.gap() && p < x2+g.gap() }) {
				return true
			}
		}
	}
	return x1 < g.m.Margin
}

// freeOf is the leftmost x for a LAN's label where no pipe to a lower line crosses it.
func (g *graph) freeOf(lower [][]lanUse, u lanUse) float64 {
	x := u.lo
	var pipes []float64
	for _, line := range lower {
		for _, l := range line {
			pipes = append(pipes, l.pipes...)
		}
	}
	slices.Sort(pipes)
	for _, p := range pipes {
		if p > x-g.gap() && p < x+u.seg.label+g.gap() {
			x = p + g.m.Text
		}
	}
	return x
}
