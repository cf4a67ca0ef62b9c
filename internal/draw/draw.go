// Package draw turns wirings into pictures that are pure geometry.
//
// In: one [Frame] for each step, each with a model.Wiring whose members carry the
// change marks of model.Compare. Out: one [Scene] for each frame, made of boxes,
// lines, ends and labels with a style, which the renderers (svg, term) paint
// without deciding anything. The layout is computed once for the union of all
// frames: whatever is in two of them stands at the same place in both.
//
// It imports the standard library, model and trace only: no I/O, no clock, no environment.
package draw

import (
	"drawbridge/internal/model"
	"drawbridge/internal/trace"
)

// Frame is what one picture shows.
type Frame struct {
	// Title is one line, Subtitle a sentence or two; both may be "".
	Title, Subtitle string
	// Bare keeps title and subtitle out of the picture; Scene.Title has the first.
	Bare bool
	// Now is the wiring to draw. Members marked Removed are drawn as gone.
	Now model.Wiring
	// Before is the wiring of the step before, nil for none: where an interface's
	// host end was in something else then, a ghost shows where.
	Before *model.Wiring
	// Key has the signs of the [Vocabulary] below the picture. Legend explains the two
	// ends on the first interface as well.
	Key, Legend bool
	// Trace is painted along the wires, and told below the picture; nil for none. A terminal's
	// picture leaves it out: lines of one cell have no room beside them.
	Trace *trace.Trace
}

// Options say how to lay out; the zero value is the default for a screen.
type Options struct {
	// Metrics are those of the medium, nil for [Pixels].
	Metrics *Metrics
	// MaxWidth is the width in the metrics' unit from which on boxes go to a next
	// row, 0 for the medium's default.
	MaxWidth float64
	// FoldFrom is the number of ports of a kind from which on they are drawn as one
	// counted group, 0 for 12.
	FoldFrom int
	// Expand names bridges whose groups are opened, or "all".
	Expand []string
	// Detail says how much of the small print is drawn.
	Detail Detail
}

// Detail is how much small print a picture has.
type Detail int

// From all of it to names and addresses alone.
const (
	Full   Detail = iota // MAC, MTU, owner, state
	Medium               // without MACs
	Little               // names, addresses, and what is out of the ordinary
)

// Scenes draws frames with one common layout, one scene for each.
func Scenes(o Options, frames ...Frame) []*Scene {
	o = o.withDefaults()
	return layout(o, fold(o, frames)).scenes()
}

// Fit draws frames by the first options whose layout fits, in width and in rows of boxes;
// nil if none does. All of them have the same Expand.
func Fit(tries []Options, fits func(try int, width float64, rows int) bool, frames ...Frame) []*Scene {
	var views []view
	folded := 0
	for n, o := range tries {
		o = o.withDefaults()
		if folded != o.FoldFrom {
			views, folded = fold(o, frames), o.FoldFrom
		}
		if g := layout(o, views); fits(n, g.width, len(g.rows)) {
			return g.scenes()
		}
	}
	return nil
}

func layout(o Options, views []view) *graph {
	g := collect(o, views)
	g.assignLevels()
	g.orderColumns()
	g.assignRows()
	g.placeColumns()
	g.placeRows()
	return g
}

func (g *graph) scenes() []*Scene {
	scenes := make([]*Scene, len(g.views))
	for i := range g.views {
		scenes[i] = g.scene(&g.views[i])
	}
	return scenes
}

// Draw draws one frame.
func Draw(o Options, f Frame) *Scene { return Scenes(o, f)[0] }

func (o Options) withDefaults() Options {
	if o.Metrics == nil {
		o.Metrics = Pixels()
	}
	if o.MaxWidth == 0 {
		o.MaxWidth = o.Metrics.MaxWidth
	}
	if o.FoldFrom == 0 {
		o.FoldFrom = 12
	}
	return o
}
