package draw

import (
	"math"
	"slices"
)

// part is what of a stack's box stands in one row of the picture. A box that is wider
// than the picture may be is drawn in several parts, one below the other; a bus or a bar
// that something in two of them is plugged into wraps from the one to the next.
type part struct {
	box    *box
	index  int // among those of the box
	ifaces []*iface
	rows   int // of containers in it
	rowOf  map[*container]int
	x, w   float64
	row    *row
}

// mostAround is how many cables of one box may lead around to boxes in other rows before
// the box is rather drawn in parts, each with those boxes beside it.
const mostAround = 3

// split divides a box whose columns are ordered into parts that are no wider than the
// picture may be.
func (g *graph) split(b *box) {
	limit := g.o.MaxWidth - 2*g.m.Margin
	whole := g.besides(b.ifaces, 0, len(b.ifaces), firstsOf(b.ifaces))
	if b.w = g.columnsWidth(b.ifaces); b.w <= limit && (whole.width(b.w, g) <= limit || whole.around(b.w, limit, g) <= mostAround) {
		b.parts = []*part{g.newPart(b, b.ifaces)}
		return
	}
	from := 0
	for _, to := range g.breaks(b.ifaces, limit) {
		b.parts = append(b.parts, g.newPart(b, b.ifaces[from:to]))
		from = to
	}
}

// What it costs to go to a further part, and to let something wrap into it: a picture may
// be two parts longer to save three wraps. Of equal ones, that with parts of like width is best.
const partCost, wrapCost, emptyCost = 3.0, 2.0, 0.5

// breaks says after how many of a box's columns each part ends, so that the cost is least
// with no part wider than the limit, but where one column alone is.
func (g *graph) breaks(list []*iface, limit float64) []int {
	wraps, firsts := wrapsAfter(list), firstsOf(list)
	cost, from := make([]float64, len(list)+1), make([]int, len(list)+1)
	for to := range list {
		cost[to+1] = math.Inf(1)
	}
	for at := range list {
		for to := at + 1; to <= len(list); to++ {
			part := list[at:to]
			width := g.besides(list, at, to, firsts).width(g.columnsWidth(part), g)
			if to > at+1 && width > limit {
				break
			}
			empty := max(0, 1-width/limit)
			if c := cost[at] + partCost + wrapCost*float64(wraps[to-1]) + emptyCost*empty*empty; c < cost[to] {
				cost[to], from[to] = c, at
			}
		}
	}
	var out []int
	for to := len(list); to > 0; to = from[to] {
		out = append(out, to)
	}
	slices.Reverse(out)
	return out
}

// wrapsAfter is the number of containers that would wrap if a part ended after each column.
func wrapsAfter(list []*iface) []int {
	first, last := map[*container]int{}, map[*container]int{}
	for n, i := range list {
		for _, c := range i.containers() {
			if c.isStack() && !c.isVRF() {
				continue
			}
			if _, seen := first[c]; !seen {
				first[c] = n
			}
			last[c] = n
		}
	}
	out := make([]int, len(list))
	for c, n := range first {
		for ; n < last[c]; n++ {
			out[n]++
		}
	}
	return out
}

func (g *graph) newPart(b *box, list []*iface) *part {
	p := &part{box: b, ifaces: list, index: len(b.parts), rowOf: map[*container]int{}}
	for _, i := range list {
		i.part = p
	}
	return p
}

// company are the boxes that want to stand beside some columns of another one: those
// that are cabled to them.
type company struct {
	boxes []*box
}

// width is that of columns with their company.
func (c company) width(columns float64, g *graph) float64 {
	for _, b := range c.boxes {
		columns += g.m.BoxGap + b.natural
	}
	return columns
}

// besides are those of some columns of a list, from one to before another, that are not
// beside the columns before them already; firsts tells for each the first that it is beside.
func (g *graph) besides(list []*iface, from, to int, firsts map[*box]int) company {
	var c company
	for n, i := range list[from:to] {
		own := len(c.boxes) // of this column
		for _, o := range i.peers {
			if first, beside := firsts[o.box]; beside && first == from+n && !slices.Contains(c.boxes[own:], o.box) {
				c.boxes = append(c.boxes, o.box)
			}
		}
	}
	return c
}

// firstsOf are the boxes that are yet to be placed and are cabled to the columns, each with
// the first that it is cabled to.
func firstsOf(list []*iface) map[*box]int {
	firsts := map[*box]int{}
	for n, i := range list {
		for _, o := range i.peers {
			if _, seen := firsts[o.box]; !seen && !o.box.numbered {
				firsts[o.box] = n
			}
		}
	}
	return firsts
}

// around is the number of those that have no room beside the columns.
func (c company) around(columns, limit float64, g *graph) int {
	n := 0
	for _, b := range c.boxes {
		if columns += g.m.BoxGap + b.natural; columns > limit {
			n++
		}
	}
	return n
}

// wraps tells whether something in two parts of the box is plugged into the container.
func (c *container) wraps() bool { return len(c.at) > 1 }

// continued tells whether the container is already drawn in a part before that of some
// columns, which may not have one yet: what it is called is told there.
func (c *container) continued(list []*iface) bool {
	of := list[0].part
	return slices.ContainsFunc(c.ifaces, func(i *iface) bool {
		return i.part != nil && (of == nil || i.part.index < of.index)
	})
}

// findParts finds those in which the container is drawn, from top to bottom.
func (c *container) findParts() {
	for _, i := range c.ifaces {
		c.at = appendNew(c.at, i.part)
	}
	slices.SortFunc(c.at, func(a, b *part) int { return a.index - b.index })
}

// in is what of the container's interfaces is in a part.
func (c *container) in(p *part) []*iface {
	var out []*iface
	for _, i := range c.ifaces {
		if i.part == p {
			out = append(out, i)
		}
	}
	return out
}
