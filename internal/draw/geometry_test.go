package draw_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/geometry"
	"drawbridge/internal/model"
)

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
				for _, flaw := range geometry.Flaws(draw.Draw(o, f)) {
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
		if len(geometry.Flaws(s)) == 0 {
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
	for _, flaw := range append(geometry.Flaws(folded), geometry.Flaws(open)...) {
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

// manyBridges is a host that nothing can be folded of: each tap is on a bridge of its own.
func manyBridges(n int) *hostBuilder {
	b := newHost("host")
	for i := range n {
		br, tap := fmt.Sprintf("br%d", i), fmt.Sprintf("tap%d", i)
		b.link(bridgeLink(br), fmt.Sprintf("198.19.%d.%d/30", i/64, i%64*4+1)).link(tapLink(tap, br)).vm(fmt.Sprintf("vm%d", i), "qemu", tap)
	}
	return b
}

// A host with 300 bridges is long, but no wider than a page.
func TestManyBridges(t *testing.T) {
	s := draw.Draw(draw.Options{}, frameOf("300 bridges", manyBridges(300)))
	if most := draw.Pixels().MaxWidth; s.Width > most {
		t.Errorf("%.0f pixels wide, more than %.0f", s.Width, most)
	}
	for _, flaw := range geometry.Flaws(s) {
		t.Error(flaw)
	}
}

func BenchmarkScene1000Bridges(b *testing.B) {
	w := model.Wire(manyBridges(1000).s)
	for b.Loop() {
		draw.Draw(draw.Options{}, draw.Frame{Now: w})
	}
}

// Two bridges beside each other are two: in a terminal there is a cell between their buses.
func TestBusesStandApartInCells(t *testing.T) {
	hosts := cases()
	hosts["many-bridges"] = frameOf("", manyBridges(9))
	for name, f := range hosts {
		buses := map[float64][]draw.Line{}
		for _, g := range draw.Draw(draw.Options{Metrics: draw.Cells(), MaxWidth: 199}, f).Groups {
			for _, p := range g.Parts {
				if l, ok := p.(draw.Line); ok && l.Style == draw.BridgeBus && len(l.Points) == 2 {
					buses[l.Points[0].Y] = append(buses[l.Points[0].Y], l)
				}
			}
		}
		for y, list := range buses {
			for _, a := range list {
				for _, b := range list {
					if gap := b.Points[0].X - a.Points[1].X; b.Points[0].X > a.Points[0].X && gap < 2 {
						t.Errorf("%s, line %v: two buses run together at column %v", name, y, a.Points[1].X)
					}
				}
			}
		}
	}
}
