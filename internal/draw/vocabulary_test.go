package draw_test

import (
	"slices"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/geometry"
)

// The key stands below every picture, with each sign that has a word, in pixels and in
// cells; nothing of it overlaps, and nothing above it moves.
func TestKey(t *testing.T) {
	for name, f := range cases() {
		plain := draw.Draw(draw.Options{}, f)
		f.Key = true
		s := draw.Draw(draw.Options{}, f)
		for _, flaw := range geometry.Flaws(s) {
			t.Errorf("%s: %s", name, flaw)
		}
		for _, m := range moved(plain, s) {
			t.Errorf("%s: with the key %s", name, m)
		}
		words := keyWords(s)
		for _, sign := range draw.Vocabulary {
			if sign.Word != "" && !slices.Contains(words, sign.Word) {
				t.Errorf("%s: the key lacks %q", name, sign.Word)
			}
		}
		if words := keyWords(draw.Draw(draw.Options{Metrics: draw.Cells()}, f)); !slices.Contains(words, "virtual LAN of a bridge") || slices.Contains(words, "host") {
			t.Errorf("%s: in a terminal the key has %q", name, words)
		}
	}
}

func keyWords(s *draw.Scene) []string {
	var words []string
	for _, g := range s.Groups {
		for _, p := range g.Parts {
			if l, ok := p.(draw.Label); ok && g.ID == "key" {
				words = append(words, l.Text)
			}
		}
	}
	return words
}

func TestVocabularyIsWhole(t *testing.T) {
	for _, s := range draw.Vocabulary {
		if s.Looks == "" || s.Means == "" {
			t.Errorf("%+v", s)
		}
	}
}
