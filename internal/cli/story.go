package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/story"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"

	"github.com/spf13/cobra"
)

type storyOptions struct {
	file   string
	uplink string
	output string
}

func newStoryCommand(a *app) *cobra.Command {
	var o storyOptions
	cmd := &cobra.Command{
		Use:   "story [FILE] -o DIR|FILE.html",
		Short: "The plan as an illustrated page of this host",
		Long: `Write the plan as one self-contained page about this very host: each step with its
reason, its commands in today's and in the classic tools, its picture, and what
changed. Into a folder it writes index.html and each picture as an SVG of its own.
Nothing is changed on the host.

Exit codes: 0 written; 1 this host is not ready for the plan; 2 bad usage or a bad file.`,
		Example: `  drawbridge story -o story.html
  drawbridge story lab.yaml -o story/`,
		Args: fileArgument(&o.file),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.story(cmd.Context(), o) },
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write to `DIR|FILE.html`")
	cmd.Flags().StringVar(&o.uplink, "uplink", "", "use the interface `IF` as the uplink of every bridged network")
	return cmd
}

func (a *app) story(ctx context.Context, o storyOptions) error {
	if o.output == "" {
		return withCode(exitUsage, fmt.Errorf("where to?\n  hint: -o story.html, or -o DIR for a page and its pictures"))
	}
	want, err := a.readFile(o.file, o.uplink)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	p, err := s.plan(ctx, want)
	if err != nil {
		return err
	}
	page, err := storyOf(p)
	if err != nil {
		return err
	}
	html, err := story.HTML(page)
	if err != nil {
		return err
	}
	if strings.HasSuffix(o.output, ".html") {
		return writeFile(o.output, html)
	}
	if err := os.MkdirAll(o.output, 0o755); err != nil {
		return err
	}
	if err := writePictures(o.output, page); err != nil {
		return err
	}
	return writeFile(filepath.Join(o.output, "index.html"), html)
}

// storyOf tells a plan as a page.
func storyOf(p plan.Plan) (story.Page, error) {
	states, err := p.States()
	if err != nil {
		return story.Page{}, err
	}
	page := story.Page{
		Title: "How " + p.Before.Host + " gets its virtual machines onto the LAN",
		Host:  p.Before.Host,
		Intro: []string{
			"Every picture on this page is drawn from one idea: an interface has two ends. Its host end is plugged into a stack, which owns addresses and routes; its wire end is plugged into an Ethernet, or dangles.",
			"Enslaving an interface to a bridge moves its host end out of the stack into the bridge's Ethernet. All the rest follows from that.",
		},
		Notes: p.Notes,
	}
	before := model.Wire(states[0])
	for i, st := range p.Steps {
		after := model.Wire(states[i+1])
		page.Steps = append(page.Steps, story.Step{Number: i + 1, Title: st.Title, Why: st.Why,
			Commands: st.Commands(plan.Modern), Classic: st.Commands(plan.Classic), Before: before, After: after})
		before = after
	}
	return page, nil
}

// writePictures writes each step's picture as a file of its own, all in one layout.
func writePictures(dir string, page story.Page) error {
	var frames []draw.Frame
	for i := range page.Steps {
		st := &page.Steps[i]
		frames = append(frames, draw.Frame{Title: fmt.Sprintf("%d · %s", st.Number, st.Title), Subtitle: st.Why,
			Now: model.Compare(st.Before, st.After), Before: &st.Before})
	}
	for i, scene := range draw.Scenes(draw.Options{}, frames...) {
		name := fmt.Sprintf("step-%02d.svg", i+1)
		if err := writeFile(filepath.Join(dir, name), svg.Render(scene, svg.Options{})); err != nil {
			return err
		}
	}
	return nil
}
