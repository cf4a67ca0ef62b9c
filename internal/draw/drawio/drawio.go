// Package drawio writes a picture as a file of draw.io (diagrams.net): every part is a
// shape that can be edited, what is in a stack moves with its box, and a cable stays
// with the two interfaces that it connects.
//
// In: a draw.Scene laid out with draw.Pixels, and the model.Wiring that it was made of.
// Out: an mxfile, uncompressed XML (drawio.com/doc/faq/save-file-formats).
package drawio

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/model"
)

type file struct {
	XMLName xml.Name `xml:"mxfile"`
	Host    string   `xml:"host,attr"`
	Diagram struct {
		Name  string `xml:"name,attr"`
		ID    string `xml:"id,attr"`
		Model struct {
			Grid  int    `xml:"grid,attr"`
			Page  int    `xml:"page,attr"`
			Cells []cell `xml:"root>mxCell"`
		} `xml:"mxGraphModel"`
	} `xml:"diagram"`
}

// cell is an mxCell: a vertex, an edge, or one of the two that every diagram begins with.
type cell struct {
	ID       string    `xml:"id,attr"`
	Value    string    `xml:"value,attr,omitempty"`
	Style    string    `xml:"style,attr,omitempty"`
	Vertex   string    `xml:"vertex,attr,omitempty"`
	Edge     string    `xml:"edge,attr,omitempty"`
	Parent   string    `xml:"parent,attr,omitempty"`
	Source   string    `xml:"source,attr,omitempty"`
	Target   string    `xml:"target,attr,omitempty"`
	Geometry *geometry `xml:"mxGeometry,omitempty"`
}

type geometry struct {
	X        string  `xml:"x,attr,omitempty"`
	Y        string  `xml:"y,attr,omitempty"`
	Width    string  `xml:"width,attr,omitempty"`
	Height   string  `xml:"height,attr,omitempty"`
	Relative string  `xml:"relative,attr,omitempty"`
	As       string  `xml:"as,attr"`
	Ends     []point `xml:"mxPoint"`
	Way      *array  `xml:"Array,omitempty"`
}

type array struct {
	As     string  `xml:"as,attr"`
	Points []point `xml:"mxPoint"`
}

type point struct {
	X  string `xml:"x,attr"`
	Y  string `xml:"y,attr"`
	As string `xml:"as,attr,omitempty"`
}

const layer = "1" // the one layer, which all but stacks' parts are on

type writer struct {
	wiring *model.Index
	sheet  *svg.Sheet
	cells  []cell
	boxes  map[string]draw.Box // of stacks, by the cell's id
	ends   map[string]int      // the cell of an interface's wire end, by the interface's id
}

// Render writes a scene.
func Render(s *draw.Scene, w model.Wiring) ([]byte, error) {
	wr := writer{wiring: model.NewIndex(&w), sheet: svg.ReadSheet(svg.Light), boxes: map[string]draw.Box{}, ends: map[string]int{},
		cells: []cell{{ID: "0"}, {ID: layer, Parent: "0"}}}
	for _, cables := range []bool{false, true} { // a cable names the ends that it connects
		for _, g := range s.Groups {
			if strings.HasPrefix(g.ID, "cable:") == cables {
				wr.group(g)
			}
		}
	}
	var f file
	f.Host = "drawbridge"
	f.Diagram.Name, f.Diagram.ID = draw.Clean(s.Title), "drawbridge"
	f.Diagram.Model.Cells = wr.cells
	out, err := xml.MarshalIndent(f, "", " ")
	return append(out, '\n'), err
}

func (w *writer) group(g draw.Group) {
	kind, id, _ := strings.Cut(g.ID, ":")
	parent := layer
	switch kind {
	case "interface", "ghost":
		if i := w.wiring.Interface(id); i != nil {
			parent = w.parentOf(i.Stack)
		}
	case "segment":
		if s := w.wiring.Segment(id); s != nil {
			parent = w.parentOf(s.Stack)
		}
	case "stack":
		parent = w.parentOf(id) // the layer for the box itself, which is not there yet
	}
	lowest := 0.0
	for n, p := range g.Parts {
		c := cell{ID: g.ID + "/" + strconv.Itoa(n), Parent: parent}
		in := []string{string(g.Change)}
		switch p := p.(type) {
		case draw.Box:
			if kind == "stack" && n == 0 && (p.Style == draw.HostBox || p.Style == draw.VMBox || p.Style == draw.NamespaceBox) {
				c.ID = g.ID
				w.boxes[c.ID] = p
			}
			w.box(c, in, p)
			if c.ID == g.ID {
				parent = g.ID
			}
		case draw.Line:
			w.line(c, in, p, kind, id)
		case draw.End:
			if kind == "interface" && p.At.Y >= lowest {
				lowest, w.ends[id] = p.At.Y, len(w.cells) // the next one
			}
			w.end(c, in, p)
		case draw.Label:
			if p.Text != "" {
				w.label(c, in, p)
			}
		}
	}
}

// parentOf is the cell of a stack's box; a VRF's parts are in its host's.
func (w *writer) parentOf(stack string) string {
	if s := w.wiring.Stack(stack); s != nil && s.Parent != "" {
		stack = s.Parent
	}
	if _, ok := w.boxes["stack:"+stack]; ok {
		return "stack:" + stack
	}
	return layer
}

// from is the origin of the coordinates inside a parent.
func (w *writer) from(parent string) draw.Point {
	b := w.boxes[parent]
	return draw.Point{X: b.X, Y: b.Y}
}

func (w *writer) vertex(c cell, x, y, width, height float64) {
	o := w.from(c.Parent)
	c.Vertex = "1"
	c.Geometry = &geometry{X: num(x - o.X), Y: num(y - o.Y), Width: num(width), Height: num(height), As: "geometry"}
	w.cells = append(w.cells, c)
}

