package draw_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/geometry"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/model"
	"drawbridge/internal/testwiring"
)

func anyFrames(t *rapid.T) []draw.Frame {
	before := testwiring.Host(t)
	after := testwiring.Step(t, before)
	w := model.Wire(before)
	return []draw.Frame{
		{Title: "Before", Subtitle: strings.Repeat("A sentence about it. ", 12), Now: w},
		{Title: "After", Before: &w, Now: model.Compare(w, model.Wire(after))},
	}
}

func TestNothingOverlapsAndNothingMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := draw.Options{
			FoldFrom: rapid.SampledFrom([]int{0, 3, 100}).Draw(t, "fold"),
			MaxWidth: rapid.SampledFrom([]float64{0, 700, 5000}).Draw(t, "width"),
			Expand:   rapid.SampledFrom([][]string{nil, {"all"}}).Draw(t, "expand"),
		}
		scenes := draw.Scenes(o, anyFrames(t)...)
		for n, s := range scenes {
			for _, flaw := range geometry.Flaws(s) {
				t.Errorf("frame %d: %s", n, flaw)
			}
		}
		if scenes[0].Width != scenes[1].Width || scenes[0].Height != scenes[1].Height {
			t.Error("the canvas changes its size")
		}
		for _, m := range moved(scenes[0], scenes[1]) {
			t.Error(m)
		}
	})
}

func TestSVGIsWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := anyFrames(t)
		fs[0].Title, fs[1].Subtitle = rapid.String().Draw(t, "title"), rapid.String().Draw(t, "subtitle")
		for _, s := range draw.Scenes(draw.Options{}, fs...) {
			wellFormed(t, svg.Render(s, svg.Options{}))
		}
	})
}

// wellFormed parses the document and looks for ids that are there twice.
func wellFormed(t interface{ Errorf(string, ...any) }, doc []byte) {
	d := xml.NewDecoder(strings.NewReader(string(doc)))
	ids := map[string]bool{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("%v in\n%s", err, doc)
			return
		}
		el, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if el.Name.Local == "script" {
			t.Errorf("a name became an element")
		}
		for _, a := range el.Attr {
			if a.Name.Local == "id" && ids[a.Value] {
				t.Errorf("id %q twice", a.Value)
			}
			ids[a.Value] = ids[a.Value] || a.Name.Local == "id"
		}
	}
}

func TestTerminalKeepsToItsWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := term.Options{Width: rapid.IntRange(20, 200).Draw(t, "width"), ASCII: rapid.Bool().Draw(t, "ascii")}
		for _, text := range term.Render(o, anyFrames(t)...) {
			for _, line := range strings.Split(text, "\n") {
				if w := draw.CellWidth(line); w > o.Width {
					t.Errorf("%d columns, and a line of %d: %q", o.Width, w, line)
				}
				if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || o.ASCII && r > '~' }) {
					t.Errorf("a character that does not belong there: %q", line)
				}
			}
		}
	})
}

func TestOneWiringOnePicture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := anyFrames(t)[0]
		a := svg.Render(draw.Draw(draw.Options{}, f), svg.Options{})
		b := svg.Render(draw.Draw(draw.Options{}, f), svg.Options{})
		if string(a) != string(b) {
			t.Error("two drawings of one wiring differ")
		}
	})
}

// TestNonsenseIsDrawn feeds wirings that no kernel would have: loops, ends in things
// that are not there, two of one id. They need not look well, but must not panic.
func TestNonsenseIsDrawn(t *testing.T) {
	id := rapid.SampledFrom([]string{"", "host", "vm:a", "vrf:b", "bridge:a", "bridge:b", "lan:a", "cable:a", "host/a", "host/b", "vm:a/c", "nowhere"})
	in := rapid.SampledFrom([]string{"", model.InStack, model.InSegment, model.InInterface, model.InTunnel, model.InNothing, "odd"})
	end := rapid.Custom(func(t *rapid.T) model.End { return model.End{In: in.Draw(t, "in"), ID: id.Draw(t, "id")} })
	wiring := rapid.Custom(func(t *rapid.T) model.Wiring {
		var w model.Wiring
		for range rapid.IntRange(0, 4).Draw(t, "stacks") {
			w.Stacks = append(w.Stacks, model.Stack{ID: id.Draw(t, "id"), Parent: id.Draw(t, "parent")})
		}
		for range rapid.IntRange(0, 5).Draw(t, "segments") {
			w.Segments = append(w.Segments, model.Segment{ID: id.Draw(t, "id"), Kind: rapid.SampledFrom([]string{"", "lan", "bridge", "cable"}).Draw(t, "kind"), Stack: id.Draw(t, "stack")})
		}
		for range rapid.IntRange(0, 8).Draw(t, "interfaces") {
			w.Interfaces = append(w.Interfaces, model.Interface{
				ID: id.Draw(t, "id"), Name: "x", Stack: id.Draw(t, "stack"), HostEnd: end.Draw(t, "host end"), WireEnd: end.Draw(t, "wire end"),
				Kind: rapid.SampledFrom([]model.Kind{model.Physical, model.Bridged, model.TapKind, model.Loopback}).Draw(t, "kind"),
			})
		}
		return w
	})
	rapid.Check(t, func(t *rapid.T) {
		before := wiring.Draw(t, "before")
		f := draw.Frame{Before: &before, Now: model.Compare(before, wiring.Draw(t, "now"))}
		for _, o := range []draw.Options{{}, {FoldFrom: 2}, {FoldFrom: 2, Expand: []string{"all"}}} {
			wellFormed(t, svg.Render(draw.Draw(o, f), svg.Options{}))
		}
		term.Render(term.Options{}, f)
	})
}
