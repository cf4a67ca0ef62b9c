package text_test

import (
	"strings"
	"testing"
	"unicode"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/text"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
	"drawbridge/internal/testwiring"
)

// Every stack, interface and address is told, in a line of its own stack.
func TestTells(t *testing.T) {
	for _, c := range testwiring.Cases(30) {
		got := string(text.Render(c.Name, c.Wiring))
		for _, i := range c.Wiring.Interfaces {
			if !strings.Contains(got, "  "+draw.Mark(i.Change)+draw.Clean(i.Name)+": ") {
				t.Errorf("%.40s: nothing of %.40q (%s, %q)", c.Name, i.Name, i.ID, i.Change)
			}
			for _, a := range i.Addresses {
				if !strings.Contains(got, a.Address.String()) {
					t.Errorf("%s: nothing of %s in\n%s", c.Name, a.Address, got)
				}
			}
		}
		if n := strings.Count(got, "\n"); n < len(c.Wiring.Stacks)+len(c.Wiring.Interfaces)+len(c.Wiring.Segments) {
			t.Errorf("%s: only %d lines", c.Name, n)
		}
	}
}

func TestWhoIsPluggedIn(t *testing.T) {
	got := string(text.Render("", model.Wire(walkthrough.States()[6].Snapshot)))
	for _, want := range []string{
		"The bridge br0: plugged in: eth0, tap0, br0; gateway 198.18.0.1.",
		"The LAN 198.18.0.0/24: plugged in: eth0; gateway 198.18.0.1.",
		"wire end in a cable to eth1 of web",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestLegend(t *testing.T) {
	got := string(text.Legend())
	for _, want := range []string{"dangles: ", "misplaced: ", "+: new", "~: altered"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// FuzzNames looks that no name begins a line of its own, or does anything to a terminal.
func FuzzNames(f *testing.F) {
	for _, name := range testwiring.HostileNames {
		f.Add(name)
	}
	want := strings.Count(string(text.Render("name", testwiring.Named("name"))), "\n")
	f.Fuzz(func(t *testing.T, name string) {
		got := string(text.Render("n"+name, testwiring.Named(name)))
		if n := strings.Count(got, "\n"); n != want {
			t.Errorf("%q makes %d lines of %d", name, n, want)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
			t.Errorf("%q puts a control character into the text", name)
		}
	})
}
