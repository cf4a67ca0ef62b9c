package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/model"

	"github.com/spf13/cobra"
)

// drawFormats are the formats of a picture, the first one for a terminal.
var drawFormats = []string{"text", "ascii", "svg", "json"}

type drawOptions struct {
	output   string
	format   string
	all      bool
	expand   []string
	title    string
	subtitle string
	theme    string
}

func newDrawCommand(a *app) *cobra.Command {
	var o drawOptions
	cmd := &cobra.Command{
		Use:   "draw",
		Short: "The live host as a picture",
		Long: `Draw how this host is wired now: its stacks, its Ethernets, and each interface with
its two ends. Without -o the picture goes to the terminal. Nothing is changed, and no
rights are needed; without root the processes of others that hold taps stay unknown.

Formats: text and ascii for a terminal, svg, and json for other programs (the wiring
with its version, and the snapshot that it was made from).

Exit codes: 0 drawn; 1 failed; 2 bad usage.`,
		Example: `  drawbridge draw
  drawbridge draw -o host.svg
  drawbridge draw --all-namespaces --format ascii
  drawbridge draw --format json | jq '.interfaces[] | select(.wire_end.in == "nothing").name'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.draw(cmd.Context(), o) },
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write the picture to `FILE`; its ending tells the format")
	cmd.Flags().StringVar(&o.format, "format", "", "one of "+strings.Join(drawFormats, ", "))
	cmd.Flags().BoolVar(&o.all, "all-namespaces", false, "draw every network namespace of /run/netns as well")
	cmd.Flags().StringSliceVar(&o.expand, "expand", nil, "draw every port of the bridge `NAME`, or of all, however many")
	cmd.Flags().StringVar(&o.title, "title", "", "`TEXT` above the picture")
	cmd.Flags().StringVar(&o.subtitle, "subtitle", "", "`TEXT` below the title")
	cmd.Flags().StringVar(&o.theme, "theme", "", "light or dark for an svg; without it, what its viewer prefers")
	return cmd
}

// formatOf chooses the format: as told, else by the file's ending, else for a terminal.
func (o drawOptions) formatOf() (string, error) {
	format := o.format
	if format == "" {
		format = strings.TrimPrefix(filepath.Ext(o.output), ".")
		switch format {
		case "", "txt":
			format = "text"
		}
	}
	if !slices.Contains(drawFormats, format) {
		return "", withCode(exitUsage, fmt.Errorf("no picture format %q\n  hint: one of %s", format, strings.Join(drawFormats, ", ")))
	}
	if o.theme != "" && o.theme != string(svg.Light) && o.theme != string(svg.Dark) {
		return "", withCode(exitUsage, fmt.Errorf("no theme %q\n  hint: light or dark", o.theme))
	}
	return format, nil
}

func (a *app) draw(ctx context.Context, o drawOptions) error {
	format, err := o.formatOf()
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	snap, err := s.snapshot(ctx, o.all)
	if err != nil {
		return err
	}
	data, err := a.render(snap, format, o)
	if err != nil {
		return err
	}
	if o.output != "" {
		return writeFile(o.output, data)
	}
	_, err = a.out.Write(data)
	return err
}

func (a *app) render(snap model.Snapshot, format string, o drawOptions) ([]byte, error) {
	w := model.Wire(snap)
	frame := draw.Frame{Title: o.title, Subtitle: o.subtitle, Now: w}
	switch format {
	case "json":
		return wiringJSON(w, snap)
	case "svg":
		if frame.Title == "" {
			frame.Title = snap.Host
		}
		return svg.Render(draw.Draw(draw.Options{Expand: o.expand}, frame), svg.Options{Theme: svg.Theme(o.theme)}), nil
	default:
		to := term.Options{ASCII: format == "ascii", Expand: o.expand}
		if o.output == "" {
			to.Width, to.Color = width(a.out), wantsColour(a.out)
		}
		return []byte(term.Render(to, frame)[0]), nil
	}
}

// wiringJSON is the wiring for other programs, with the snapshot that it was made from.
func wiringJSON(w model.Wiring, snap model.Snapshot) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		model.Wiring
		Snapshot model.Snapshot `json:"snapshot"`
	}{w, snap})
	return buf.Bytes(), err
}

// writeFile replaces a file as a whole: a picture that fails half-way leaves the old one.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
