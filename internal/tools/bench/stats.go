package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// series are the measurements of one thing, in the order of the repetitions.
type series []float64

func (s series) sorted() series {
	out := slices.Clone(s)
	slices.Sort(out)
	return out
}

// median of an even number is the mean of the two in the middle; 0 of none.
func (s series) median() float64 {
	o := s.sorted()
	n := len(o)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return o[n/2]
	default:
		return (o[n/2-1] + o[n/2]) / 2
	}
}

// ratios divides pairwise: what disturbed one repetition disturbed both.
func ratios(a, b series) series {
	var out series
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

// spread writes "median [min–max]", "–" for none.
func (s series) spread(format func(float64) string) string {
	switch o := s.sorted(); len(o) {
	case 0:
		return "–"
	case 1:
		return format(o[0])
	default:
		if first, last := format(o[0]), format(o[len(o)-1]); first != last {
			return fmt.Sprintf("%s [%s–%s]", format(s.median()), first, last)
		}
		return format(o[0])
	}
}

func seconds(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.1f s", v)
	case v >= 1:
		return fmt.Sprintf("%.2f s", v)
	default:
		return fmt.Sprintf("%.1f ms", 1000*v)
	}
}

func times(v float64) string {
	if v < 0.095 {
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

func oneDecimal(v float64) string { return fmt.Sprintf("%.1f", v) }

// timed is how long fn took, in seconds.
func timed(fn func() error) (float64, error) {
	begin := time.Now()
	err := fn()
	return time.Since(begin).Seconds(), err
}

// table is a Markdown table.
type table struct {
	head []string
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	line(rule)
	for _, r := range t.rows {
		line(r)
	}
	return b.String()
}
