package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/dot"
	"drawbridge/internal/draw/drawio"
	"drawbridge/internal/draw/html"
	"drawbridge/internal/draw/mermaid"
	"drawbridge/internal/draw/png"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/draw/text"
	"drawbridge/internal/model"
)

// picture is what a format renders.
type picture struct {
	snap   model.Snapshot
	frame  draw.Frame // frame.Now is the wiring
	layout draw.Options
	theme  svg.Theme
	scale  float64
	width  int // of the terminal, 0 for none
	colour bool
}

// heading is the picture's title, the host's name where none is given.
func (p picture) heading() string {
	if p.frame.Title != "" {
		return p.frame.Title
	}
	return p.snap.Host
}

// scene is the picture laid out for a screen.
func (p picture) scene() *draw.Scene {
	p.frame.Title = p.heading()
	return draw.Draw(p.layout, p.frame)
}

// format is one way to write a picture.
type format struct {
	name string
	// legend: it can have the signs explained with it (--legend).
	legend bool
	// endings of files, without the dot; the first is the usual one.
	endings []string
	what    string
	render  func(picture) ([]byte, error)
}

// drawFormats are all formats: --format, -o FILE.ENDING, the help, the completion and
// docs/pictures.md have them from here. The first is for a terminal.
var drawFormats = []format{
	{"terminal", true, []string{"txt"}, "box drawing for a terminal; the default", func(p picture) ([]byte, error) { return terminal(p, false), nil }},
	{"ascii", true, nil, "the same in plain ASCII", func(p picture) ([]byte, error) { return terminal(p, true), nil }},
	{"text", true, []string{"text"}, "a description in sentences, for screen readers and bug reports", func(p picture) ([]byte, error) {
		out := text.Render(p.heading(), p.frame.Now)
		if p.frame.Key {
			out = append(out, text.Legend()...)
		}
		return out, nil
	}},
	{"svg", true, []string{"svg"}, "vector graphics, light and dark, printable", func(p picture) ([]byte, error) {
		return svg.Render(p.scene(), svg.Options{Theme: p.theme}), nil
	}},
	{"png", true, []string{"png"}, "pixels, of --theme and --scale", func(p picture) ([]byte, error) {
		return png.Render(p.scene(), png.Options{Theme: p.theme, Scale: p.scale})
	}},
	{"html", true, []string{"html", "htm"}, "one page to look around in: pan, zoom, search, details; works offline", func(p picture) ([]byte, error) {
		return html.Render(p.scene(), p.frame.Now, p.theme)
	}},
	{"mermaid", false, []string{"mmd", "mermaid"}, "a flowchart that GitHub and GitLab render", func(p picture) ([]byte, error) {
		return mermaid.Render(p.frame.Now), nil
	}},
	{"dot", false, []string{"dot", "gv"}, "a graph for Graphviz", func(p picture) ([]byte, error) {
		return dot.Render(p.heading(), p.frame.Now), nil
	}},
	{"drawio", true, []string{"drawio"}, "shapes to edit in draw.io: boxes with their interfaces, cables that stay connected", func(p picture) ([]byte, error) {
		return drawio.Render(p.scene(), p.frame.Now)
	}},
	{"json", false, []string{"json"}, "for other programs: the versioned wiring, and the snapshot it was made from", func(p picture) ([]byte, error) {
		return wiringJSON(p.frame.Now, p.snap)
	}},
}

func terminal(p picture, ascii bool) []byte {
	return []byte(term.Render(term.Options{ASCII: ascii, Expand: p.layout.Expand, Width: p.width, Color: p.colour}, p.frame)[0])
}

func formatNames() []string {
	var names []string
	for _, f := range drawFormats {
		names = append(names, f.name)
	}
	return names
}

// legendFormats are those that can have a legend.
func legendFormats() []string {
	var names []string
	for _, f := range drawFormats {
		if f.legend {
			names = append(names, f.name)
		}
	}
	return names
}

// formatHelp is the table of formats for the help text.
func formatHelp() string {
	var b strings.Builder
	for _, f := range drawFormats {
		ending := ""
		if len(f.endings) > 0 {
			ending = "." + strings.Join(f.endings, " .")
		}
		fmt.Fprintf(&b, "  %-9s %-13s %s\n", f.name, ending, f.what)
	}
	return b.String()
}

// findFormat finds a format by its name, else by the ending of a file, else the one
// for a terminal.
func findFormat(name, file string) (format, error) {
	ending := strings.ToLower(strings.TrimPrefix(filepath.Ext(file), "."))
	for _, f := range drawFormats {
		if name != "" && f.name == name || name == "" && slices.Contains(f.endings, ending) {
			return f, nil
		}
	}
	switch {
	case name != "":
		return format{}, fmt.Errorf("no picture format %q\n  hint: one of %s", name, strings.Join(formatNames(), ", "))
	case ending != "":
		return format{}, fmt.Errorf("%s: no picture format has the ending .%s\n  hint: --format with one of %s", file, ending, strings.Join(formatNames(), ", "))
	}
	return drawFormats[0], nil
}
