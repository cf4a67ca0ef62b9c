// Package story writes a plan as one self-contained page, a chapter about this very host:
// each step with its picture before and after, its reason, its commands, what it changes,
// and how it is undone by hand.
//
// In: a [Page], which [Tell] makes of a plan. Out: HTML without any external resource,
// that reads as a long page without scripts, and turns like a book with them. All of it
// comes from the plan and the model; nothing is written for one step only.
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
	// Before is what is there when nothing is to be done: no step tells it then.
	Before model.Snapshot
	Steps  []Step
	// Notes come after the last step.
	Notes []string
}

// Step is one step of a story.
type Step struct {
	Number int
	Title  string
	Why    string
	// Do and Undo are what a person would type; Undo holds once all later steps are
	// undone, and is empty where nothing needs it.
	Do, Undo      Commands
	Before, After model.Snapshot
}

// Commands are the same in today's tools (ip, bridge) and in the classic ones (brctl,
// tunctl, ifconfig, route).
type Commands struct{ Modern, Classic []string }

//go:embed page.html
var source string

//go:embed page.css
var css string

//go:embed page.js
var js string

var page = template.Must(template.New("page").Parse(source))

// view is the page as the template wants it.
type view struct {
	Page
	Style    template.CSS
	Script   template.JS
	Opening  template.HTML
	Ending   template.HTML
	Legend   template.HTML
	Short    []string // all that the plan changes
	Ways     Ways
	Sections []section
	// All and Back are the whole way there, and back.
	All, Back Commands
}

// section is a step as the template wants it.
type section struct {
	Step
	ID      string
	Picture template.HTML
	Width   float64 // of the picture
	Height  float64
	Changes []string
	// Still: nothing in the picture differs.
	Still bool
	// Misplaced: here is the first address that a port would keep.
	Misplaced bool
}

// HTML writes the page.
func HTML(p Page) ([]byte, error) {
	v := view{Page: p, Style: template.CSS(svg.Style(svg.Auto) + css), Script: template.JS(js)}
	scenes := draw.Scenes(draw.Options{}, Frames(p)...)
	last := len(scenes) - 1
	v.Opening, v.Ending = picture(scenes[0], "now-"), picture(scenes[last], "end-")
	v.Legend = picture(draw.Draw(draw.Options{}, legend()), "legend-")
	if n := len(p.Steps); n > 0 {
		v.Short = Words(model.Wire(p.Steps[0].Before), model.Wire(p.Steps[n-1].After))
		v.Ways = WaysOf(p)
	}
	told := false
	for n, st := range p.Steps {
		before, after := scenes[2*n], scenes[2*n+1]
		s := section{Step: st, ID: id(st), Width: after.Width, Height: after.Height, Changes: Changes(st.Before, st.After)}
		s.Picture = template.HTML(svg.RenderChange(before, after, svg.Options{Inline: true, IDPrefix: s.ID + "-"}))
		s.Still = !model.Compare(model.Wire(st.Before), model.Wire(st.After)).Changed()
		if !told && keepsMisplaced(st) {
			s.Misplaced, told = true, true
		}
		v.All = v.All.then(st.Do)
		v.Back = st.Undo.then(v.Back)
		v.Sections = append(v.Sections, s)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("story: %w", err)
	}
	return b.Bytes(), nil
}

func (c Commands) then(next Commands) Commands {
	return Commands{
		append(c.Modern[:len(c.Modern):len(c.Modern)], next.Modern...),
		append(c.Classic[:len(c.Classic):len(c.Classic)], next.Classic...),
	}
}

func id(s Step) string { return fmt.Sprintf("step-%d", s.Number) }

func picture(s *draw.Scene, prefix string) template.HTML {
	return template.HTML(svg.Render(s, svg.Options{Inline: true, IDPrefix: prefix}))
}

// Frames are the pictures of a page, all of one layout: for each step what is before it
// and what is after it, with its changes marked; in the end what is so then.
func Frames(p Page) []draw.Frame {
	if len(p.Steps) == 0 {
		return []draw.Frame{{Title: "The host as it is", Bare: true, Now: model.Wire(p.Before)}}
	}
	var fs []draw.Frame
	before := model.Wire(p.Steps[0].Before)
	title := "Before the first step"
	for _, s := range p.Steps {
		was, now := before, model.Wire(s.After)
		fs = append(fs,
			draw.Frame{Title: title, Bare: true, Now: was},
			draw.Frame{Title: fmt.Sprintf("%d · %s", s.Number, s.Title), Bare: true, Before: &was, Now: model.Compare(was, now)})
		before, title = now, fmt.Sprintf("After step %d", s.Number)
	}
	return append(fs, draw.Frame{Title: "After the last step", Bare: true, Now: before})
}

// legend is the picture that explains the pictures, made as they are.
func legend() draw.Frame {
	return draw.Frame{Title: "How to read the pictures", Bare: true, Legend: true, Now: model.Wire(model.Snapshot{
		Host: "a host", Namespaces: []model.Namespace{{Links: []model.Link{{Name: "eth0", Kind: model.Physical, Up: true}}}},
	})}
}
