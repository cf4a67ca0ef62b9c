package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/geometry"
	"drawbridge/internal/draw/term"
)

var update = flag.Bool("update", false, "draw the gallery anew")

const dir = "../../../docs/gallery"

// TestGallery holds that the pictures are made anew byte for byte, and that each has the
// bundle and the script that it comes from.
func TestGallery(t *testing.T) {
	files, err := render(dir)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := run(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range files {
		old, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(old, data) {
			t.Errorf("%s differs from its golden: look at it, then 'make gallery'", name)
		}
	}
	for _, h := range hosts {
		if script := filepath.Join(dir, "capture/hosts", h.bundleName()+".sh"); h.source == "" {
			if _, err := os.Stat(script); err != nil {
				t.Errorf("%s: where does its bundle come from? %v", h.name, err)
			}
		}
	}
	for _, pattern := range []string{"*.svg", "*.png"} {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, p := range paths {
			if files[filepath.Base(p)] == nil {
				t.Errorf("%s is a picture of nothing", p)
			}
		}
	}
}

// TestNoFlaws measures on every host, as it is and with all groups open, that labels do
// not touch each other, plates, ends, lines or the sides of boxes.
func TestNoFlaws(t *testing.T) {
	frames, err := steps(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(draw.Scenes(draw.Options{}, frames[1:]...), draw.Draw(draw.Options{}, frames[0])) {
		for _, flaw := range geometry.Flaws(s) {
			t.Errorf("%s: %s", s.Title, flaw)
		}
	}
	for _, m := range modes {
		list, err := m.pictures(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			for _, flaw := range geometry.Flaws(p.scene) {
				t.Errorf("%s: %s", p.name, flaw)
			}
		}
	}
	for _, h := range hosts {
		f, err := h.frame(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []draw.Options{h.options(), {Expand: []string{"all"}}, {MaxWidth: 1000}, {FoldFrom: 4}} {
			for _, flaw := range geometry.Flaws(draw.Draw(o, f)) {
				t.Errorf("%s, %+v: %s", h.name, o, flaw)
			}
		}
	}
}

// TestTerminal looks that at 80 and at 200 columns there is a picture, no outline, no wider
// than the terminal, and that no label is cut off or written over.
func TestTerminal(t *testing.T) {
	for _, h := range hosts {
		f, err := h.frame(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, width := range []int{80, 200} {
			text := term.Render(term.Options{Width: width, Expand: h.expand}, f)[0]
			if !strings.Contains(text, "╭─") {
				t.Errorf("%s: an outline at %d columns", h.name, width)
			}
			for line := range strings.Lines(text) {
				if n := draw.CellWidth(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("%s: %d columns of %d: %s", h.name, n, width, line)
				}
			}
			for _, lost := range term.Lost(term.Options{Width: width, Expand: h.expand}, f) {
				t.Errorf("%s, %d columns: %q is cut off", h.name, width, lost)
			}
		}
	}
}
