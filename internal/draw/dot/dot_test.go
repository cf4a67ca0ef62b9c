package dot_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/dot"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
	"drawbridge/internal/testwiring"
)

// TestGraphviz lets Graphviz draw every wiring: each interface is a node with its name and
// addresses as its text, to the letter, each stack a box with its name, each end a line.
func TestGraphviz(t *testing.T) {
	if _, err := exec.LookPath("dot"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("graphviz is not installed")
		}
		t.Skip("graphviz is not installed")
	}
	cases := testwiring.Cases(40)
	var graphs bytes.Buffer // one after the other, for one process
	for _, c := range cases {
		graphs.Write(dot.Render(c.Name, c.Wiring))
	}
	cmd := exec.Command("dot", "-Tsvg")
	cmd.Stdin, cmd.Stderr = &graphs, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	pictures := strings.Split(string(out), "<?xml ")[1:]
	if len(pictures) != len(cases) {
		t.Fatalf("%d pictures of %d graphs", len(pictures), len(cases))
	}
	for n, c := range cases {
		checkPicture(t, c, "<?xml "+pictures[n])
	}
}

// group is an object in Graphviz's SVG; what has a tooltip is in a link.
type group struct {
	Class string   `xml:"class,attr"`
	Title string   `xml:"title"`
	Text  []string `xml:"text"`
	Inner []group  `xml:"g"`
	Links []group  `xml:"a"`
}

// reads is all the text in it.
func (g group) reads() string {
	text := strings.Join(g.Text, "")
	for _, in := range append(g.Inner, g.Links...) {
		text += in.reads()
	}
	return plain(text)
}

func checkPicture(t *testing.T, c testwiring.Case, picture string) {
	t.Helper()
	var svg group
	if err := xml.Unmarshal([]byte(picture), &svg); err != nil {
		t.Errorf("%s: %v", c.Name, err)
		return
	}
	texts, count := map[string]string{}, map[string]int{}
	for _, g := range svg.Inner[0].Inner {
		count[g.Class]++
		texts[g.Title] = g.reads()
	}
	for n, i := range c.Wiring.Interfaces {
		want := draw.Mark(i.Change) + draw.Clean(i.Name)
		for _, a := range i.TellingAddresses() {
			want += draw.Mark(a.Change) + a.Address.String()
			if a.Status == "misplaced" {
				want += " (misplaced)"
			}
		}
		if got, drawn := texts[fmt.Sprintf("i%d", n)]; !drawn || got != plain(want) {
			t.Errorf("%s: interface %d reads %q, and should %q", c.Name, n, got, plain(want))
		}
	}
	for n, s := range c.Wiring.Stacks {
		if got, want := texts[fmt.Sprintf("cluster_s%d", n)], plain(draw.Mark(s.Change)+draw.StackName(s)); got != want {
			t.Errorf("%s: stack %d reads %q, and should %q", c.Name, n, got, want)
		}
	}
	if count["cluster"] != len(c.Wiring.Stacks) || count["edge"] < len(c.Wiring.Interfaces) && len(c.Wiring.Interfaces) > 1 {
		t.Errorf("%s: drawn are %v", c.Name, count)
	}
}

// plain is text without spaces: how Graphviz writes them does not matter.
func plain(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\u00a0' }), "")
}

// FuzzName looks that a quoted string ends only where it is meant to: with the names
// taken out, the graph is always the same.
func FuzzName(f *testing.F) {
	for _, s := range testwiring.HostileNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		skeleton := func(name string) string {
			w := model.Wire(walkthrough.States()[6].Snapshot)
			w.Interfaces[0].Name, w.Stacks[0].Name = name, name
			return outside(string(dot.Render(name+"x", w)))
		}
		if got, want := skeleton(name), skeleton("eth0"); got != want {
			t.Errorf("%q changed the graph:\n%s", name, got)
		}
	})
}

// outside is what is not in quotes.
func outside(s string) string {
	var b strings.Builder
	quoted := false
	for n := 0; n < len(s); n++ {
		switch {
		case s[n] == '"':
			quoted = !quoted
		case quoted && s[n] == '\\':
			n++
		case !quoted:
			b.WriteByte(s[n])
		}
	}
	return b.String()
}
