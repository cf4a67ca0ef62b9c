package draw_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// rect is what a part covers on the canvas.
type rect struct {
	x1, y1, x2, y2 float64
	what           string
	group          string
}

func (a rect) overlaps(b rect) bool {
	return a.x1 < b.x2 && b.x1 < a.x2 && a.y1 < b.y2 && b.y1 < a.y2
}

func (a rect) String() string {
	return fmt.Sprintf("%s of %s (%.0f,%.0f)-(%.0f,%.0f)", a.what, a.group, a.x1, a.y1, a.x2, a.y2)
}

// survey lists what a scene covers: texts and plates, boxes of stacks, strokes.
func survey(s *draw.Scene) (texts, plates, boxes, strokes []rect) {
	for _, g := range s.Groups {
		for _, p := range g.Parts {
			switch p := p.(type) {
			case draw.Label:
				px, _, _ := p.Style.Size()
				r := rect{p.Left(), p.At.Y - px*0.45, p.Left() + p.W, p.At.Y + px*0.45, fmt.Sprintf("label %q", p.Text), g.ID}
				if p.Style == draw.MarkText { // a mark stands in the middle of its room
					r.x1, r.x2 = r.x1+2, r.x2-2
				}
				texts = append(texts, r)
			case draw.Box:
				r := rect{p.X, p.Y, p.X + p.W, p.Y + p.H, "box " + string(p.Style), g.ID}
				switch p.Style {
				case draw.PlateBox:
					plates = append(plates, r)
				case draw.HostBox, draw.VMBox, draw.NamespaceBox:
					boxes = append(boxes, r)
				}
			case draw.End:
				if !p.Small {
					strokes = append(strokes, rect{p.At.X - 6, p.At.Y - 6, p.At.X + 6, p.At.Y + 6, "end", g.ID})
				}
			case draw.Line:
				if p.Style == draw.Hop || p.Style == draw.HopOutside {
					continue
				}
				for n := 1; n < len(p.Points); n++ {
					a, b := p.Points[n-1], p.Points[n]
					strokes = append(strokes, rect{
						min(a.X, b.X) - 1, min(a.Y, b.Y) - 1, max(a.X, b.X) + 1, max(a.Y, b.Y) + 1, "line " + string(p.Style), g.ID,
					})
				}
			}
		}
	}
	return texts, plates, boxes, strokes
}

// flaws lists what is wrong with a scene's geometry.
func flaws(s *draw.Scene) []string {
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
			own := t.group == l.group && strings.HasPrefix(t.group, "interface:") && l.what == "line pipe"
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

// moved lists the objects of two scenes of one layout that do not stand where they
// stood: boxes, buses and plates at all times, and all of an unchanged interface.
func moved(a, b *draw.Scene) []string {
	was := map[string]draw.Group{}
	for _, g := range a.Groups {
		was[g.ID] = g
	}
	var out []string
	for _, g := range b.Groups {
		old, ok := was[g.ID]
		if !ok || g.ID == "caption" {
			continue
		}
		same := reflect.DeepEqual(fixed(old), fixed(g))
		if g.Change == "" && old.Change == "" && strings.HasPrefix(g.ID, "interface:") {
			same = same && reflect.DeepEqual(withoutHops(old), withoutHops(g))
		}
		if !same {
			out = append(out, fmt.Sprintf("%s moved:\n%v\n%v", g.ID, old.Parts, g.Parts))
		}
	}
	return out
}

// fixed are the places in a group that no change may move.
func fixed(g draw.Group) []string {
	var out []string
	for _, p := range g.Parts {
		switch p := p.(type) {
		case draw.Box:
			if p.Style != draw.VRFBox {
				out = append(out, fmt.Sprint(p.X+p.W/2, p.Y, p.H))
			}
		case draw.Line:
			switch p.Style {
			case draw.LANBus, draw.BridgeBus:
				out = append(out, fmt.Sprint(p.Points))
			case draw.Pipe:
				out = append(out, fmt.Sprint(p.Points[0].X))
			}
		}
	}
	return out
}

func withoutHops(g draw.Group) []draw.Part {
	var out []draw.Part
	for _, p := range g.Parts {
		if l, ok := p.(draw.Line); !ok || l.Style != draw.Hop && l.Style != draw.HopOutside {
			out = append(out, p)
		}
	}
	return out
}

func TestHardCases(t *testing.T) {
	for name, f := range cases() {
		for _, o := range []draw.Options{{}, {Expand: []string{"all"}}, {MaxWidth: 900}, {FoldFrom: 3}, {Detail: draw.Little}} {
			if name == "taps-1000" && o.FoldFrom == 0 && o.Expand != nil {
				continue // TestThousandPorts looks at it
			}
			t.Run(fmt.Sprintf("%s/%v", name, o), func(t *testing.T) {
				for _, flaw := range flaws(draw.Draw(o, f)) {
					t.Error(flaw)
				}
			})
		}
	}
}

// TestFlawsAreFound proves that the checks can fail: each breaks a good scene.
func TestFlawsAreFound(t *testing.T) {
	for name, breakIt := range map[string]func(*draw.Label){
		"over another text":  func(l *draw.Label) { l.At.Y -= 14 },
		"out of the canvas":  func(l *draw.Label) { l.At.X = -20 },
		"out of its box":     func(l *draw.Label) { l.W += 900 },
		"across its own bus": func(l *draw.Label) { l.At.X, l.At.Y = 100, 282 },
	} {
		s := draw.Draw(draw.Options{}, frameOf("x", longNames()))
		for _, g := range s.Groups {
			for i, p := range g.Parts {
				if l, ok := p.(draw.Label); ok && l.Text == "198.18.100.200/24" {
					breakIt(&l)
					g.Parts[i] = l
				}
			}
		}
		if len(flaws(s)) == 0 {
			t.Errorf("a label %s is not found", name)
		}
	}
	f := removal()
	a, b := draw.Draw(draw.Options{}, draw.Frame{Now: *f.Before}), draw.Draw(draw.Options{FoldFrom: 2}, f)
	if len(moved(a, b)) == 0 {
		t.Error("two layouts count as one")
	}
}

func TestThousandPorts(t *testing.T) {
	f := frameOf("1,000 taps", manyTaps(1000, 400))
	folded := draw.Draw(draw.Options{}, f)
	open := draw.Draw(draw.Options{Expand: []string{"br0"}}, f)
	if !hasLabel(folded, "1000 taps") || !hasLabel(folded, "400 with a VM") {
		t.Error("the group does not tell its numbers")
	}
	if !hasLabel(open, "tap999") || !hasLabel(open, "tap7 web7") {
		t.Error("the opened group does not list its members")
	}
	if open.Width > 2*draw.Pixels().MaxWidth || math.IsInf(open.Height, 0) {
		t.Errorf("%v x %v is no picture that a person can read", open.Width, open.Height)
	}
	for _, flaw := range append(flaws(folded), flaws(open)...) {
		t.Error(flaw)
	}
}

func hasLabel(s *draw.Scene, text string) bool {
	for _, g := range s.Groups {
		for _, p := range g.Parts {
			if l, ok := p.(draw.Label); ok && l.Text == text {
				return true
			}
		}
	}
	return false
}

func BenchmarkScene1000Ports(b *testing.B) {
	w := model.Wire(manyTaps(1000, 400).s)
	for _, expand := range []string{"none", "br0"} {
		b.Run(expand, func(b *testing.B) {
			for b.Loop() {
				draw.Draw(draw.Options{Expand: []string{expand}}, draw.Frame{Now: w})
			}
		})
	}
}
