package draw_test

import (
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/model"
)

// Who sees to a link is above its name plate, and told in words; who was told to leave it
// alone is in parentheses.
func TestManagersAreDrawn(t *testing.T) {
	link := model.Link{Name: "eth0", Index: 2, Kind: model.Physical, Up: true, Carrier: true, Managers: []model.Manager{{Name: "NetworkManager", Acts: true}}}
	s := model.Snapshot{Host: "host", Namespaces: []model.Namespace{{Links: []model.Link{link}}}}
	for _, told := range []bool{false, true} {
		s.Here().Links[0].Managers[0].Told = told
		want := map[bool]string{false: "by NetworkManager", true: "by (NetworkManager)"}[told]
		w := model.Wire(s)
		f := draw.Frame{Title: "managed", Now: w}
		if got := draw.Describe(w); !strings.Contains(got, "managed "+want) { // what the text format says
			t.Errorf("described as %q", got)
		}
		for name, out := range map[string]string{"svg": string(svg.Render(draw.Draw(draw.Options{}, f), svg.Options{})), "terminal": term.Render(term.Options{}, f)[0]} {
			if !strings.Contains(strings.ReplaceAll(out, "&#40;", "("), want) {
				t.Errorf("%s lacks %q:\n%s", name, want, out)
			}
		}
	}
}

// What is wrong with a link is above its name plate, before everything else, and told in words.
func TestFindingsAreDrawn(t *testing.T) {
	link := model.Link{Name: "br0", Index: 2, Kind: model.Bridged, Up: true, MAC: "02:11:22:33:44:55"}
	w := model.Wire(model.Snapshot{Host: "host", Namespaces: []model.Namespace{{Links: []model.Link{link}}}})
	w.Interfaces[0].Findings = []string{"broken: bridge-stp", "risk: bridge-mac"}
	f := draw.Frame{Title: "found", Now: w}
	for name, out := range map[string]string{
		"words": draw.Describe(w), "svg": string(svg.Render(draw.Draw(draw.Options{}, f), svg.Options{})), "terminal": term.Render(term.Options{}, f)[0],
		"one without room": term.Render(term.Options{Width: 40}, f)[0],
	} {
		for _, found := range w.Interfaces[0].Findings {
			if !strings.Contains(out, found) {
				t.Errorf("%s lack %q:\n%s", name, found, out)
			}
		}
	}
}
