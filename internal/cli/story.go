package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/story"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/model"

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
		Long: `Write the plan as one self-contained page about this very host: a chapter of which each
step has its picture before and after, its reason, its commands in today's and in the
classic tools, what becomes of the addresses and routes, and how to undo it by hand.
It works offline, turns with the arrow keys, prints, and has an address for each step
(story.html#step-3). Into a folder it writes index.html and each picture as an SVG of
its own, step-00.svg what is before the first step. Nothing is changed on the host.

Exit codes: 0 written; 1 this host is not ready for the plan, or the page cannot be
written; 2 bad usage or a bad file.`,
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
	if err := o.check(); err != nil {
		return withCode(exitUsage, err)
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
	p, err := s.plan(ctx, want, looks{})
	if err != nil {
		return err
	}
	page, err := story.Tell(p)
	if err != nil {
		return err
	}
	html, err := story.HTML(page)
	if err != nil {
		return err
	}
	if o.isPage() {
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

func (o storyOptions) isPage() bool {
	return slices.Contains([]string{".html", ".htm"}, strings.ToLower(filepath.Ext(o.output)))
}

// check refuses what is no folder and no page, before it makes a folder "story.pdf".
func (o storyOptions) check() error {
	const hint = "\n  hint: -o story.html, or -o DIR for a page and its pictures"
	if o.output == "" {
		return errors.New("where to?" + hint)
	}
	if o.isPage() {
		return nil
	}
	info, err := os.Stat(o.output)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is there, and no folder%s", o.output, hint)
	case err == nil:
		return nil
	}
	ending := strings.ToLower(filepath.Ext(o.output))
	if _, err := findFormat("", o.output); ending == ".pdf" || ending != "" && err == nil {
		return fmt.Errorf("a story is no %s%s; a browser prints the page, 'drawbridge draw' writes single pictures", ending, hint)
	}
	return nil
}

// writePictures writes the pictures as files of their own, all in one layout: step-00.svg
// is what is before the first step, step-01.svg what the first step makes of it.
func writePictures(dir string, page story.Page) error {
	frames := []draw.Frame{{Title: "Before the first step", Now: model.Wire(page.Before)}}
	was := &frames[0].Now
	for _, st := range page.Steps {
		now := model.Wire(st.After)
		frames = append(frames, draw.Frame{Title: fmt.Sprintf("%d · %s", st.Number, st.Title), Subtitle: st.Why, Before: was, Now: model.Compare(*was, now)})
		was = &now
	}
	for i, scene := range draw.Scenes(draw.Options{}, frames...) {
		name := fmt.Sprintf("step-%02d.svg", i)
		if err := writeFile(filepath.Join(dir, name), svg.Render(scene, svg.Options{})); err != nil {
			return err
		}
	}
	return nil
}
