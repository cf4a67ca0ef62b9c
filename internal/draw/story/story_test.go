package story_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"drawbridge/internal/draw/story"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
)

func walk() story.Page {
	p := story.Page{Title: "A VM joins the LAN", Host: "host", Intro: []string{"What happens on this host, step by step."}}
	states := walkthrough.States()[1:]
	for i := 1; i < len(states); i++ {
		p.Steps = append(p.Steps, story.Step{
			Number: i, Title: strings.SplitN(states[i].Title, "· ", 2)[1], Why: states[i].Subtitle,
			Commands: []string{"ip link set eth0 master br0", "ip link set tap0 master br0"}, Classic: []string{"brctl addif br0 eth0"},
			Before: model.Wire(states[i-1].Snapshot), After: model.Wire(states[i].Snapshot),
		})
	}
	return p
}

func TestPageStandsAlone(t *testing.T) {
	p := walk()
	p.Title, p.Steps[0].Commands = `<script>alert("&")</script>`, []string{`echo "</pre><b>'x'`}
	page, err := story.HTML(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "story.html"), page, 0o644); err != nil {
		t.Fatal(err)
	}
	s := string(page)
	if strings.Contains(s, "<script>alert") || strings.Contains(s, "</pre><b>") {
		t.Error("words of the input became mark-up")
	}
	if m := regexp.MustCompile(`(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//`).FindString(s); m != "" {
		t.Errorf("an external resource: %s", m)
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(s, -1) {
		if seen[m[1]] {
			t.Errorf("id %q twice", m[1])
		}
		seen[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(s, -1) {
		if !seen[m[1]] {
			t.Errorf("a link to #%s, which is nowhere", m[1])
		}
	}
}

func TestWords(t *testing.T) {
	states := walkthrough.States()
	got := story.Words(model.Wire(states[5].Snapshot), model.Wire(states[6].Snapshot))
	want := []string{
		"The host end of eth0 moves: it is in the virtual LAN of br0 now.",
		"198.18.0.5/24 leaves eth0.",
		"2001:db8::5/64 leaves eth0.",
		"The host end of tap0 moves: it is in the virtual LAN of br0 now.",
		"198.18.0.5/24 is on br0.",
		"2001:db8::5/64 is on br0.",
		"198.18.0.100/24 is on eth1.",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEmptyPlan(t *testing.T) {
	if _, err := story.HTML(story.Page{Title: "Nothing to do"}); err != nil {
		t.Fatal(err)
	}
}
