// Command gallery draws docs/gallery: for each bundle an SVG and a PNG, and the page that
// shows them all.
//
// In: the folder, with its bundles. Out: the same bytes every time, which a test holds.
// How the bundles are captured is in docs/gallery/capture.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/png"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/iproute"
	"drawbridge/internal/model"
)

func main() {
	dir := flag.String("dir", "docs/gallery", "the `folder` with the bundles")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "gallery:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	files, err := render(dir)
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render makes all files of the gallery, by their names.
func render(dir string) (map[string][]byte, error) {
	files := map[string][]byte{"README.md": page()}
	add := func(name string, s *draw.Scene) (err error) {
		files[name+".svg"] = svg.Render(s, svg.Options{})
		files[name+".png"], err = png.Render(s, png.Options{Scale: 1})
		return err
	}
	frames, err := steps(dir)
	if err != nil {
		return nil, err
	}
	scenes := append([]*draw.Scene{draw.Draw(draw.Options{}, frames[0])}, draw.Scenes(draw.Options{}, frames[1:]...)...)
	for n, s := range walkthrough.States() {
		if err := add(s.Name, scenes[n]); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for _, m := range modes {
		list, err := m.pictures(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		for _, p := range list {
			if err := add(p.name, p.scene); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for _, h := range hosts {
		f, err := h.frame(dir)
		if err != nil {
			return nil, err
		}
		if err := add(h.name, draw.Draw(h.options(), f)); err != nil {
			return nil, fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return files, nil
}

// steps are the frames of the walkthrough: the legend, and six states of one host, which
// follow each other.
func steps(dir string) ([]draw.Frame, error) {
	var frames []draw.Frame
	var before *model.Wiring
	for n, state := range walkthrough.States() {
		s, err := load(filepath.Join(dir, "bundles", fmt.Sprintf("walkthrough-%d.json", max(n, 1))))
		if err != nil {
			return nil, err
		}
		f := draw.Frame{Title: state.Title, Subtitle: state.Subtitle, Now: model.Wire(s), Legend: state.Legend}
		if !state.Legend {
			now := f.Now
			if before != nil {
				f.Before, f.Now = before, model.Compare(*before, now)
			}
			before = &now
		}
		frames = append(frames, f)
	}
	return frames, nil
}

func (h host) options() draw.Options { return draw.Options{Expand: h.expand} }

// frame reads the host's bundle.
func (h host) frame(dir string) (draw.Frame, error) {
	s, err := h.snapshot(dir)
	if err != nil {
		return draw.Frame{}, fmt.Errorf("%s: %w", h.name, err)
	}
	w := model.Wire(s)
	if h.focus != "" {
		if w, err = draw.Focus(w, h.focus); err != nil {
			return draw.Frame{}, fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return draw.Frame{Title: h.title, Subtitle: h.text, Now: w}, nil
}

func (h host) snapshot(dir string) (model.Snapshot, error) {
	path, err := h.path(dir)
	if err != nil {
		return model.Snapshot{}, err
	}
	return load(path)
}

func load(path string) (model.Snapshot, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return model.Snapshot{}, err
	}
	list, err := iproute.Unpack(filepath.Base(path), data)
	if err != nil {
		return model.Snapshot{}, err
	}
	s, _, err := iproute.Load(list...)
	return s, err
}

// path is that of the bundle: there is one, a text or a saved picture, packed or not.
func (h host) path(dir string) (string, error) {
	for _, ending := range []string{".txt", ".txt.gz", ".json", ".json.gz"} {
		path := filepath.Join(dir, "bundles", h.bundleName()+ending)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("bundles/%s.*: %w", h.bundleName(), os.ErrNotExist)
}

func (h host) bundleName() string {
	if h.bundle != "" {
		return h.bundle
	}
	return h.name
}

// page is README.md.
func page() []byte {
	var b bytes.Buffer
	b.WriteString(`# Gallery

Real hosts, drawn by ` + "`make gallery`" + ` from the bundles in [bundles](bundles): nothing here is drawn by hand, and
nothing is invented. A bundle is what the collector of ` + "`drawbridge draw --print-collector`" + ` printed on the host, or
what ` + "`drawbridge draw --all-namespaces --format json`" + ` saved there where containers are to be seen. To draw one:

    drawbridge draw --from docs/gallery/bundles/router.txt

The pictures are SVG, light or dark as you prefer; beside each is a PNG of the same name.

`)
	fmt.Fprintf(&b, "- [%s](#%s)\n", theSteps, anchor(theSteps))
	fmt.Fprintf(&b, "- [%s](#%s)\n", theModes, anchor(theModes))
	for _, h := range hosts {
		fmt.Fprintf(&b, "- [%s](#%s)\n", h.title, anchor(h.title))
	}
	fmt.Fprintf(&b, "\n## %s\n\n*Captured in a lab, a host in namespaces with a User-Mode Linux as its VM, by [capture/walkthrough.sh](capture/walkthrough.sh).*\n", theSteps)
	for _, s := range walkthrough.States() {
		fmt.Fprintf(&b, "\n![%s](%s.svg)\n", s.Title, s.Name)
	}
	fmt.Fprintf(&b, "\n## %s\n\n*Captured in a lab as well, by [capture/modes.sh](capture/modes.sh); the packets are traced through what was captured.*\n", theModes)
	for _, m := range modes {
		fmt.Fprintf(&b, "\n### %s\n", m.title)
		texts := m.steps[:]
		for _, p := range m.packets {
			texts = append(texts, p.text)
		}
		for n, text := range texts {
			fmt.Fprintf(&b, "\n%s\n\n![%s](mode-%s-%d.svg)\n", text, text, m.name, n+1)
		}
	}
	for _, h := range hosts {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n![%s](%s.svg)\n\n", h.title, h.text, h.title, h.name)
		fmt.Fprintf(&b, "*Captured %s.*\n", h.from())
	}
	return b.Bytes()
}

// theSteps is the heading of the walkthrough.
const theSteps = "A VM becomes a host of the LAN, in seven states"

// theModes is that of the modes.
const theModes = "Every way to connect, step by step"

func (h host) from() string {
	if h.source != "" {
		return h.source
	}
	return fmt.Sprintf(built, h.bundleName())
}

// anchor is what GitHub calls a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
			return r
		}
		return -1
	}, strings.ToLower(title))
}
