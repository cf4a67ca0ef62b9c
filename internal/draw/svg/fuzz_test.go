package svg_test

import (
	"regexp"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/model"
	"drawbridge/internal/testwiring"
)

// FuzzNames looks that no name adds an element to the SVG, or an attribute.
func FuzzNames(f *testing.F) {
	for _, name := range testwiring.HostileNames {
		f.Add(name)
	}
	// The text between the tags, and what is in quotes, is not mark-up.
	quoted := regexp.MustCompile(`"[^"]*"`)
	tags := regexp.MustCompile(`<[^>]*>`)
	skeleton := func(name string) string {
		w := model.Wiring{Interfaces: []model.Interface{{ID: "host/" + name, Name: name}}}
		s := &draw.Scene{Width: 100, Height: 50, Title: name, Desc: draw.Describe(w), Groups: []draw.Group{
			{ID: "interface:" + name, Title: name, Parts: []draw.Part{draw.Label{Text: name, Style: draw.PlateText}}},
		}}
		before := *s
		before.Groups = nil
		text := string(svg.Render(s, svg.Options{})) + string(svg.RenderChange(&before, s, svg.Options{Inline: true, IDPrefix: "a-"}))
		return strings.Join(tags.FindAllString(quoted.ReplaceAllString(text, `""`), -1), "")
	}
	want := skeleton("name")
	f.Fuzz(func(t *testing.T, name string) {
		if got := skeleton("n" + name); got != want { // no title, no element for it
			t.Errorf("%q changed the mark-up:\n%s", name, got)
		}
	})
}
