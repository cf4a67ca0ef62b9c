// Package svg writes a draw.Scene as a standalone SVG: text as text, light and dark,
// with an id for every object so that a page can address it.
//
// In: a draw.Scene laid out with draw.Pixels. Out: UTF-8 XML. Nothing is decided here
// but how a style looks.
package svg

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"drawbridge/internal/draw"
)

// Theme says which colours to use.
type Theme string

// The themes.
const (
	Auto  Theme = ""      // what the viewer prefers: prefers-color-scheme
	Light Theme = "light" // always
	Dark  Theme = "dark"
)

// Options for [Render].
type Options struct {
	Theme Theme
	// IDPrefix is put before every id, so that several pictures fit in one page.
	IDPrefix string
	// Inline leaves out the style sheet and the XML declaration: the page has
	// [Style] once, and gives the colours.
	Inline bool
}

//go:embed style.css
var rules string

//go:embed light.css
var light string

//go:embed dark.css
var dark string

// Style is the style sheet of pictures for a page with inline ones. The colours are
// set on every element of class "drawbridge".
func Style(t Theme) string {
	switch t {
	case Light:
		return block(light) + withFallback(light)
	case Dark:
		return block(dark) + withFallback(dark)
	default:
		return block(light) +
			"@media (prefers-color-scheme:dark){" + block(dark) + "}\n" +
			"@media print{" + block(light) + "}\n" + withFallback(light)
	}
}

// onPaper makes a picture that is wider than the page as wide as the page: a browser that
// prints an SVG cuts off what is beyond.
const onPaper = "@media print{svg.drawbridge{width:100%;height:auto}}\n"

func block(declarations string) string {
	return ".drawbridge{" + strings.TrimSpace(declarations) + "}\n"
}

var (
	colour    = regexp.MustCompile(`(--\w+):(#\w+);`)
	variable  = regexp.MustCompile(`([\w-]+):var\((--\w+)\)`)
	fallbacks = map[string]string{light: fallback(light), dark: fallback(dark)}
)

// withFallback is the style sheet with a plain colour before each variable one: what knows
// no custom properties (librsvg, and so many file managers and office programs) would draw
// all of it black.
func withFallback(colours string) string { return fallbacks[colours] }

func fallback(colours string) string {
	values := map[string]string{}
	for _, m := range colour.FindAllStringSubmatch(colours, -1) {
		values[m[1]] = m[2]
	}
	return variable.ReplaceAllStringFunc(rules, func(d string) string {
		m := variable.FindStringSubmatch(d)
		return m[1] + ":" + values[m[2]] + ";" + d
	})
}

// Render writes a scene.
func Render(s *draw.Scene, o Options) []byte {
	w := newWriter(s, o)
	for _, g := range s.Groups {
		w.group(g, "")
	}
	return w.bytes()
}

func newWriter(s *draw.Scene, o Options) *writer {
	w := &writer{o: o, ids: map[string]int{}}
	id := ""
	if o.Inline { // a page shows it small as well, by <use>
		id = fmt.Sprintf(` id="%s"`, w.id("picture"))
	}
	title, desc := w.id("title"), w.id("desc")
	fmt.Fprintf(&w.b, `<svg xmlns="http://www.w3.org/2000/svg"%s class="drawbridge" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-labelledby="%s %s">`+"\n",
		id, num(s.Width), num(s.Height), num(s.Width), num(s.Height), title, desc)
	fmt.Fprintf(&w.b, "<title id=\"%s\">%s</title>\n<desc id=\"%s\">%s</desc>\n", title, escape(s.Title), desc, escape(s.Desc))
	if !o.Inline {
		fmt.Fprintf(&w.b, "<style>\n%s%s</style>\n", Style(o.Theme), onPaper)
	}
	fmt.Fprintf(&w.b, `<rect class="bg" width="%s" height="%s"/>`+"\n", num(s.Width), num(s.Height))
	return w
}

func (w *writer) bytes() []byte {
	w.b.WriteString("</svg>\n")
	return w.b.Bytes()
}

type writer struct {
	b   bytes.Buffer
	o   Options
	ids map[string]int
}

// ID makes a group's id fit to be an XML id and a CSS selector. Where two become the
// same, the second one in the picture has "-2" after it.
func ID(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		case r == ':', r == '/':
			return '-'
		default:
			return '_'
		}
	}, s)
}

// id is the unique one of this picture.
func (w *writer) id(s string) string {
	id := w.o.IDPrefix + ID(s)
	w.ids[id]++
	if n := w.ids[id]; n > 1 {
		return w.id(s + "-" + strconv.Itoa(n))
	}
	return id
}

