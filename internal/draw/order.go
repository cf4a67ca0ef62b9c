package draw

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// sortBoxes puts the host first, and the others by name.
func (g *graph) sortBoxes() {
	if len(g.boxes) > 1 {
		slices.SortStableFunc(g.boxes[1:], func(a, b *box) int { return model.NaturalCompare(a.id, b.id) })
	}
}

// assignLevels gives every container its level: one more than the deepest container
// that something plugged into it comes down from.
func (g *graph) assignLevels() {
	for _, i := range g.ifaces {
		if i.tee == nil {
			continue
		}
		i.tee.above = append(i.tee.above, i.hosts...)
		for _, w := range i.wires {
			w.above = appendNew(w.above, i.tee)
		}
	}
	for _, i := range g.ifaces { // a bar reaches to the pipe that it is on
		for _, c := range []*container{i.tee, i.hub} {
			if c != nil {
				c.ifaces = appendNew(c.ifaces, i)
			}
		}
	}
	for _, b := range g.boxes {
		for _, c := range b.containers {
			c.assignLevel()
		}
	}
}

// assignLevel is the longest way from the top. A loop (a bridge over a veth pair to
// itself) is cut where it is found.
func (c *container) assignLevel() int {
	if c.done || c.visiting || c.isStack() {
		return c.level
	}
	c.visiting = true
	c.level = 1
	for _, a := range c.above {
		if a != c {
			c.level = max(c.level, a.assignLevel()+1)
		}
	}
	c.visiting, c.done = false, true
	return c.level
}

func (c *container) isStack() bool { return strings.HasPrefix(c.key, "stack ") }

// orderColumns orders the interfaces in each box and then the boxes, so that cables
// between the first box and the others nest instead of crossing.
func (g *graph) orderColumns() {
	if len(g.boxes) == 0 {
		return
	}
	for _, b := range g.boxes {
		b.natural = max(b.head[0], min(g.columnsWidth(b.ifaces), g.o.MaxWidth-2*g.m.Margin))
	}
	rest := slices.Clone(g.boxes[1:])
	g.number(g.boxes[0], &rest)
	for len(rest) > 0 {
		next := rest[0]
		rest = rest[1:]
		g.number(next, &rest)
	}
}

// number gives the columns of a box their order and their numbers, part by part; after
// each come the boxes of the rest that are cabled to it, the rightmost cable first, and
// after each of these in turn its own.
func (g *graph) number(b *box, rest *[]*box) {
	b.order()
	b.numbered = true
	g.split(b)
	for _, p := range b.parts {
		g.parts = append(g.parts, p)
		for _, i := range p.ifaces {
			i.col = g.columns
			g.columns++
			for _, o := range i.peers {
				o.peerCol = max(o.peerCol, i.col)
			}
		}
		for {
			slices.SortStableFunc(*rest, func(a, b *box) int { return cmp.Compare(b.peerCol(), a.peerCol()) })
			if len(*rest) == 0 || (*rest)[0].peerCol() < p.firstCol() {
				break
			}
			next := (*rest)[0]
			*rest = (*rest)[1:]
			g.number(next, rest)
		}
	}
}

func (p *part) firstCol() int {
	if len(p.ifaces) == 0 {
		return math.MaxInt
	}
	return p.ifaces[0].col
}

// peerCol is the column of the first box that the box is cabled to, -1 for none.
func (b *box) peerCol() int {
	col := -1
	for _, i := range b.ifaces {
		col = max(col, i.peerCol)
	}
	return col
}

// rank orders kinds of interfaces: uplinks first, what is stacked on them, a bridge's
// own interface, then what leads to VMs.
func (i *iface) rank() int {
	switch {
	case i.onLAN, i.hub != nil:
		return 0
	case i.kind == model.Physical, i.kind == model.Wireless, i.kind == model.Bond, i.kind == model.Team:
		return 1
	case i.kind == model.VLANKind, i.kind == model.Macvlan, i.kind == model.Macvtap, i.kind == model.IPvlan:
		return 2
	case i.kind == model.Bridged:
		return 3
	case i.kind == model.Veth:
		return 5
	case i.kind == model.TapKind, i.kind == model.TunKind:
		return 6
	default:
		return 4
	}
}

// leadsTo is the name of the box that a veth leads to: container runtimes choose the veth's
// own by chance, and it is another one tomorrow.
func (i *iface) leadsTo() string {
	if i.kind == model.Veth && len(i.peers) > 0 {
		return i.peers[0].box.id
	}
	return ""
}

func compareIfaces(a, b *iface) int {
	return cmp.Or(cmp.Compare(a.rank(), b.rank()), model.NaturalCompare(a.leadsTo(), b.leadsTo()), model.NaturalCompare(a.name, b.name), cmp.Compare(a.id, b.id))
}

// order walks from each uplink over the bridges and bars that it is plugged into, so
// that what is on one bridge stands together.
func (b *box) order() {
	slices.SortStableFunc(b.ifaces, compareIfaces)
	if !slices.ContainsFunc(b.containers, func(c *container) bool { return !c.isStack() }) {
		slices.SortStableFunc(b.ifaces, func(x, y *iface) int { return cmp.Compare(y.peerCol, x.peerCol) })
	}
	w := walk{seen: map[*iface]bool{}, been: map[*container]bool{}}
	var plain, cabled []*iface
	for _, i := range b.ifaces {
		from := len(w.out)
		w.iface(i)
		// What only goes down to a LAN stands left of what has cables to the right,
		// so that these do not cross it.
		if part := w.out[from:]; i.rank() == 0 && !slices.ContainsFunc(part, func(i *iface) bool { return i.cabled }) {
			plain = append(plain, part...)
		} else {
			cabled = append(cabled, part...)
		}
	}
	b.ifaces = append(plain, cabled...)
}

type walk struct {
	seen map[*iface]bool
	been map[*container]bool
	out  []*iface
}

func (w *walk) iface(i *iface) {
	if w.seen[i] {
		return
	}
	for _, h := range i.hosts {
		if owner := h.owner(); owner != nil && !w.been[h] {
			w.been[h] = true
			w.iface(owner) // a bond stands before its members
			return
		}
	}
	if w.seen[i] {
		return
	}
	w.seen[i] = true
	w.out = append(w.out, i)
	if i.hub != nil {
		w.been[i.hub] = true
		w.all(i.hub)
	}
	if i.tee != nil {
		w.container(i.tee)
	}
	for _, c := range slices.Concat(i.hosts, i.wires) {
		w.container(c)
	}
}

func (w *walk) container(c *container) {
	if w.been[c] || c.isStack() && !c.isVRF() {
		return
	}
	w.been[c] = true
	w.all(c)
}

func (w *walk) all(c *container) {
	members := slices.Clone(c.ifaces)
	slices.SortStableFunc(members, compareIfaces)
	for _, m := range members {
		w.iface(m)
	}
}

func (c *container) isVRF() bool { return strings.HasPrefix(c.key, stackKey("vrf:")) }

// owner is the interface whose hub the container is, nil for other containers.
func (c *container) owner() *iface {
	if c.of != nil && c.of.hub == c {
		return c.of
	}
	return nil
}

// assignRows gives every part's containers their rows, and what wraps its lane.
func (g *graph) assignRows() {
	for _, b := range g.boxes {
		for _, c := range b.containers {
			if c.isStack() {
				continue
			}
			if c.findParts(); c.wraps() {
				g.wrapped = append(g.wrapped, c)
				c.lane = len(g.wrapped)
			}
		}
		for _, p := range b.parts {
			p.rowOf, p.rows = rowsOf(p.ifaces)
		}
	}
}
