package spec

import "strings"

// nearest finds the word that was likely meant: at most a third of it mistyped.
// "" when none is near.
func nearest(wrong string, words []string) string {
	best, bestDistance := "", 0
	wrong = strings.ToLower(clip(wrong))
	for _, w := range words {
		d := distance(wrong, w)
		if d <= max(1, min(3, len(w)/3)) && (best == "" || d < bestDistance) {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, substitutions and swaps of neighbours
// that make b of a (optimal string alignment).
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	prev, row := make([]int, len(rb)+1), make([]int, len(rb)+1)
	var prev2 []int
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(ra); i++ {
		prev2, prev, row = prev, row, make([]int, len(rb)+1)
		row[0] = i
		for j := 1; j <= len(rb); j++ {
			cost := 1
			if ra[i-1] == rb[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && ra[i-1] == rb[j-2] && ra[i-2] == rb[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
	}
	return row[len(rb)]
}
