// Package story writes a plan as one self-contained page: each step with its picture,
// its reason, its commands, and what it changed.
//
// In: a [Page] of wirings and words. Out: HTML without any external resource, that
// reads as a long page without scripts, and turns like a book with them.
package story

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/model"
)

// Page is a story: a host, and what is done to it.
type Page struct {
	Title string
	// Host is the host's name, Intro a paragraph or two before the first step.
	Host  string
	Intro []string
	Steps []Step
	// Notes come after the last step.
	Notes []string
}

// Step is one step of a story.
type Step struct {
	Number int
	Title  string
	Why    string
	// Commands are those of today (ip, bridge), Classic the same with brctl, tunctl
	// and ifconfig. Either may be empty.
	Commands, Classic []string
	Before, After     model.Wiring
	// Changes tell what changed, in words; nil: told from the wirings.
	Changes []string
}

//go:embed page.html
var source string

//go:embed page.css
var css string

//go:embed page.js
var js string

var page = template.Must(template.New("page").Parse(source))

// section is a step as the template wants it.
type section struct {
	Step
	ID       string
	Picture  template.HTML
	Previous string // the id of the page before, "" for none
	Next     string
}

// HTML writes the page.
func HTML(p Page) ([]byte, error) {
	data := struct {
		Page
		Style    template.CSS
		Script   template.JS
		Opening  template.HTML
		Legend   template.HTML
		First    string
		Sections []section
	}{Page: p, Style: template.CSS(svg.Style(svg.Auto) + css), Script: template.JS(js)}

	scenes := draw.Scenes(draw.Options{}, frames(p)...)
	if len(p.Steps) > 0 {
		data.Opening = picture(scenes[0], "now-")
		data.First = id(p.Steps[0])
		data.Legend = picture(draw.Draw(draw.Options{}, legend()), "legend-")
	}
	for n, st := range p.Steps {
		if st.Changes == nil {
			st.Changes = Words(st.Before, st.After)
		}
		s := section{Step: st, ID: id(st), Previous: "now", Picture: picture(scenes[n+1], id(st)+"-")}
		if n > 0 {
			s.Previous = id(p.Steps[n-1])
		}
		if n+1 < len(p.Steps) {
			s.Next = id(p.Steps[n+1])
		}
		data.Sections = append(data.Sections, s)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("story: %w", err)
	}
	return b.Bytes(), nil
}

func id(s Step) string { return fmt.Sprintf("step-%d", s.Number) }

func picture(s *draw.Scene, prefix string) template.HTML {
	return template.HTML(svg.Render(s, svg.Options{Inline: true, IDPrefix: prefix}))
}

// frames are the state before everything, and then each step with its changes.
func frames(p Page) []draw.Frame {
	if len(p.Steps) == 0 {
		return []draw.Frame{{Title: p.Title}}
	}
	fs := []draw.Frame{{Title: "Before the first step", Bare: true, Now: p.Steps[0].Before}}
	for n := range p.Steps {
		s := &p.Steps[n]
		fs = append(fs, draw.Frame{
			Title: fmt.Sprintf("%d · %s", s.Number, s.Title), Bare: true, Before: &s.Before, Now: model.Compare(s.Before, s.After),
		})
	}
	return fs
}

// legend is the picture that explains the pictures, made as they are.
func legend() draw.Frame {
	return draw.Frame{Title: "How to read the pictures", Bare: true, Legend: true, Now: model.Wire(model.Snapshot{
		Host: "a host", Namespaces: []model.Namespace{{Links: []model.Link{{Name: "eth0", Kind: model.Physical, Up: true}}}},
	})}
}
