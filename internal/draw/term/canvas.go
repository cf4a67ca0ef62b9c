package term

import (
	"fmt"
	"math"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// cell is one character with its SGR parameters; the right half of a wide character
// is empty.
type cell struct {
	text string
	sgr  string
}

// canvas is a sheet of cells.
type canvas struct {
	w, h  int
	cells []cell
}

func newCanvas(s *draw.Scene) *canvas {
	c := &canvas{w: int(s.Width) + 1, h: int(s.Height) + 1}
	c.cells = make([]cell, c.w*c.h)
	for i := range c.cells {
		c.cells[i].text = " "
	}
	return c
}

func round(f float64) int { return int(math.Floor(f + 0.5)) }

func (c *canvas) at(x, y int) *cell {
	if x < 0 || y < 0 || x >= c.w || y >= c.h {
		return &cell{} // a picture that is right never gets here
	}
	return &c.cells[y*c.w+x]
}

func (c *canvas) put(x, y int, text, sgr string) { *c.at(x, y) = cell{text, sgr} }

func (c *canvas) group(g draw.Group) {
	for _, p := range g.Parts {
		switch p := p.(type) {
		case draw.Box:
			c.box(p, g.Change)
		case draw.Line:
			c.line(p, g.Change)
		case draw.End:
			c.end(p)
		case draw.Label:
			c.label(p)
		}
	}
}

func (c *canvas) box(b draw.Box, change model.Change) {
	x1, y1, x2, y2 := round(b.X), round(b.Y), round(b.X+b.W), round(b.Y+b.H)
	switch b.Style {
	case draw.BandBox, draw.VRFBox:
		return // their labels say it; a frame in a frame would be noise
	case draw.PlateBox, draw.RouterBox:
		open, shut := "[", "]"
		if b.Dashed {
			open, shut = "(", ")"
		}
		for x := x1; x < x2; x++ {
			c.put(x, y1, " ", "")
		}
		c.put(x1, y1, open, changeSGR(change))
		c.put(x2-1, y1, shut, changeSGR(change))
		return
	}
	h, sgr := "─", boxSGR[b.Style]
	if b.Dashed {
		h, sgr = "╌", changeSGR(change)
	}
	for x := x1 + 1; x < x2; x++ {
		c.put(x, y1, h, sgr)
		c.put(x, y2, h, sgr)
	}
	for y := y1 + 1; y < y2; y++ {
		c.put(x1, y, "│", sgr)
		c.put(x2, y, "│", sgr)
	}
	c.put(x1, y1, "╭", sgr)
	c.put(x2, y1, "╮", sgr)
	c.put(x1, y2, "╰", sgr)
	c.put(x2, y2, "╯", sgr)
}

func (c *canvas) line(l draw.Line, change model.Change) {
	h, v := "─", "│"
	sgr := toneSGR(l.Tone)
	switch l.Style {
	case draw.LANBus:
		h, sgr = "═", "32"
	case draw.BridgeBus:
		h, v = "═", "║"
	case draw.GhostPipe:
		v, sgr = "┆", "33"
	case draw.Route:
		sgr = "2"
	case draw.Tunneled:
		h, v = "┈", "┊"
	case draw.Hop, draw.HopOutside:
		x, y := round(l.Points[0].X), round(l.Points[0].Y)
		c.put(x-1, y, " ", "")
		c.put(x+1, y, " ", "")
		return
	}
	if l.Dashed {
		v = "┊"
	}
	if l.Dashed && change == model.Removed {
		h, sgr = "╌", "31"
	}
	x, y := round(l.Points[0].X), round(l.Points[0].Y)
	joins := l.Style == draw.Route && c.at(x, y).text == "─"
	for n := 1; n < len(l.Points); n++ {
		a, b := l.Points[n-1], l.Points[n]
		x1, y1, x2, y2 := round(min(a.X, b.X)), round(min(a.Y, b.Y)), round(max(a.X, b.X)), round(max(a.Y, b.Y))
		for x := x1; x <= x2 && y1 == y2; x++ {
			c.put(x, y1, h, sgr)
		}
		for y := y1; y <= y2 && x1 == x2; y++ {
			c.put(x1, y, v, sgr)
		}
	}
	if joins {
		c.put(x, y, "┬", sgr)
	}
	for n := 1; n+1 < len(l.Points); n++ {
		turn := corner(l.Points[n-1], l.Points[n], l.Points[n+1])
		if l.Style == draw.BridgeBus {
			turn = doubled[turn]
		}
		c.put(round(l.Points[n].X), round(l.Points[n].Y), turn, sgr)
	}
}

// doubled are the corners of a bus.
var doubled = map[string]string{"│": "║", "─": "═", "┘": "╝", "┐": "╗", "└": "╚", "┌": "╔"}

// corner is the character in which the strokes from a to p and from p to b meet.
func corner(a, p, b draw.Point) string {
	if a.X == p.X && p.X == b.X {
		return "│"
	}
	if a.Y == p.Y && p.Y == b.Y {
		return "─"
	}
	left, up := a.X < p.X || b.X < p.X, a.Y < p.Y || b.Y < p.Y
	switch {
	case left && up:
		return "┘"
	case left:
		return "┐"
	case up:
		return "└"
	default:
		return "┌"
	}
}

func (c *canvas) end(e draw.End) {
	text, sgr := "●", toneSGR(e.Tone)
	switch e.Style {
	case draw.Dangling:
		text = "○"
	case draw.Joint:
		text = "┼"
	case draw.Ghost:
		text, sgr = "◌", "33"
	}
	c.put(round(e.At.X), round(e.At.Y), text, sgr)
}

func (c *canvas) label(l draw.Label) {
	x, y := round(l.Left()), round(l.At.Y)
	sgr := textSGR(l)
	if l.Style == draw.NameText || l.Style == draw.SystemText || l.Style == draw.MarkText {
		c.blank(x-1, y)
		c.blank(x+draw.CellWidth(l.Text), y)
	}
	last := (*cell)(nil)
	for _, r := range l.Text {
		w := draw.CellWidth(string(r))
		if w == 0 && last != nil {
			last.text += string(r)
			continue
		}
		last = c.at(x, y)
		c.put(x, y, string(r), sgr)
		for n := 1; n < w; n++ {
			c.put(x+n, y, "", sgr)
		}
		x += w
	}
}

// blank keeps a stack's name off the border that it stands in.
func (c *canvas) blank(x, y int) {
	if t := c.at(x, y).text; t == "─" || t == "╌" {
		c.put(x, y, " ", "")
	}
}

// text is the canvas as lines, without what is blank at their ends.
func (c *canvas) text(o Options) string {
	var b strings.Builder
	blank := 0
	for y := range c.h {
		line := c.row(y, o)
		if line == "" {
			blank++
			continue
		}
		if b.Len() > 0 {
			b.WriteString(strings.Repeat("\n", blank))
		}
		blank = 0
		b.WriteString(line + "\n")
	}
	return b.String()
}

func (c *canvas) row(y int, o Options) string {
	end := c.w
	for end > 0 && c.at(end-1, y).text == " " {
		end--
	}
	var b strings.Builder
	sgr := ""
	for x := range end {
		cl := c.at(x, y)
		if o.Color && cl.sgr != sgr && (cl.text != " " || strings.HasSuffix(sgr, ";9")) {
			b.WriteString("\x1b[0m")
			if cl.sgr != "" {
				fmt.Fprintf(&b, "\x1b[%sm", strings.TrimPrefix(cl.sgr, ";"))
			}
			sgr = cl.sgr
		}
		if o.ASCII {
			b.WriteString(toASCII(cl.text))
			for n := draw.CellWidth(cl.text); n > 1; n-- {
				b.WriteByte('?')
			}
			continue
		}
		b.WriteString(cl.text)
	}
	if sgr != "" {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// shows tells whether a label stands on the canvas as it was written.
func (c *canvas) shows(l draw.Label) bool {
	var b strings.Builder
	x, y := round(l.Left()), round(l.At.Y)
	for n := draw.CellWidth(l.Text); n > 0; n-- {
		b.WriteString(c.at(x, y).text)
		x++
	}
	return b.String() == l.Text
}
