package draw

import (
	"cmp"
	"math"
	"slices"
)

// room is what an interface needs around its pipe, from the union of all views: above
// each thing that its host end is ever plugged into, and further down.
type room struct {
	lines map[*container]int     // of text beside the host end
	texts map[*container]float64 // their width, from the pipe
	// plateLeft and plate are those of the name plate, from the pipe; details is the
	// width of the small print above it, wire that of the text beside the wire end.
	plateLeft, plate, details, wire float64
	framed                          bool // in the band of a VRF
}

// Between the top of a box and what is below it, the layers in which things may be beside
// a pipe, for each row k of containers from 0, the stack.
func textLayer(k int) int         { return 4 * k }   // beside the host ends in the row
func plateLayer(k int) int        { return 4*k + 1 } // plates above the next row, and their small print
func labelLayer(k int) int        { return 4*k - 2 } // the row's labels, above it
func lineLayer(k int) int         { return 4*k - 1 } // the row itself
func exitLayer(n int) int         { return 4*n + 2 } // below the box, which has n rows
func layersOf(n int) int          { return exitLayer(n) + 1 }
func (m *Metrics) clear() float64 { return max(1, m.Text/3) } // beside a pipe, to whatever passes it

// rowsOf gives the containers that are drawn for some columns their rows, counted from 1:
// below each other by level, and those of one level whose columns overlap.
func rowsOf(list []*iface) (rowOf map[*container]int, rows int) {
	type used struct {
		c           *container
		first, last int
	}
	spans := map[*container]*used{}
	var order []*used
	for n, i := range list {
		for _, c := range i.containers() {
			if c.isStack() {
				continue
			}
			u := spans[c]
			if u == nil {
				u = &used{c: c, first: n}
				spans[c] = u
				order = append(order, u)
			}
			u.last = n
		}
	}
	members := map[*container]int{}
	for _, i := range list {
		for _, c := range i.containers() {
			members[c]++
		}
	}
	for _, u := range order {
		if members[u.c] < len(u.c.ifaces) {
			u.first = 0 // it wraps: it reaches to the left side, where it leaves the part
		}
	}
	slices.SortStableFunc(order, func(x, y *used) int {
		return cmp.Or(cmp.Compare(x.c.level, y.c.level), cmp.Compare(x.first, y.first))
	})
	rowOf = map[*container]int{}
	level, base := 0, 0
	var lasts []int // of what is in each row of the level
	for _, u := range order {
		if u.c.level != level {
			base, level, lasts = base+len(lasts), u.c.level, nil
		}
		k := 0
		for k < len(lasts) && lasts[k] >= u.first {
			k++
		}
		if k == len(lasts) {
			lasts = append(lasts, 0)
		}
		lasts[k] = u.last
		rowOf[u.c] = base + k + 1
	}
	return rowOf, base + len(lasts)
}

// containers are all that the interface's pipe meets in its box.
func (i *iface) containers() []*container {
	list := slices.Clone(i.hosts)
	for _, c := range append(slices.Clone(i.wires), i.tee, i.hub) {
		if c != nil {
			list = appendNew(list, c)
		}
	}
	return list
}

// pack puts columns as close to each other as what is beside their pipes allows: a text
// keeps away only what passes at its own height. It returns the x of each, counted from
// the box's left side, and the width of the box around them.
func (g *graph) pack(list []*iface, rowOf map[*container]int, rows int) (xs []float64, width float64) {
	m := g.m
	sky := make([]float64, layersOf(rows)) // how far each layer is taken
	for k := range sky {
		sky[k] = m.Pad - m.ColumnGap
	}
	least := 0.0
	xs = make([]float64, len(list))
	for n, i := range list {
		need := g.needs(i, list, rowOf, rows)
		x := least
		for k, s := range need {
			if s.right >= 0 {
				x = max(x, sky[k]+m.ColumnGap+s.left)
			}
		}
		x = math.Ceil(x)
		xs[n] = x
		for k, s := range need {
			if s.right >= 0 {
				sky[k] = x + s.right
			}
		}
		least = x + 2*m.clear() + m.ColumnGap/2
	}
	return xs, math.Ceil(max(slices.Max(sky), 0) + m.Pad)
}

// side is the room left and right of a pipe in one layer; right is -1 where the pipe is not.
type side struct{ left, right float64 }

// needs is the room of an interface in each layer.
func (g *graph) needs(i *iface, list []*iface, rowOf map[*container]int, rows int) []side {
	m := g.m
	need := make([]side, layersOf(rows))
	for k := range need {
		need[k].right = -1
	}
	take := func(k int, left, right float64) {
		need[k].left, need[k].right = max(need[k].left, left), max(need[k].right, right)
	}
	top, plate := rows, rows
	for _, c := range i.hosts {
		top = min(top, rowOf[c])
	}
	bottom := exitLayer(rows)
	for n, c := range i.wires {
		plate = min(plate, rowOf[c]-1)
		if n == 0 && !i.exits {
			bottom = lineLayer(rowOf[c])
		}
	}
	for _, c := range i.containers() {
		bottom = max(bottom, lineLayer(rowOf[c]))
	}
	for k := max(0, lineLayer(top)); k <= bottom; k++ {
		take(k, m.clear(), m.clear())
	}
	for c, w := range i.room.texts {
		take(textLayer(rowOf[c]), 0, w)
	}
	if i.room.framed {
		take(textLayer(0), m.Overhang, m.Overhang)
	}
	take(plateLayer(plate), i.room.plateLeft, max(i.room.plate, i.room.details))
	if i.exits {
		take(exitLayer(rows), 0, i.room.wire)
	}
	for _, c := range i.containers() {
		if c.segment == nil {
			continue
		}
		cell := 1 - 2*m.Middle // where the last place of a bus is a cell, not a line
		take(lineLayer(rowOf[c]), m.Overhang, m.Overhang+cell)
		if c.labelBeside(list) == i {
			label := c.segment.label
			if c.continued(list) {
				label = c.segment.short
			}
			take(labelLayer(rowOf[c]), 0, m.Text+label)
			take(lineLayer(rowOf[c]), 0, m.Text+label+cell)
		}
	}
	return need
}

// columnsWidth is the width of a box around some columns.
func (g *graph) columnsWidth(list []*iface) float64 {
	rowOf, rows := rowsOf(list)
	_, w := g.pack(list, rowOf, rows)
	return w
}
