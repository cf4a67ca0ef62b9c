package png

import (
	"image"
	"image/color"
	"math"

	"drawbridge/internal/draw"

	"golang.org/x/image/vector"
)

// outline is a closed or open run of points in CSS pixels.
type outline struct {
	points []draw.Point
	closed bool
}

// roundRect is a rectangle's outline, its corners as short strokes.
func roundRect(x, y, w, h, r float64) outline {
	r = min(r, w/2, h/2)
	o := outline{closed: true}
	for _, c := range []struct{ x, y, from float64 }{{x + w - r, y + r, -math.Pi / 2}, {x + w - r, y + h - r, 0}, {x + r, y + h - r, math.Pi / 2}, {x + r, y + r, math.Pi}} {
		const n = 8
		for k := range n + 1 {
			a := c.from + math.Pi/2*float64(k)/n
			o.points = append(o.points, draw.Point{X: c.x + r*math.Cos(a), Y: c.y + r*math.Sin(a)})
		}
	}
	return o
}

func circle(at draw.Point, r float64) outline { return roundRect(at.X-r, at.Y-r, 2*r, 2*r, r) }

// rounded is a run of strokes with its corners rounded as the SVG's are.
func rounded(ps []draw.Point, r float64) outline {
	var o outline
	for n, p := range ps {
		if n == 0 || n == len(ps)-1 {
			o.points = append(o.points, p)
			continue
		}
		a, b := toward(p, ps[n-1], r), toward(p, ps[n+1], r)
		for k := range 9 {
			t := float64(k) / 8
			u := 1 - t
			o.points = append(o.points, draw.Point{X: u*u*a.X + 2*u*t*p.X + t*t*b.X, Y: u*u*a.Y + 2*u*t*p.Y + t*t*b.Y})
		}
	}
	return o
}

// toward is the point at most d, and at most half the way, from p to q.
func toward(p, q draw.Point, d float64) draw.Point {
	l := math.Hypot(q.X-p.X, q.Y-p.Y)
	if l == 0 {
		return p
	}
	f := min(d, l/2) / l
	return draw.Point{X: p.X + (q.X-p.X)*f, Y: p.Y + (q.Y-p.Y)*f}
}

// dashed cuts an outline into its dashes.
func (o outline) dashed(pattern []float64) []outline {
	if len(pattern) == 0 {
		return []outline{o}
	}
	ps := o.points
	if o.closed {
		ps = append(append([]draw.Point{}, ps...), ps[0])
	}
	var out []outline
	k, left, on := 0, pattern[0], true
	run := []draw.Point{ps[0]}
	for n := 1; n < len(ps); n++ {
		a, b := ps[n-1], ps[n]
		for l := math.Hypot(b.X-a.X, b.Y-a.Y); l > left; l = math.Hypot(b.X-a.X, b.Y-a.Y) {
			a = draw.Point{X: a.X + (b.X-a.X)*left/l, Y: a.Y + (b.Y-a.Y)*left/l}
			if on {
				out = append(out, outline{points: append(run, a)})
			}
			k, on = (k+1)%len(pattern), !on
			left, run = pattern[k], []draw.Point{a}
		}
		left -= math.Hypot(b.X-a.X, b.Y-a.Y)
		run = append(run, b)
	}
	if on && len(run) > 1 {
		out = append(out, outline{points: run})
	}
	return out
}

func (c *canvas) fill(o outline, col color.Color) {
	r := c.raster(o.points, 0)
	r.polygon(o.points)
	r.paint(col)
}

// stroke paints each piece as a rectangle, with a disc at its joints and round ends.
func (c *canvas) stroke(o outline, width float64, round bool, dashes []float64, col color.Color) {
	for _, d := range o.dashed(dashes) {
		ps := d.points
		if d.closed {
			ps = append(append([]draw.Point{}, ps...), ps[0])
		}
		r := c.raster(ps, width)
		for n := 1; n < len(ps); n++ {
			a, b := ps[n-1], ps[n]
			l := math.Hypot(b.X-a.X, b.Y-a.Y)
			if l == 0 {
				continue
			}
			nx, ny := -(b.Y-a.Y)/l*width/2, (b.X-a.X)/l*width/2
			r.polygon([]draw.Point{{X: a.X + nx, Y: a.Y + ny}, {X: a.X - nx, Y: a.Y - ny}, {X: b.X - nx, Y: b.Y - ny}, {X: b.X + nx, Y: b.Y + ny}})
		}
		for n, p := range ps {
			if inner := n > 0 && n < len(ps)-1; inner || round || d.closed {
				// Clockwise as the rectangles are: the rasteriser adds windings up.
				r.polygon(circle(p, width/2).points)
			}
		}
		r.paint(col)
	}
}

// raster is a rasteriser as large as what is painted, for speed.
type raster struct {
	c    *canvas
	v    *vector.Rasterizer
	area image.Rectangle
}

func (c *canvas) raster(ps []draw.Point, width float64) *raster {
	x1, y1, x2, y2 := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, p := range ps {
		x1, y1, x2, y2 = min(x1, p.X), min(y1, p.Y), max(x2, p.X), max(y2, p.Y)
	}
	pad := width + 1
	area := image.Rect(int((x1-pad)*c.scale), int((y1-pad)*c.scale), int((x2+pad)*c.scale)+1, int((y2+pad)*c.scale)+1).Intersect(c.img.Bounds())
	return &raster{c, vector.NewRasterizer(area.Dx(), area.Dy()), area}
}

func (r *raster) polygon(ps []draw.Point) {
	for n, p := range ps {
		x, y := float32(p.X*r.c.scale-float64(r.area.Min.X)), float32(p.Y*r.c.scale-float64(r.area.Min.Y))
		if n == 0 {
			r.v.MoveTo(x, y)
		} else {
			r.v.LineTo(x, y)
		}
	}
	r.v.ClosePath()
}

func (r *raster) paint(col color.Color) {
	if !r.area.Empty() {
		r.v.Draw(r.c.img, r.area, image.NewUniform(col), image.Point{})
	}
}
