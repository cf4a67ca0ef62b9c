// Package mermaid writes a wiring as a Mermaid flowchart, which GitHub renders: stacks
// are subgraphs, interfaces and segments nodes, and the ends are the lines between.
//
// In: a model.Wiring. Out: UTF-8 text. Names are text alone: whatever could be syntax
// or mark-up is written by its number.
package mermaid

import (
	"fmt"
	"strings"
	"unicode"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// Render writes the flowchart.
func Render(w model.Wiring) []byte {
	p := &printer{x: model.NewIndex(&w), ids: map[string]string{}}
	p.b.WriteString("flowchart TB\n")
	for n, i := range w.Interfaces {
		p.ids["interface "+i.ID] = fmt.Sprintf("i%d", n)
	}
	for n, s := range w.Segments {
		p.ids["segment "+s.ID] = fmt.Sprintf("e%d", n)
	}
	for n, s := range w.Stacks {
		p.ids["stack "+s.ID] = fmt.Sprintf("s%d", n)
	}
	for _, s := range w.Stacks {
		if s.Parent == "" {
			p.stack(s, "  ")
		}
	}
	for _, s := range w.Segments {
		if p.x.Stack(s.Stack) == nil && s.Kind != "cable" {
			p.segment(s, "  ")
		}
	}
	p.lines(w)
	return []byte(p.b.String())
}

type printer struct {
	b   strings.Builder
	x   *model.Index
	ids map[string]string
}

// stack writes a subgraph with what is in it; a VRF's is inside its host's.
func (p *printer) stack(s model.Stack, in string) {
	id := p.ids["stack "+s.ID]
	fmt.Fprintf(&p.b, "%ssubgraph g%s[\"%s\"]\n", in, id, quote(draw.Mark(s.Change)+draw.StackName(s)))
	fmt.Fprintf(&p.b, "%s  %s([\"IP stack\"])\n", in, id)
	for _, i := range p.x.InterfacesOf(s.ID) {
		p.iface(*i, in+"  ")
	}
	for _, seg := range p.x.SegmentsIn(s.ID) {
		if seg.Kind != "cable" {
			p.segment(*seg, in+"  ")
		}
	}
	for _, part := range p.x.PartsOf(s.ID) {
		p.stack(*part, in+"  ")
	}
	fmt.Fprintf(&p.b, "%send\n", in)
}

func (p *printer) iface(i model.Interface, in string) {
	lines := []string{draw.Mark(i.Change) + draw.Clean(i.Name)}
	for _, a := range i.TellingAddresses() {
		text := a.Address.String()
		if a.Status == "misplaced" {
			text += " (misplaced)"
		}
		lines = append(lines, draw.Mark(a.Change)+text)
	}
	lines = append(lines, draw.Roles(p.x, i.Roles)...)
	for n := range lines {
		lines[n] = quote(lines[n])
	}
	fmt.Fprintf(&p.b, "%s%s[\"%s\"]\n", in, p.ids["interface "+i.ID], strings.Join(lines, "<br/>"))
}

func (p *printer) segment(s model.Segment, in string) {
	fmt.Fprintf(&p.b, "%s%s{{\"%s\"}}\n", in, p.ids["segment "+s.ID], quote(draw.Mark(s.Change)+draw.SegmentName(s)))
}

// lines are the ends. A cable is one line between its two interfaces.
func (p *printer) lines(w model.Wiring) {
	cables := map[string][]string{}
	var order []string
	for _, i := range w.Interfaces {
		self := p.ids["interface "+i.ID]
		if to := p.target(i.HostEnd); to != "" {
			fmt.Fprintf(&p.b, "  %s --- %s\n", to, self)
		}
		if s := p.x.Segment(i.WireEnd.ID); i.WireEnd.In == model.InSegment && s != nil && s.Kind == "cable" {
			if cables[s.ID] == nil {
				order = append(order, s.ID)
			}
			cables[s.ID] = append(cables[s.ID], self)
			continue
		}
		switch to := p.target(i.WireEnd); {
		case to != "":
			fmt.Fprintf(&p.b, "  %s --- %s\n", self, to)
		case i.WireEnd.In == model.InTunnel:
			fmt.Fprintf(&p.b, "  %s -.- t%s([\"%s\"])\n", self, self, quote("tunnel "+draw.Clean(i.WireEnd.ID)))
		case i.WireEnd.In == model.InNothing:
			fmt.Fprintf(&p.b, "  %s -.- t%s((\" \"))\n", self, self)
		}
	}
	for _, c := range order {
		if ends := cables[c]; len(ends) == 2 {
			fmt.Fprintf(&p.b, "  %s === %s\n", ends[0], ends[1])
		} else { // its other end is not in this picture
			fmt.Fprintf(&p.b, "  %s -.- t%s([\"cable\"])\n", ends[0], ends[0])
		}
	}
}

func (p *printer) target(e model.End) string { return p.ids[e.In+" "+e.ID] }

// quote writes as a number what is not a letter, a digit or harmless: Mermaid's entity
// codes (#35; is #) are put back as text after parsing, so that they are never syntax.
// Formulas it looks for later, in the text: a pair of dollars is kept apart by a space of
// no width. A label may not be empty.
func quote(s string) string {
	const noBreak, noWidth = "#160;", "#8203;"
	if s == "" {
		return noBreak
	}
	var b strings.Builder
	last := ' '
	for n, r := range s {
		if r == '$' && last == '$' {
			b.WriteString(noWidth)
		}
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), n > 0 && (r == ' ' || r == '/' || r == '.'):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "#%d;", r)
		}
		last = r
	}
	return b.String()
}
