// Package term draws frames in a terminal: the vocabulary and the order of the SVG,
// in character cells.
//
// In: draw.Frames and the terminal's width. Out: lines of text, never wider than that.
// What does not fit loses its small print first, then boxes, and parts of boxes, go to a
// next row, then ports fold into groups. Below 60 columns, what does not fit side by side
// is told as an indented tree.
package term

import (
	"strings"

	"drawbridge/internal/draw"
)

// Options for [Render].
type Options struct {
	// Width of the terminal in columns, 0 for 80.
	Width int
	// ASCII uses no other characters.
	ASCII bool
	// Color uses ANSI colours (SGR), else there is no escape sequence at all.
	Color bool
	// Expand and FoldFrom are those of draw.Options.
	Expand   []string
	FoldFrom int
}

// Render draws frames with one common layout, one text for each.
func Render(o Options, frames ...draw.Frame) []string {
	if o.Width <= 0 {
		o.Width = 80
	}
	scenes := fit(o, frames)
	out := make([]string, len(frames))
	for i := range frames {
		if scenes == nil {
			out[i] = tree(o, frames[i])
			continue
		}
		c := newCanvas(scenes[i])
		for _, g := range scenes[i].Groups {
			c.group(g)
		}
		out[i] = c.text(o)
	}
	return out
}

// leastWrapped is the width from which on a picture may be in several rows.
const leastWrapped = 60

// attempt is a way to make a picture narrower.
type attempt struct {
	detail draw.Detail
	fold   int
	rows   int // of boxes at most; 0: any number
}

// fit lays out with as much of the small print as the width has room for; nil if
// nothing fits.
func fit(o Options, frames []draw.Frame) []*draw.Scene {
	attempts := []attempt{
		{draw.Full, o.FoldFrom, 1}, {draw.Medium, o.FoldFrom, 1}, {draw.Little, o.FoldFrom, 1},
		{draw.Medium, o.FoldFrom, 3}, {draw.Little, o.FoldFrom, 3},
		{draw.Little, 6, 4}, {draw.Little, 3, 0},
	}
	if o.Width < leastWrapped {
		attempts = attempts[:3]
	}
	var tries []draw.Options
	for _, a := range attempts {
		m := draw.Cells()
		m.MinWidth = min(m.MinWidth, float64(o.Width-1))
		tries = append(tries, draw.Options{Metrics: m, MaxWidth: float64(o.Width - 1), Detail: a.detail, FoldFrom: a.fold, Expand: o.Expand})
	}
	return draw.Fit(tries, func(n int, width float64, rows int) bool {
		return int(width)+1 <= o.Width && (attempts[n].rows == 0 || rows <= attempts[n].rows)
	}, frames...)
}

// ascii are the replacements of what is not ASCII; any other character becomes "?".
var ascii = strings.NewReplacer(
	"╭", "+", "╮", "+", "╰", "+", "╯", "+", "┌", "+", "┐", "+", "└", "+", "┘", "+", "─", "-", "╌", "-", "═", "=", "║", "|", "╔", "+", "╗", "+", "╚", "+", "╝", "+",
	"│", "|", "┊", ":", "┆", ":", "●", "*", "○", "o", "◌", ".", "┼", "+", "┬", "+", "┈", "-", "−", "-", "·", "-", "’", "'",
)

func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, ascii.Replace(s))
}

// Lost lists the labels of a frame's picture that are not wholly to be read in it; there
// are none in a good one. For tests.
func Lost(o Options, f draw.Frame) []string {
	scenes := fit(o, []draw.Frame{f})
	if scenes == nil {
		return nil
	}
	c := newCanvas(scenes[0])
	for _, g := range scenes[0].Groups {
		c.group(g)
	}
	var out []string
	for _, g := range scenes[0].Groups {
		for _, p := range g.Parts {
			if l, ok := p.(draw.Label); ok && !c.shows(l) {
				out = append(out, l.Text)
			}
		}
	}
	return out
}
