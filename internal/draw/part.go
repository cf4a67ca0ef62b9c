package draw

import "slices"

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
	whole := g.besides(b.ifaces, nil)
	if b.w = g.columnsWidth(b.ifaces); b.w <= limit && (whole.width(b.w, g) <= limit || g.around(b, limit) <= mostAround) {
		b.parts = []*part{g.newPart(b, b.ifaces)}
		return
	}
	placed := map[*box]bool{}
	from := 0
	for n := 1; n <= len(b.ifaces); n++ {
		if n < len(b.ifaces) {
			list := b.ifaces[from : n+1]
			if g.besides(list, placed).width(g.columnsWidth(list), g) <= limit {
				continue
			}
		}
		list := b.ifaces[from:n]
		for _, o := range g.besides(list, placed).boxes {
			placed[o] = true
		}
		b.parts = append(b.parts, g.newPart(b, list))
		from = n
	}
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

func (g *graph) besides(list []*iface, placed map[*box]bool) company {
	var c company
	for _, i := range list {
		for _, o := range i.peers {
			if !o.box.numbered && !placed[o.box] && !slices.Contains(c.boxes, o.box) {
				c.boxes = append(c.boxes, o.box)
			}
		}
	}
	return c
}

// around is the number of boxes cabled to a box that have no room beside it.
func (g *graph) around(b *box, limit float64) int {
	x, n := b.w, 0
	for _, o := range g.besides(b.ifaces, nil).boxes {
		if x += g.m.BoxGap + o.natural; x > limit {
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
