package term_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"drawbridge/internal/draw/term"
	"drawbridge/internal/draw/walkthrough"
)

var update = flag.Bool("update", false, "write the goldens anew")

// TestWalkthrough compares the seven states with the goldens in ../testdata, at 80
// columns.
func TestWalkthrough(t *testing.T) {
	for ending, o := range map[string]term.Options{".txt": {}, ".ascii.txt": {ASCII: true}} {
		legend, steps := walkthrough.Frames()
		texts := append(term.Render(o, legend), term.Render(o, steps...)...)
		for i, s := range walkthrough.States() {
			golden(t, s.Name+ending, texts[i])
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("..", "testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs from its golden; look at it, then run go test ./internal/draw/... -update\n%s", name, got)
	}
}
