package term_test

import (
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/testwiring"
)

// FuzzNames looks that no name does anything to a terminal: no control character, no
// escape sequence, no line wider than the terminal.
func FuzzNames(f *testing.F) {
	for _, name := range testwiring.HostileNames {
		f.Add(name, 80)
		f.Add(name, 20)
	}
	f.Fuzz(func(t *testing.T, name string, width int) {
		width = 20 + int(uint(width)%200)
		for _, line := range strings.Split(term.Render(term.Options{Width: width}, draw.Frame{Title: name, Now: testwiring.Named(name)})[0], "\n") {
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
				t.Errorf("%q: a control character in %q", name, line)
			}
			if w := draw.CellWidth(line); w > width {
				t.Errorf("%q: a line of %d in %d columns: %q", name, w, width, line)
			}
		}
	})
}
