package draw_test

import (
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/geometry"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/testwiring"
)

// Whatever things are called: no label touches another, and none is cut off or written over,
// on a page or in a terminal.
func TestForeignNamesHaveTheirRoom(t *testing.T) {
	for _, name := range testwiring.HostileNames {
		f := draw.Frame{Title: name, Now: testwiring.Named(name)}
		for _, flaw := range geometry.Flaws(draw.Draw(draw.Options{}, f)) {
			t.Errorf("%q: %s", name, flaw)
		}
		for _, width := range []int{80, 200} {
			if lost := term.Lost(term.Options{Width: width}, f); lost != nil {
				t.Errorf("%q, %d columns: %q is not to be read", name, width, lost)
			}
		}
	}
}
