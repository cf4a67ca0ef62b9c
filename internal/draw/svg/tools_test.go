package svg_test

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/testwiring"
)

// need gives up without a tool: skipped by hand, failed in CI.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// TestXMLLint lets an XML parser read the picture of every wiring.
func TestXMLLint(t *testing.T) {
	need(t, "xmllint")
	dir, args := t.TempDir(), []string{"--noout", "--nonet"}
	for n, c := range testwiring.Cases(100) {
		file := filepath.Join(dir, fmt.Sprintf("%03d.svg", n))
		if err := os.WriteFile(file, picture(c), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command("xmllint", args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestRSVG lets a renderer that is no browser draw them, in colours: it knows no custom
// properties, and drew all of it black.
func TestRSVG(t *testing.T) {
	need(t, "rsvg-convert")
	for _, c := range testwiring.Cases(5) {
		cmd := exec.Command("rsvg-convert", "-f", "png")
		var said bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(picture(c)), &said
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v: %s", c.Name, err, said.String())
			continue
		}
		img, err := png.Decode(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		colours := map[color.Color]bool{}
		for y := 0; y < img.Bounds().Dy(); y += 3 {
			for x := 0; x < img.Bounds().Dx(); x += 5 {
				colours[img.At(x, y)] = true
			}
		}
		if r, g, b, _ := img.At(2, 2).RGBA(); r>>8 != 0xfb || g>>8 != 0xfa || b>>8 != 0xf7 || len(colours) < 12 {
			t.Errorf("%s: %d colours, and %v in the corner", c.Name, len(colours), img.At(2, 2))
		}
	}
}

func picture(c testwiring.Case) []byte {
	return svg.Render(draw.Draw(draw.Options{}, draw.Frame{Title: c.Name, Now: c.Wiring}), svg.Options{})
}
