package mermaid_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/mermaid"
	"drawbridge/internal/testbrowser"
	"drawbridge/internal/testwiring"
)

// TestRender lets Mermaid itself draw every wiring, as GitHub does: in a browser, with its
// own rules against what is dangerous. Each interface must be a node with its name and
// addresses as its text, to the letter; nothing may have become an element of another kind.
func TestRender(t *testing.T) {
	testbrowser.Require(t)
	script := testbrowser.Mermaid.Fetch(t)
	page := fmt.Sprintf(`<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script src="file://%s"></script><script>
mermaid.initialize({startOnLoad: false, securityLevel: "strict"});
async function draw(text) {
  document.body.replaceChildren();
  const {svg} = await mermaid.render("picture", text);
  document.body.innerHTML = svg;
  const all = [...document.querySelectorAll("svg *")];
  return JSON.stringify({
    nodes: [...document.querySelectorAll("g.node")].map(n => n.textContent.trim()),
    groups: [...document.querySelectorAll("g.cluster")].map(n => n.textContent.trim()),
    lines: document.querySelectorAll("path.flowchart-link").length,
    odd: all.map(e => e.localName).filter(n => ["script", "img", "image", "a", "iframe", "object", "b", "u", "strong", "em", "ul", "ol", "math", "form", "input"].includes(n))
      .concat(all.flatMap(e => [...e.attributes]).filter(a => /^on/i.test(a.name) || /javascript:/i.test(a.value)).map(a => a.name)),
  });
}
</script>`, (&url.URL{Path: script}).EscapedPath())
	b := testbrowser.Open(t, []byte(page), "", 1600, 1000)
	cases := testwiring.Cases(12)
	for _, c := range cases {
		text := string(mermaid.Render(c.Wiring))
		arg, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Nodes, Groups, Odd []string
			Lines              int
		}
		answer := b.Ask("await draw(" + string(arg) + ").catch(e => JSON.stringify({Odd: [e.message]}))")
		if err := json.Unmarshal([]byte(answer), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Odd) > 0 {
			t.Errorf("%s: %.300q", c.Name, got.Odd)
			continue
		}
		if strings.HasPrefix(c.Name, "6") {
			b.Picture("bridged")
		}
		check(t, c, got.Nodes, got.Groups)
		if want := len(ends.FindAllString(text, -1)); got.Lines != want || want == 0 && len(c.Wiring.Interfaces) > 0 {
			t.Errorf("%s: %d lines are drawn for %d ends", c.Name, got.Lines, want)
		}
	}
}

// ends are the lines between two nodes in our text.
var ends = regexp.MustCompile(`(?m)^ *[sited]\d+ (---|-\.-|===) `)

// check compares what is read in the picture with what the wiring holds.
func check(t *testing.T, c testwiring.Case, nodes, groups []string) {
	t.Helper()
	var want, drawn []string
	for _, i := range c.Wiring.Interfaces {
		text := draw.Mark(i.Change) + draw.Clean(i.Name)
		for _, a := range i.TellingAddresses() {
			note := ""
			if a.Status == "misplaced" {
				note = " (misplaced)"
			}
			text += " " + draw.Mark(a.Change) + a.Address.String() + note
		}
		want = append(want, plain(text))
	}
	for _, n := range nodes {
		drawn = append(drawn, plain(n))
	}
	for _, w := range want {
		if n := slices.Index(drawn, w); n >= 0 {
			drawn = slices.Delete(drawn, n, n+1)
		} else {
			t.Errorf("%s: no node reads %q; there are %q", c.Name, w, drawn)
			return
		}
	}
	if len(groups) != len(c.Wiring.Stacks) {
		t.Errorf("%s: %d boxes for %d stacks", c.Name, len(groups), len(c.Wiring.Stacks))
	}
	for _, s := range c.Wiring.Stacks {
		name := plain(draw.Mark(s.Change) + draw.StackName(s))
		if !slices.ContainsFunc(groups, func(g string) bool { return plain(g) == name }) {
			t.Errorf("%s: no box is called %q; there are %q", c.Name, name, groups)
		}
	}
}

// plain is text as it reads: how it is wrapped into lines does not matter.
func plain(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || r == '\u00a0' || r == '\u200b' }), "")
}
