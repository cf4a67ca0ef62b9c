package svg

import (
	"reflect"

	"drawbridge/internal/draw"
)

// Classes of what differs between the two scenes of a change.
const (
	was = "was"
	is  = "is"
)

// RenderChange writes two scenes of one layout as one picture: what is alike in both is
// there once, what differs is there as it was and as it is, in groups of class "was" and
// "is". Title and description are those of after; the page shows the one or the other.
func RenderChange(before, after *draw.Scene, o Options) []byte {
	w := newWriter(after, o)
	old, now := map[string]draw.Group{}, map[string]bool{}
	for _, g := range before.Groups {
		old[g.ID] = g
	}
	for _, g := range after.Groups {
		now[g.ID] = true
	}
	rest := before.Groups
	// gone writes what is gone in its old place in the order of painting: up to id, or
	// all that is left.
	gone := func(id string) {
		for len(rest) > 0 {
			g := rest[0]
			rest = rest[1:]
			if !now[g.ID] {
				w.group(g, was)
			}
			if g.ID == id {
				return
			}
		}
	}
	for _, g := range after.Groups {
		o, ok := old[g.ID]
		if ok {
			gone(g.ID)
		}
		switch {
		case !ok:
			w.group(g, is)
		case reflect.DeepEqual(o, g):
			w.group(g, "")
		default:
			w.group(o, was)
			w.group(g, is)
		}
	}
	gone("")
	return w.bytes()
}
