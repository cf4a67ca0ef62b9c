// Package geometry measures a scene: whether labels, plates, boxes and lines are in each
// other's way. For tests only: a picture with a flaw is a bug.
package geometry

import (
	"fmt"
	"strings"

	"drawbridge/internal/draw"
)

// rect is what a part covers on the canvas.
type rect struct {
	x1, y1, x2, y2 float64
	what           string
	group          string
	onPlate        bool // a label on a plate or a sign, which covers what is below it
}

func (a rect) overlaps(b rect) bool {
	return a.x1 < b.x2 && b.x1 < a.x2 && a.y1 < b.y2 && b.y1 < a.y2
}

func (a rect) String() string {
	return fmt.Sprintf("%s of %s (%.0f,%.0f)-(%.0f,%.0f)", a.what, a.group, a.x1, a.y1, a.x2, a.y2)
}

// survey lists what a scene covers: texts and plates, boxes of stacks, strokes.
func survey(s *draw.Scene) (texts, plates, boxes, strokes []rect) {
	defer func() { texts = append(texts, numbers(s)...) }()
	for _, g := range s.Groups {
		for _, p := range g.Parts {
			switch p := p.(type) {
			case draw.Label:
				if p.Style == draw.HopText || p.Style == draw.HopMayText {
					continue // its sign covers what it is on
				}
				px, _, _ := p.Style.Size()
				r := rect{p.Left(), p.At.Y - px*0.45, p.Left() + p.W, p.At.Y + px*0.45, fmt.Sprintf("label %q", p.Text), g.ID, p.Style == draw.PlateText || p.Style == draw.RouterText}
				if p.Style == draw.MarkText { // a mark stands in the middle of its room
					r.x1, r.x2 = r.x1+2, r.x2-2
				}
				texts = append(texts, r)
			case draw.Box:
				r := rect{p.X, p.Y, p.X + p.W, p.Y + p.H, "box " + string(p.Style), g.ID, false}
				switch p.Style {
				case draw.PlateBox:
					plates = append(plates, r)
				case draw.HostBox, draw.VMBox, draw.NamespaceBox:
					boxes = append(boxes, r)
				}
			case draw.End:
				if !p.Small {
					strokes = append(strokes, rect{p.At.X - 6, p.At.Y - 6, p.At.X + 6, p.At.Y + 6, "end", g.ID, false})
				}
			case draw.Line:
				if p.Style == draw.Hop || p.Style == draw.HopOutside || p.Style == draw.Cross || p.Style == draw.CrossCasing {
					continue
				}
				for n := 1; n < len(p.Points); n++ {
					a, b := p.Points[n-1], p.Points[n]
					strokes = append(strokes, rect{
						min(a.X, b.X) - 1, min(a.Y, b.Y) - 1, max(a.X, b.X) + 1, max(a.Y, b.Y) + 1, "line " + string(p.Style), g.ID, false,
					})
				}
			}
		}
	}
	return texts, plates, boxes, strokes
}

// numbers are the signs of the hops of a trace.
func numbers(s *draw.Scene) []rect {
	var out []rect
	for _, g := range s.Groups {
		for _, p := range g.Parts {
			b, ok := p.(draw.Box)
			if ok && (b.Style == draw.HopThere || b.Style == draw.HopBack || b.Style == draw.HopMay || b.Style == draw.HopDies) {
				out = append(out, rect{b.X, b.Y, b.X + b.W, b.Y + b.H, number, g.ID, false})
			}
		}
	}
	return out
}

const number = "number"

// Flaws lists what is wrong with the geometry of a scene laid out with draw.Pixels, the
// first few of it; nothing for a good one. The widths of its labels are those of the font
// that it was measured with, the widest that viewers take.
func Flaws(s *draw.Scene) []string {
	var out []string
	bad := func(format string, args ...any) {
		if len(out) < 5 {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	texts, plates, boxes, strokes := survey(s)
	apart := func(as []rect) {
		for i, a := range as {
			for _, b := range as[i+1:] {
				if a.overlaps(b) {
					bad("%v overlaps %v", a, b)
				}
			}
		}
	}
	apart(texts)
	apart(plates)
	apart(boxes)
	for _, t := range texts {
		if t.x1 < 0 || t.y1 < 0 || t.x2 > s.Width || t.y2 > s.Height {
			bad("%v is outside of the canvas %.0f x %.0f", t, s.Width, s.Height)
		}
		for _, p := range plates {
			if inside := t.x1 >= p.x1 && t.x2 <= p.x2 && t.y1 >= p.y1 && t.y2 <= p.y2; t.overlaps(p) && !(inside && t.group == p.group) {
				bad("%v overlaps %v", t, p)
			}
		}
		for _, b := range boxes {
			if t.overlaps(b) && (t.x1 < b.x1 || t.x2 > b.x2) {
				bad("%v leaves %v", t, b)
			}
		}
		for _, l := range strokes {
			own := t.what == number || t.onPlate && strings.HasPrefix(l.group, "way:") || t.group == l.group && strings.HasPrefix(t.group, "interface:") && l.what == "line pipe"
			if t.overlaps(l) && !own {
				bad("%v is crossed by %v", t, l)
			}
		}
	}
	for i, a := range strokes {
		for _, b := range strokes[i+1:] {
			if a.what == "line cable" && b.what == a.what && a.group != b.group && a.y1 == b.y1 && a.y2 == b.y2 && a.y2-a.y1 == 2 && a.overlaps(b) {
				bad("%v runs over %v", a, b)
			}
		}
	}
	for _, r := range append(append(boxes, plates...), strokes...) {
		if r.x1 < 0 || r.y1 < 0 || r.x2 > s.Width || r.y2 > s.Height {
			bad("%v is outside of the canvas %.0f x %.0f", r, s.Width, s.Height)
		}
	}
	return out
}
