package svg_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
)

// TestTools lets others read the SVG of a host with foreign names: an XML parser, and
// a renderer that is no browser.
func TestTools(t *testing.T) {
	for _, tool := range [][]string{{"xmllint", "--noout", "-"}, {"rsvg-convert", "-f", "png"}} {
		t.Run(tool[0], func(t *testing.T) {
			if _, err := exec.LookPath(tool[0]); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			for _, name := range []string{"eth0", `"];evil`, "<b>&amp;", "]]>", "a\nb", "\x00\x1b", "🦊", "\u202ex", "ＷＩＤＥ", "\xff"} {
				w := model.Wire(walkthrough.States()[6].Snapshot)
				w.Stacks[0].Name, w.Interfaces[0].Name = name, name
				cmd := exec.Command(tool[0], tool[1:]...)
				cmd.Stdin = bytes.NewReader(svg.Render(draw.Draw(draw.Options{}, draw.Frame{Title: name, Now: w}), svg.Options{}))
				cmd.Stderr = os.Stderr
				if out, err := cmd.Output(); err != nil || tool[0] == "rsvg-convert" && !bytes.HasPrefix(out, []byte("\x89PNG")) {
					t.Errorf("%q: %v", name, err)
				}
			}
		})
	}
}