// group writes a group; when says in which of two states it is so (see [RenderChange]),
// "" for both.
func (w *writer) group(g draw.Group, when string) {
	kind, _, _ := strings.Cut(g.ID, ":")
	id := g.ID
	if when == was {
		id = was + ":" + id
	}
	fmt.Fprintf(&w.b, `<g id="%s" class="g-%s`, w.id(id), kind)
	if when != "" {
		w.b.WriteString(" " + when)
	}
	if g.Change != "" {
		fmt.Fprintf(&w.b, " %s", escape(string(g.Change)))
	}
	w.b.WriteString(`">`)
	if g.Title != "" {
		fmt.Fprintf(&w.b, "<title>%s</title>", escape(g.Title))
	}
	for _, p := range g.Parts {
		switch p := p.(type) {
		case draw.Box:
			w.box(p)
		case draw.Line:
			w.line(p)
		case draw.End:
			w.end(p)
		case draw.Label:
			w.label(p)
		}
	}
	w.b.WriteString("</g>\n")
}

// Tones is the number of colours that bridges have in the style sheet.
const Tones = 6

func tone(n int) string {
	if n < 0 {
		return ""
	}
	return " t" + strconv.Itoa(n%Tones)
}

func flags(dashed, struck bool) string {
	s := ""
	if dashed {
		s += " dashed"
	}
	if struck {
		s += " struck"
	}
	return s
}

func (w *writer) box(b draw.Box) {
	r := "14"
	switch b.Style {
	case draw.PlateBox, draw.RouterBox:
		r = "8"
	case draw.HopThere, draw.HopBack, draw.HopMay, draw.HopDies:
		r = num(b.H / 2)
	case draw.BandBox, draw.VRFBox:
		r = "9"
	}
	fmt.Fprintf(&w.b, `<rect class="%s%s" x="%s" y="%s" width="%s" height="%s" rx="%s"/>`,
		b.Style, flags(b.Dashed, false), num(b.X), num(b.Y), num(b.W), num(b.H), r)
}

func (w *writer) line(l draw.Line) {
	d := path(l.Points)
	switch l.Style {
	case draw.Pipe: // its wall, and the core in it
		fmt.Fprintf(&w.b, `<path class="pipe%s" d="%s"/>`, flags(l.Dashed, false), d)
		if !l.Dashed {
			fmt.Fprintf(&w.b, `<path class="core%s" d="%s"/>`, tone(l.Tone), d)
		}
	case draw.Cable, draw.Tunneled:
		fmt.Fprintf(&w.b, `<path class="casing" d="%s"/>`, d) // keeps it off what it crosses
		fmt.Fprintf(&w.b, `<path class="%s%s" d="%s"/>`, l.Style, flags(l.Dashed, false), rounded(l.Points, 10))
	default:
		fmt.Fprintf(&w.b, `<path class="%s%s%s" d="%s"/>`, l.Style, tone(l.Tone), flags(l.Dashed, false), d)
	}
}

func (w *writer) end(e draw.End) {
	r := "7.5"
	switch {
	case e.Small, e.Style == draw.Joint:
		r = "4"
	}
	fmt.Fprintf(&w.b, `<circle class="end %s%s" cx="%s" cy="%s" r="%s"/>`, e.Style, tone(e.Tone), num(e.At.X), num(e.At.Y), r)
}

func (w *writer) label(l draw.Label) {
	px, _, _ := l.Style.Size()
	anchor := ""
	if l.Anchor == draw.Middle {
		anchor = ` text-anchor="middle"`
	}
	class := string(l.Style) + flags(false, l.Struck)
	if l.Change != "" {
		class += " c-" + string(l.Change)
	}
	if l.Style == draw.BridgeText {
		class += tone(l.Tone)
	}
	// Half of a capital's height below the middle puts the text on it.
	fmt.Fprintf(&w.b, `<text class="%s" x="%s" y="%s"%s>%s</text>`, class, num(l.At.X), num(l.At.Y+0.36*px), anchor, escape(l.Text))
}

func path(ps []draw.Point) string {
	var b strings.Builder
	for n, p := range ps {
		c := "L"
		if n == 0 {
			c = "M"
		}
		b.WriteString(c + num(p.X) + " " + num(p.Y))
	}
	return b.String()
}

// rounded is a path of horizontal and vertical strokes with its corners rounded.
func rounded(ps []draw.Point, r float64) string {
	var b strings.Builder
	for n, p := range ps {
		if n == 0 || n == len(ps)-1 {
			c := "L"
			if n == 0 {
				c = "M"
			}
			b.WriteString(c + num(p.X) + " " + num(p.Y))
			continue
		}
		in, out := toward(p, ps[n-1], r), toward(p, ps[n+1], r)
		b.WriteString("L" + num(in.X) + " " + num(in.Y) + "Q" + num(p.X) + " " + num(p.Y) + " " + num(out.X) + " " + num(out.Y))
	}
	return b.String()
}

// toward is the point at most d, and at most half the way, from p to q.
func toward(p, q draw.Point, d float64) draw.Point {
	step := func(a, b float64) float64 {
		half := (b - a) / 2
		return a + max(-d, min(d, half))
	}
	return draw.Point{X: step(p.X, q.X), Y: step(p.Y, q.Y)}
}

func num(f float64) string {
	return strconv.FormatFloat(float64(int64(f*10+0.5))/10, 'f', -1, 64)
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")

// escape makes text fit for XML: no mark-up in it, and no character that XML forbids.
func escape(s string) string { return escaper.Replace(draw.Clean(s)) }
