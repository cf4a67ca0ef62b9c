package draw

import (
	"math"
	"slices"
)

// row is a row of boxes with what is below them.
type row struct {
	boxes []*box
	// top, and then the y of each thing in the row.
	top, name, bandTop, bandLabel, bandFoot float64
	lines                                   []float64 // y of the containers; 0: host ends in the stack
	texts                                   []float64 // y of the first line beside host ends in each
	plates                                  []float64 // y of the plates above each container row; the last: on the border
	details                                 []float64 // y of the top of the small print above the plates
	labels                                  []float64 // y of the labels above each container row
	border, exit                            float64
	trackTop                                float64 // the first cable is one track below it
	tracks                                  int
}

// placeColumns gives every interface its x, and every box its x, width and row.
func (g *graph) placeColumns() {
	m := g.m
	for _, b := range g.boxes {
		x := m.Pad
		for n, i := range b.ifaces {
			if n > 0 {
				x += m.ColumnGap
			}
			g.makeRoomForBusLabels(i)
			i.x = x + i.left
			x += i.left + i.right
		}
		b.w = math.Ceil(max(x+m.Pad, b.head))
	}
	g.placeBoxes()
	g.right = m.MinWidth - m.Margin
	for _, b := range g.boxes {
		g.right = max(g.right, b.x+b.w)
	}
	g.width = g.right + g.placeGutters() + m.Margin
	g.bodyWidth = g.width
}

// placeBoxes fills rows with boxes. The rows below the first stand in reverse order:
// then the cables that run down at the right turn into them without crossing.
func (g *graph) placeBoxes() {
	m := g.m
	limit := g.o.MaxWidth
	for _, b := range g.boxes {
		limit = max(limit, b.w+2*m.Margin)
	}
	x := m.Margin
	var r *row
	for _, b := range g.boxes {
		if r == nil || x+b.w+m.Margin > limit {
			r, x = &row{}, m.Margin
			g.rows = append(g.rows, r)
		}
		r.boxes = append(r.boxes, b)
		b.row, b.x = r, x
		for _, i := range b.ifaces {
			i.x = math.Round(i.x + x)
		}
		x += b.w + m.BoxGap
	}
	if len(g.rows) > 2 {
		slices.Reverse(g.rows[1:])
	}
}

// makeRoomForBusLabels widens the column beside whose pipe the label of a bus stands.
func (g *graph) makeRoomForBusLabels(i *iface) {
	for _, c := range i.box.containers {
		if c.segment != nil && c.labelBeside() == i {
			i.needRight(g.m.Text + c.segment.label)
		}
	}
}

// labelBeside is the interface beside whose pipe the label of a bus stands: the
// bridge's own, which comes down to it.
func (c *container) labelBeside() *iface {
	for _, i := range c.ifaces {
		if slices.Contains(i.wires, c) {
			return i
		}
	}
	if len(c.ifaces) > 0 {
		return c.ifaces[0]
	}
	return nil
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
	if slices.ContainsFunc(g.views, func(v view) bool { return v.Legend }) {
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
	for _, b := range r.boxes {
		n = max(n, b.rows)
	}
	zones := make([]zone, n+1)
	for _, b := range r.boxes {
		for _, c := range b.containers {
			if c.segment != nil {
				zones[c.row-1].label = true
			}
		}
		for _, i := range b.ifaces {
			i.plateRow = n + 1
			for _, c := range i.wires {
				i.plateRow = min(i.plateRow, c.row)
			}
			for c, lines := range i.room {
				zones[c.row].addresses = max(zones[c.row].addresses, lines)
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
	for _, b := range r.boxes {
		for _, i := range b.ifaces {
			below = max(below, i.below)
		}
	}
	r.trackTop = r.exit + max(0, float64(below-1))*m.Line
}
