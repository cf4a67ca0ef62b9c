package term_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
		t.Errorf("%s differs from its golden; look at it, then run go test ./internal/draw/svg ./internal/draw/term -update\n%s", name, got)
	}
}

// TestColor looks that colours are escape sequences around the very same text.
func TestColor(t *testing.T) {
	_, steps := walkthrough.Frames()
	plain, coloured := term.Render(term.Options{}, steps...), term.Render(term.Options{Color: true}, steps...)
	sgr := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for i := range plain {
		if strings.Contains(plain[i], "\x1b") {
			t.Error("an escape sequence without colour")
		}
		if !sgr.MatchString(coloured[i]) || sgr.ReplaceAllString(coloured[i], "") != plain[i] {
			t.Errorf("frame %d is another text in colour", i)
		}
		for _, line := range strings.Split(coloured[i], "\n") {
			if all := sgr.FindAllString(line, -1); len(all) > 0 && all[len(all)-1] != "\x1b[0m" {
				t.Errorf("a line leaves its colour on: %q", line)
			}
		}
	}
}
