package svg_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/walkthrough"
)

var update = flag.Bool("update", false, "write the goldens anew")

// TestWalkthrough compares the seven states with the goldens in ../testdata.
func TestWalkthrough(t *testing.T) {
	legend, steps := walkthrough.Frames()
	scenes := append([]*draw.Scene{draw.Draw(draw.Options{}, legend)}, draw.Scenes(draw.Options{}, steps...)...)
	for i, s := range walkthrough.States() {
		golden(t, s.Name+".svg", svg.Render(scenes[i], svg.Options{}))
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("..", "testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs from its golden; look at it, then run go test ./internal/draw/... -update", name)
	}
}
