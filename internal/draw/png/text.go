package png

import (
	"image"
	"image/color"

	"drawbridge/internal/draw"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// fonts are the Go fonts: they have the signs of our pictures (→ ● − ·) and the
// letters of WGL4. What else a name holds is shown as the font's empty box.
type fonts struct {
	scale               float64
	regular, bold, mono *sfnt.Font
	faces               map[draw.Style]font.Face
}

func (f *fonts) open(scale float64) (err error) {
	f.scale, f.faces = scale, map[draw.Style]font.Face{}
	for _, x := range []struct {
		to   **sfnt.Font
		data []byte
	}{{&f.regular, goregular.TTF}, {&f.bold, gobold.TTF}, {&f.mono, gomono.TTF}} {
		if *x.to, err = opentype.Parse(x.data); err != nil {
			return err
		}
	}
	return nil
}

func (f *fonts) face(s draw.Style) font.Face {
	if f.faces[s] == nil {
		px, bold, mono := s.Size()
		of := f.regular
		switch {
		case mono:
			of = f.mono
		case bold:
			of = f.bold
		}
		face, err := opentype.NewFace(of, &opentype.FaceOptions{Size: px * f.scale, DPI: 72})
		if err != nil { // only sizes that are not positive
			panic(err)
		}
		f.faces[s] = face
	}
	return f.faces[s]
}

// text paints a label and returns where its text begins and how wide it is, in CSS pixels.
func (c *canvas) text(l draw.Label, by draw.Point, col color.Color) (x, w float64) {
	face := c.fonts.face(l.Style)
	px, _, _ := l.Style.Size()
	text := draw.Clean(l.Text)
	w = float64(font.MeasureString(face, text)) / 64 / c.scale
	x = l.At.X
	if l.Anchor == draw.Middle {
		x -= w / 2
	}
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(col), Face: face, Dot: fixed.Point26_6{
		X: fixed.Int26_6((x + by.X) * c.scale * 64), Y: fixed.Int26_6((l.At.Y + by.Y + 0.36*px) * c.scale * 64),
	}}
	d.DrawString(text)
	return x, w
}
