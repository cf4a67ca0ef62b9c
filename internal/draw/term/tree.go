package term

import (
	"strings"

	"drawbridge/internal/draw"
)

// tree tells a frame as an indented list, for a terminal in which no picture fits.
func tree(o Options, f draw.Frame) string {
	var b strings.Builder
	for _, l := range draw.Outline(f) {
		indent := min(2*l.Depth, max(0, o.Width-12))
		text := draw.Clean(l.Text)
		if o.ASCII {
			text = toASCII(text)
		}
		for n, line := range draw.WrapCells(text, max(1, o.Width-indent-2)) {
			pad := indent
			if n > 0 {
				pad += min(2, max(0, o.Width-indent-1))
			}
			b.WriteString(strings.TrimRight(strings.Repeat(" ", pad)+line, " ") + "\n")
		}
	}
	return b.String()
}
