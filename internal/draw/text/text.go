// Package text tells a wiring in plain sentences, one a line, for a screen reader or a
// report of a fault.
//
// In: a model.Wiring. Out: UTF-8 text in which no name can begin a line of its own.
package text

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// Render tells every stack with its interfaces, and every segment.
func Render(title string, w model.Wiring) []byte {
	var b strings.Builder
	if title != "" {
		fmt.Fprintf(&b, "%s\n\n", draw.Clean(title))
	}
	x := model.NewIndex(&w)
	for _, s := range w.Stacks {
		fmt.Fprintf(&b, "%s%s has %s.", draw.Mark(s.Change), draw.StackName(s), count(len(x.InterfacesOf(s.ID)), "interface"))
		if s.Forwards {
			b.WriteString(" It routes between them.")
		}
		b.WriteString("\n")
		for _, i := range x.InterfacesOf(s.ID) {
			fmt.Fprintf(&b, "  %s%s:%s.\n", draw.Mark(i.Change), draw.Clean(i.Name), facts(x, *i))
		}
	}
	for _, s := range w.Segments {
		segment(&b, x, s)
	}
	return []byte(b.String())
}

func facts(x *model.Index, i model.Interface) string {
	var b strings.Builder
	for _, f := range draw.Facts(x, i) {
		if f.Name == "of" {
			continue // said by the heading
		}
		if b.Len() > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " %s %s", f.Name, f.Value)
	}
	return b.String()
}

func segment(b *strings.Builder, x *model.Index, s model.Segment) {
	var members []string
	here := model.End{In: model.InSegment, ID: s.ID}
	for _, i := range slices.Concat(x.HostEnds(here), x.WireEnds(here)) {
		members = append(members, draw.Clean(i.Name))
	}
	in := "nothing is plugged in"
	if len(members) > 0 {
		in = "plugged in: " + strings.Join(members, ", ")
	}
	fmt.Fprintf(b, "%sThe %s: %s", draw.Mark(s.Change), draw.SegmentName(s), in)
	if s.Gateway.IsValid() {
		fmt.Fprintf(b, "; gateway %s", s.Gateway)
	}
	b.WriteString(".\n")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Legend explains the words and signs of [Render], one a line.
func Legend() []byte {
	var b strings.Builder
	b.WriteString("\nThe host end of an interface is in the stack that owns its addresses, or in a bridge; its wire end is on an Ethernet.\n")
	for _, s := range draw.Vocabulary {
		if s.Said != "" {
			fmt.Fprintf(&b, "  %s: %s.\n", s.Said, s.Means)
		}
	}
	return []byte(b.String())
}