// look is the part of a style that the style sheet knows.
func (w *writer) look(in []string, classes ...string) string {
	d := w.sheet.Of(in, classes)
	hex := func(prop string) string {
		c, ok := w.sheet.Paint(d, prop)
		if !ok {
			return "none"
		}
		return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B)
	}
	out := fmt.Sprintf("html=0;fillColor=%s;strokeColor=%s;strokeWidth=%s;", hex("fill"), hex("stroke"), num(max(d.Number("stroke-width"), 1)))
	if len(d.Dashes()) > 0 {
		out += "dashed=1;"
	}
	return out
}

func (w *writer) box(c cell, in []string, b draw.Box) {
	c.Style = "rounded=1;absoluteArcSize=1;arcSize=" + map[draw.Style]string{draw.PlateBox: "16", draw.RouterBox: "16", draw.BandBox: "18", draw.VRFBox: "18"}[b.Style] + ";"
	c.Style = strings.Replace(c.Style, "arcSize=;", "arcSize=28;", 1) + w.look(in, string(b.Style), dashed(b.Dashed))
	if _, isStack := w.boxes[c.ID]; isStack {
		c.Style += "container=1;collapsible=0;recursiveResize=0;"
	}
	w.vertex(c, b.X, b.Y, b.W, b.H)
}

func (w *writer) end(c cell, in []string, e draw.End) {
	r := 7.5
	if e.Small || e.Style == draw.Joint {
		r = 4
	}
	c.Style = "ellipse;shape=ellipse;perimeter=ellipsePerimeter;" + w.look(in, "end", string(e.Style), tone(e.Tone))
	w.vertex(c, e.At.X-r, e.At.Y-r, 2*r, 2*r)
}

func (w *writer) label(c cell, in []string, l draw.Label) {
	px, bold, mono := l.Style.Size()
	d := w.sheet.Of(in, []string{string(l.Style), "text", "c-" + string(l.Change), tone(l.Tone)})
	colour, ok := w.sheet.Paint(d, "fill")
	if !ok {
		colour, _ = w.sheet.Paint(w.sheet.Of(nil, []string{"text"}), "fill")
	}
	style := 0 // mxConstants: bold 1, strikethrough 8
	if bold {
		style |= 1
	}
	if l.Struck {
		style |= 8
	}
	family := "Helvetica"
	if mono {
		family = "Courier New"
	}
	c.Value = draw.Clean(l.Text)
	c.Style = fmt.Sprintf("text;html=0;strokeColor=none;fillColor=none;verticalAlign=middle;align=%s;spacing=0;fontSize=%s;fontStyle=%d;fontFamily=%s;fontColor=#%02x%02x%02x;",
		map[draw.Anchor]string{draw.Start: "left", draw.Middle: "center"}[l.Anchor], num(px), style, family, colour.R, colour.G, colour.B)
	w.vertex(c, l.Left(), l.At.Y-px*0.7, l.W, px*1.4)
}

func (w *writer) line(c cell, in []string, l draw.Line, kind, id string) {
	switch l.Style {
	case draw.Hop, draw.HopOutside:
		return // draw.io makes its own where lines cross
	case draw.Pipe:
		w.edge(c, w.look(in, "pipe", dashed(l.Dashed)), l)
		if !l.Dashed {
			c.ID += "/core"
			w.edge(c, w.look(in, "core", tone(l.Tone)), l)
		}
		return
	}
	if kind == "cable" {
		c.Source, c.Target = w.plugged(id, l.Points[0]), w.plugged(id, l.Points[len(l.Points)-1])
	}
	w.edge(c, w.look(in, string(l.Style), tone(l.Tone), dashed(l.Dashed)), l)
}

// plugged is the end of an interface that a cable goes to at a point, "" for none.
func (w *writer) plugged(cable string, at draw.Point) string {
	best, distance := "", 12.0
	for _, id := range []string{cable, "cable:" + cable} {
		for _, i := range w.wiring.WireEnds(model.End{In: model.InSegment, ID: id}) {
			n, drawn := w.ends[i.ID]
			if !drawn {
				continue
			}
			c := w.cells[n]
			o := w.from(c.Parent)
			x, y := o.X+float(c.Geometry.X)+float(c.Geometry.Width)/2, o.Y+float(c.Geometry.Y)+float(c.Geometry.Height)/2
			if d := max(abs(x-at.X), abs(y-at.Y)); d < distance {
				best, distance = c.ID, d
			}
		}
	}
	return best
}

func (w *writer) edge(c cell, look string, l draw.Line) {
	o := w.from(c.Parent)
	at := func(p draw.Point, as string) point { return point{num(p.X - o.X), num(p.Y - o.Y), as} }
	c.Edge, c.Style = "1", "endArrow=none;startArrow=none;rounded=1;"+look
	last := len(l.Points) - 1
	c.Geometry = &geometry{Relative: "1", As: "geometry", Ends: []point{at(l.Points[0], "sourcePoint"), at(l.Points[last], "targetPoint")}}
	if last > 1 {
		c.Geometry.Way = &array{As: "points"}
		for _, p := range l.Points[1:last] {
			c.Geometry.Way.Points = append(c.Geometry.Way.Points, at(p, ""))
		}
	}
	w.cells = append(w.cells, c)
}

func tone(n int) string {
	if n < 0 {
		return ""
	}
	return "t" + strconv.Itoa(n%svg.Tones)
}

func dashed(is bool) string {
	if is {
		return "dashed"
	}
	return ""
}

func abs(f float64) float64 { return max(f, -f) }

func float(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64)
	return f
}

func num(f float64) string { return strconv.FormatFloat(float64(int64(f*10))/10, 'f', -1, 64) }
