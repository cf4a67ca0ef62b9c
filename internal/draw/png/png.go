// Package png paints a draw.Scene as a PNG, in the colours and stroke widths of the
// SVG's style sheet and with an embedded font.
//
// In: a draw.Scene laid out with draw.Pixels. Out: a PNG file.
package png

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	stddraw "image/draw"
	"image/png"
	"strconv"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
)

// MaxPixels is the largest picture that is painted: 4 bytes each.
const MaxPixels = 200e6

// Options for [Render].
type Options struct {
	Theme svg.Theme // Auto is light: a PNG cannot ask its viewer
	Scale float64   // pixels for each CSS pixel, 0 for 1
}

type canvas struct {
	img   *image.RGBA
	scale float64
	sheet *svg.Sheet
	fonts fonts
}

// Render paints a scene. A picture of more than [MaxPixels] is an error.
func Render(s *draw.Scene, o Options) ([]byte, error) {
	if o.Theme == svg.Auto {
		o.Theme = svg.Light
	}
	if o.Scale <= 0 {
		o.Scale = 1
	}
	w, h := s.Width*o.Scale, s.Height*o.Scale
	if w*h > MaxPixels {
		return nil, fmt.Errorf("a png of %.0f x %.0f pixels is too large\n  hint: a smaller --scale, or svg", w, h)
	}
	c := &canvas{img: image.NewRGBA(image.Rect(0, 0, int(w+0.5), int(h+0.5))), scale: o.Scale, sheet: svg.ReadSheet(o.Theme)}
	if err := c.fonts.open(o.Scale); err != nil {
		return nil, err
	}
	bg, _ := c.sheet.Paint(c.sheet.Of(nil, []string{"bg"}), "fill")
	stddraw.Draw(c.img, c.img.Bounds(), image.NewUniform(bg), image.Point{}, stddraw.Src)
	for _, g := range s.Groups {
		c.group(g)
	}
	var b bytes.Buffer
	err := png.Encode(&b, c.img)
	return b.Bytes(), err
}

func (c *canvas) group(g draw.Group) {
	in := []string{string(g.Change)}
	for _, p := range g.Parts {
		switch p := p.(type) {
		case draw.Box:
			c.box(in, p)
		case draw.Line:
			c.line(in, p)
		case draw.End:
			r := 7.5
			if p.Small || p.Style == draw.Joint {
				r = 4
			}
			c.shape(circle(p.At, r), in, "end", string(p.Style), tone(p.Tone))
		case draw.Label:
			c.label(in, p)
		}
	}
}

func (c *canvas) box(in []string, b draw.Box) {
	r := 14.0
	switch b.Style {
	case draw.PlateBox, draw.RouterBox:
		r = 8
	case draw.HopThere, draw.HopBack, draw.HopMay, draw.HopDies:
		r = b.H / 2
	case draw.BandBox, draw.VRFBox:
		r = 9
	}
	c.shape(roundRect(b.X, b.Y, b.W, b.H, r), in, string(b.Style), dashed(b.Dashed))
}

func (c *canvas) line(in []string, l draw.Line) {
	o := outline{points: l.Points}
	switch l.Style {
	case draw.Pipe:
		c.shape(o, in, "pipe", dashed(l.Dashed))
		if !l.Dashed {
			c.shape(o, in, "core", tone(l.Tone))
		}
	case draw.Cable, draw.Tunneled:
		c.shape(o, in, "casing")
		c.shape(rounded(l.Points, 10), in, string(l.Style), dashed(l.Dashed))
	default:
		c.shape(o, in, string(l.Style), tone(l.Tone), dashed(l.Dashed))
	}
}

// shape fills and strokes as the style sheet says for these classes.
func (c *canvas) shape(o outline, in []string, classes ...string) {
	st := c.sheet.Of(in, classes)
	if col, ok := c.sheet.Paint(st, "fill"); ok && o.closed {
		c.fill(o, col)
	}
	if col, ok := c.sheet.Paint(st, "stroke"); ok && len(o.points) > 1 {
		c.stroke(o, st.Number("stroke-width"), st["stroke-linecap"] == "round", st.Dashes(), col)
	}
}

func (c *canvas) label(in []string, l draw.Label) {
	classes := []string{string(l.Style), "text", "c-" + string(l.Change)}
	if l.Struck {
		classes = append(classes, "struck")
	}
	if l.Style == draw.BridgeText {
		classes = append(classes, tone(l.Tone))
	}
	st := c.sheet.Of(in, classes)
	col, ok := c.sheet.Paint(st, "fill")
	if !ok {
		col, _ = c.sheet.Paint(c.sheet.Of(nil, []string{"text"}), "fill")
	}
	px, _, _ := l.Style.Size()
	if halo, ok := c.sheet.Paint(st, "stroke"); ok {
		for _, d := range []draw.Point{{X: -1.5}, {X: 1.5}, {Y: -1.5}, {Y: 1.5}, {X: -1, Y: -1}, {X: 1, Y: 1}, {X: -1, Y: 1}, {X: 1, Y: -1}} {
			c.text(l, d, halo)
		}
	}
	x, w := c.text(l, draw.Point{}, col)
	if l.Struck {
		c.stroke(outline{points: []draw.Point{{X: x, Y: l.At.Y + 0.06*px}, {X: x + w, Y: l.At.Y + 0.06*px}}}, 1.2, false, nil, color.Color(col))
	}
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
