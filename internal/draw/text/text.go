// Package text tells a wiring in plain sentences, one a line, for a screen reader or a
// report of a fault.
//
// In: a model.Wiring. Out: UTF-8 text in which no name can begin a line of its own.
package text

import (
	"fmt"
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
	of := map[string][]model.Interface{}
	for _, i := range w.Interfaces {
		of[i.Stack] = append(of[i.Stack], i)
	}
	for _, s := range w.Stacks {
		fmt.Fprintf(&b, "%s%s has %s.", draw.Mark(s.Change), draw.StackName(s), count(len(of[s.ID]), "interface"))
		if s.Forwards {
			b.WriteString(" It routes between them.")
		}
		b.WriteString("\n")
		for _, i := range of[s.ID] {
			fmt.Fprintf(&b, "  %s%s:%s.\n", draw.Mark(i.Change), draw.Clean(i.Name), facts(&w, i))
		}
	}
	for _, s := range w.Segments {
		segment(&b, w, s)
	}
	return []byte(b.String())
}

func facts(w *model.Wiring, i model.Interface) string {
	var b strings.Builder
	for n, f := range draw.Facts(w, i) {
		if f.Name == "of" {
			continue // said by the heading
		}
		if n > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " %s %s", f.Name, f.Value)
	}
	return b.String()
}

func segment(b *strings.Builder, w model.Wiring, s model.Segment) {
	var members []string
	for _, i := range w.Interfaces {
		here := model.End{In: model.InSegment, ID: s.ID}
		if i.HostEnd == here || i.WireEnd == here {
			members = append(members, draw.Clean(i.Name))
		}
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
