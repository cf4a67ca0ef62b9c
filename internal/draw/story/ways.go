package story

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// Ways is the table of where each address lives, from the first state to the last.
type Ways struct {
	// Head says to which steps each column belongs: "before", "step 5", "steps 6–9".
	Head []string
	Rows []Way
}

// Way is one address and where it lives.
type Way struct {
	Address string
	Cells   []string // by column; "" for nowhere
}

// WaysOf follows the addresses through a page; empty where none moves.
func WaysOf(p Page) Ways {
	states := []model.Wiring{model.Wire(p.Steps[0].Before)}
	for _, s := range p.Steps {
		states = append(states, model.Wire(s.After))
	}
	var order []home
	cells := map[home][]string{} // by state
	for n, w := range states {
		list, at := homes(w)
		for _, h := range list {
			if cells[h] == nil {
				order = append(order, h)
				cells[h] = make([]string, len(states))
			}
			cells[h][n] = whereabouts(at[h], &states[n])
		}
	}
	order = slices.DeleteFunc(order, func(h home) bool {
		return !slices.ContainsFunc(cells[h], func(c string) bool { return c != cells[h][0] })
	})
	var w Ways
	var from []int // the first state of each column
	for n := range states {
		if n == 0 || slices.ContainsFunc(order, func(h home) bool { return cells[h][n] != cells[h][n-1] }) {
			from = append(from, n)
		}
	}
	if len(order) == 0 {
		return w
	}
	for k, n := range from {
		last := len(states) - 1
		if k+1 < len(from) {
			last = from[k+1] - 1
		}
		w.Head = append(w.Head, column(n, last, len(states)-1))
	}
	for _, h := range order {
		way := Way{Address: h.address.String()}
		for _, n := range from {
			way.Cells = append(way.Cells, cells[h][n])
		}
		w.Rows = append(w.Rows, way)
	}
	return w
}

func column(first, last, end int) string {
	switch {
	case first == 0 && last == 0:
		return "before"
	case first == 0:
		return fmt.Sprintf("until step %d", last)
	case last == end:
		return fmt.Sprintf("from step %d on", first)
	case first == last:
		return fmt.Sprintf("step %d", first)
	default:
		return fmt.Sprintf("steps %d–%d", first, last)
	}
}

func whereabouts(list []spot, w *model.Wiring) string {
	var words []string
	for _, s := range list {
		name := names([]spot{s}, w)
		if s.status == misplaced {
			name += " (misplaced)"
		}
		words = append(words, name)
	}
	return and(words)
}
