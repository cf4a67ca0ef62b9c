package png_test

import (
	"bytes"
	"image/color"
	stdpng "image/png"
	"testing"

	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/png"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/walkthrough"
)

// TestWalkthrough paints the seven states, and looks for the style sheet's colours at
// places of the scene: a bridge's bus, a box, the background.
func TestWalkthrough(t *testing.T) {
	_, steps := walkthrough.Frames()
	want := map[svg.Theme]struct{ bg, bus color.RGBA }{
		svg.Light: {color.RGBA{0xfb, 0xfa, 0xf7, 255}, color.RGBA{0x1f, 0x6b, 0x4a, 255}},
		svg.Dark:  {color.RGBA{0x12, 0x16, 0x1b, 255}, color.RGBA{0x63, 0xc7, 0x94, 255}},
	}
	for theme, colours := range want {
		s := draw.Scenes(draw.Options{}, steps...)[5]
		data, err := png.Render(s, png.Options{Theme: theme, Scale: 2})
		if err != nil {
			t.Fatal(err)
		}
		img, err := stdpng.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if w := img.Bounds().Dx(); w != int(2*s.Width+0.5) {
			t.Errorf("%d pixels wide, not twice %v", w, s.Width)
		}
		if got := color.RGBAModel.Convert(img.At(1, 1)); got != colours.bg {
			t.Errorf("%s: the background is %v, not %v", theme, got, colours.bg)
		}
		seen := false
		for _, g := range s.Groups {
			for _, p := range g.Parts {
				if l, ok := p.(draw.Line); ok && l.Style == draw.LANBus {
					seen = true
					at := l.Points[0]
					if got := color.RGBAModel.Convert(img.At(int(2*at.X)+4, int(2*at.Y))); got != colours.bus {
						t.Errorf("%s: the LAN's bus is %v, not %v", theme, got, colours.bus)
					}
				}
			}
		}
		if !seen {
			t.Error("the scene has no LAN")
		}
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := png.Render(&draw.Scene{Width: 20000, Height: 20000}, png.Options{}); err == nil {
		t.Error("a picture of 400 megapixels was painted")
	}
}

// TestGlyphs looks that the fonts have every sign that the program itself writes.
func TestGlyphs(t *testing.T) {
	for name, ttf := range map[string][]byte{"regular": goregular.TTF, "bold": gobold.TTF, "mono": gomono.TTF} {
		f, err := sfnt.Parse(ttf)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range "+−~·→●…×" {
			if n, err := f.GlyphIndex(nil, r); n == 0 || err != nil {
				t.Errorf("%s has no %q", name, r)
			}
		}
	}
}
