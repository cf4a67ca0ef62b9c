package draw

import (
	"math"
	"slices"
)

// row is a row of boxes with what is below them.
type row struct {
	parts []*part
	// top, and then the y of each thing in the row.
	top, name, bandTop, bandLabel, router, bandFoot float64
	lines                                           []float64 // y of the containers; 0: host ends in the stack
	texts                                           []float64 // y of the first line beside host ends in each
	plates                                          []float64 // y of the plates above each container row; the last: on the border
	details                                         []float64 // y of the top of the small print above the plates
	labels                                          []float64 // y of the labels above each container row
	border, exit                                    float64
	trackTop                                        float64 // the first cable is one track below it
	tracks                                          int
}

// placeColumns gives every interface its x, and every box its x, width and row.
func (g *graph) placeColumns() {
	m := g.m
	g.left = m.Margin
	if n := len(g.wrapped); n > 0 {
		g.left += m.Overhang + float64(n-1)*m.Track
	}
	for _, p := range g.parts {
		xs, w := g.pack(p.ifaces, p.rowOf, p.rows)
		for n, i := range p.ifaces {
			i.x = xs[n]
		}
		p.w = math.Ceil(max(w, p.box.head[min(p.index, 1)]))
	}
	g.placeParts()
	g.right = m.MinWidth - m.Margin
	for _, p := range g.parts {
		g.right = max(g.right, p.x+p.w)
	}
	g.width = g.right + g.placeGutters() + m.Margin
	g.bodyWidth = g.width
}

// placeParts fills rows with boxes. A box in parts begins each in a row of its own. The
// rows that are full of what is cabled to the row above them stand in reverse order: then
// the cables that run down at the right turn into them without crossing.
func (g *graph) placeParts() {
	m := g.m
	limit := g.o.MaxWidth
	for _, p := range g.parts {
		limit = max(limit, g.left+p.w+m.Margin)
	}
	x, turn := g.left, 1
	var r *row
	reverse := func() {
		if turn < len(g.rows) {
			slices.Reverse(g.rows[turn:])
		}
	}
	for _, p := range g.parts {
		fresh := len(p.box.parts) > 1
		if r == nil || fresh || x+p.w+m.Margin > limit {
			if fresh {
				reverse()
				turn = len(g.rows) + 1
			}
			r, x = &row{}, g.left
			g.rows = append(g.rows, r)
		}
		r.parts = append(r.parts, p)
		p.row, p.x = r, x
		for _, i := range p.ifaces {
			i.x = math.Round(i.x + x)
		}
		x += p.w + m.BoxGap
	}
	reverse()
}

// labelBeside is the one of some columns beside whose pipe the label of a bus stands:
// the bridge's own, which comes down to it.
func (c *container) labelBeside(list []*iface) *iface {
	var first *iface
	for _, i := range list {
		switch {
		case slices.Contains(i.wires, c):
			return i
		case first == nil && slices.Contains(i.hosts, c):
			first = i
		}
	}
	return first
}

// flow hands out room from top to bottom.
type flow struct{ y, middle float64 }

// take takes a line of height h and returns its middle.
func (f *flow) take(h float64) float64 {
	y := f.y + h*f.middle
	f.y += h
	return y
}

// placeRows gives everything its y.
func (g *graph) placeRows() {
	m := g.m
	g.placeCaption()
	f := &flow{y: g.height, middle: m.Middle}
	for n, r := range g.rows {
		if n > 0 {
			f.y += m.RowGap
		}
		g.placeRow(r, f)
		g.routeCables(r)
		f.y = r.trackTop
		if r.tracks > 0 {
			f.y += float64(r.tracks)*m.Track + m.CableText
		}
		g.placeLANs(n, r, f)
	}
	g.placeList(f)
	if slices.ContainsFunc(g.views, func(v view) bool { return v.Key || v.Legend }) {
		g.keyTop = f.y + m.CaptionGap
		_, f.y = g.keyParts(g.keyTop)
	}
	f.y += m.Margin
	g.height = f.y
}

// zone is the room needed between two container rows of a row of boxes.
type zone struct {
	addresses, details int
	plate, label       bool
}

func (g *graph) zones(r *row) []zone {
	n := 0
	for _, p := range r.parts {
		n = max(n, p.rows)
	}
	zones := make([]zone, n+1)
	for _, p := range r.parts {
		for c, row := range p.rowOf {
			if c.segment != nil {
				zones[row-1].label = true
			}
		}
		for _, i := range p.ifaces {
			i.plateRow = n + 1
			for _, c := range i.wires {
				i.plateRow = min(i.plateRow, p.rowOf[c])
			}
			for c, lines := range i.room.lines {
				zones[p.rowOf[c]].addresses = max(zones[p.rowOf[c]].addresses, lines)
			}
			z := &zones[i.plateRow-1]
			z.plate = true
			z.details = max(z.details, i.smallLines())
		}
	}
	return zones
}

func (g *graph) placeRow(r *row, f *flow) {
	m := g.m
	zones := g.zones(r)
	r.top = f.y
	r.name = r.top + m.Name
	f.y += m.Header
	r.bandTop = f.y
	r.bandLabel = f.take(m.BandLabel)
	for k, z := range zones {
		last := k == len(zones)-1
		switch k {
		case 0:
			if r.routes() {
				r.router = f.take(m.Router)
			}
			r.lines = append(r.lines, f.take(m.Line))
			r.texts = append(r.texts, r.lines[0])
			f.y += float64(max(0, z.addresses-1))*m.Line + m.BandFoot
			r.bandFoot = f.y
		default:
			f.y += m.Zone / 2
			r.texts = append(r.texts, f.y+m.Line*m.Middle)
			f.y += float64(z.addresses) * m.Line
		}
		f.y += m.Zone
		r.details = append(r.details, f.y)
		f.y += float64(z.details) * m.Small
		if z.details > 0 {
			f.y += m.Zone / 3
		}
		if z.plate || last {
			r.plates = append(r.plates, f.take(m.Plate))
		} else {
			r.plates = append(r.plates, f.y)
		}
		if last {
			break
		}
		if z.label {
			f.y += m.Zone / 3
			r.labels = append(r.labels, f.take(m.Line))
		} else {
			r.labels = append(r.labels, f.y)
		}
		f.y += m.Zone * 0.7
		r.lines = append(r.lines, f.take(m.Bus))
	}
	r.border = r.plates[len(r.plates)-1]
	r.exit = r.border + m.Exit
	below := 0
	for _, p := range r.parts {
		for _, i := range p.ifaces {
			below = max(below, i.below)
		}
	}
	r.trackTop = r.exit + max(0, float64(below-1))*m.Line
}
