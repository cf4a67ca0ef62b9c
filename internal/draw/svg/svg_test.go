package svg_test

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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
		t.Errorf("%s differs from its golden; look at it, then run go test ./internal/draw/svg ./internal/draw/term -update", name)
	}
}

// TestThemes looks that a forced theme has no colours of the other one.
func TestThemes(t *testing.T) {
	legend, _ := walkthrough.Frames()
	s := draw.Draw(draw.Options{}, legend)
	auto, light, dark := string(svg.Render(s, svg.Options{})), string(svg.Render(s, svg.Options{Theme: svg.Light})), string(svg.Render(s, svg.Options{Theme: svg.Dark}))
	if !strings.Contains(auto, "prefers-color-scheme:dark") || !strings.Contains(auto, "@media print") {
		t.Error("a picture that suits the viewer has both themes, and prints light")
	}
	if strings.Contains(light, "prefers-color-scheme") || strings.Contains(dark, "prefers-color-scheme") || light == dark {
		t.Error("a forced theme asks the viewer")
	}
}

// TestContrast holds what is to be read against its background: WCAG 2.2 asks 4.5 : 1
// for text and 3 : 1 for graphics.
func TestContrast(t *testing.T) {
	for _, theme := range []svg.Theme{svg.Light, svg.Dark} {
		colour := map[string]float64{}
		for _, m := range regexp.MustCompile(`--(\w+):#([0-9a-f]{3,6})`).FindAllStringSubmatch(svg.Style(theme), -1) {
			colour[m[1]] = luminance(t, m[2])
		}
		for _, c := range []struct {
			front string
			least float64
		}{
			{"ink", 7}, {"soft", 4.5}, {"lan", 4.5}, {"add", 4.5}, {"del", 4.5}, {"mod", 4.5}, {"go", 4.5}, {"ret", 4.5},
			{"t0", 4.5}, {"t1", 4.5}, {"t2", 4.5}, {"t3", 4.5}, {"t4", 4.5}, {"t5", 4.5}, {"wire", 4.5}, {"vm", 3}, {"ns", 3},
		} {
			for _, back := range []string{"bg", "box", "stack"} {
				a, b := colour[c.front], colour[back]
				if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < c.least {
					t.Errorf("%s: %s on %s has a contrast of %.2f, less than %.1f", theme, c.front, back, ratio, c.least)
				}
			}
		}
	}
}

// luminance is the relative luminance of a colour as WCAG 2.2 defines it.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = strings.Repeat(hex[:1], 2) + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:], 2)
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	channel := func(v uint64) float64 {
		c := float64(v&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(n>>16) + 0.7152*channel(n>>8) + 0.0722*channel(n)
}
