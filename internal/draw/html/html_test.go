package html_test

import (
	"regexp"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/html"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
)

var tags = regexp.MustCompile(`<[a-zA-Z/!][a-zA-Z]*`)

// FuzzName looks that no name adds a tag to the page or ends its script.
func FuzzName(f *testing.F) {
	for _, s := range []string{"eth0", "</script><script>alert(1)</script>", `"onload="x`, "]]>", "<!--", "a\nb", "${x}", "`", "\\", "javascript:x", "🦊", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, want := page(t, "n"+name), page(t, "eth0"); got != want { // no name, no tooltip
			t.Errorf("%q changed the page's tags:\n%s\n%s", name, got, want)
		}
	})
}

func page(t *testing.T, name string) string {
	t.Helper()
	w := model.Wire(walkthrough.States()[2].Snapshot)
	for n := range w.Interfaces {
		w.Interfaces[n].Name, w.Interfaces[n].Owner = name, name
	}
	// The layout is not asked here: a scene with the name in each of its places.
	s := &draw.Scene{Width: 100, Height: 50, Title: name, Desc: name, Groups: []draw.Group{{ID: "interface:" + name, Title: name, Parts: []draw.Part{draw.Label{Text: name, Style: draw.PlateText}}}}}
	data, err := html.Render(s, w, "")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), `src="`) || strings.Contains(string(data), "@import") {
		t.Error("the page loads something from outside")
	}
	return strings.Join(tags.FindAllString(string(data), -1), " ")
}
