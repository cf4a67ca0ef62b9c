// Package dot writes a wiring in the language of Graphviz: stacks are clusters,
// interfaces and segments nodes, and the ends are the lines between.
//
// In: a model.Wiring. Out: UTF-8 text for `dot -Tsvg`.
package dot

import (
	"fmt"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// Render writes the graph.
func Render(title string, w model.Wiring) []byte {
	p := &printer{x: model.NewIndex(&w), ids: map[string]string{}}
	p.b.WriteString("graph drawbridge {\n")
	p.b.WriteString("  graph [rankdir=TB, fontname=\"DejaVu Sans\", charset=\"UTF-8\", newrank=true, compound=true];\n")
	p.b.WriteString("  node [shape=box, style=rounded, fontname=\"DejaVu Sans\", fontsize=11];\n  edge [penwidth=2];\n")
	if title != "" {
		fmt.Fprintf(&p.b, "  label=%s; labelloc=t;\n", quote(draw.Clean(title)))
	}
	for n, s := range w.Stacks {
		p.ids["stack "+s.ID] = fmt.Sprintf("s%d", n)
	}
	for n, i := range w.Interfaces {
		p.ids["interface "+i.ID] = fmt.Sprintf("i%d", n)
	}
	for n, s := range w.Segments {
		p.ids["segment "+s.ID] = fmt.Sprintf("e%d", n)
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
	p.b.WriteString("}\n")
	return []byte(p.b.String())
}

type printer struct {
	b   strings.Builder
	x   *model.Index
	ids map[string]string
}

func (p *printer) stack(s model.Stack, in string) {
	id := p.ids["stack "+s.ID]
	fmt.Fprintf(&p.b, "%ssubgraph cluster_%s {\n%s  label=%s; style=rounded;%s\n", in, id, in, quote(draw.Mark(s.Change)+draw.StackName(s)), colour(s.Change, " color=%s;"))
	fmt.Fprintf(&p.b, "%s  %s [label=\"IP stack\", shape=plaintext];\n", in, id)
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
	p.b.WriteString(in + "}\n")
}

func (p *printer) iface(i model.Interface, in string) {
	lines := []string{draw.Mark(i.Change) + draw.Clean(i.Name)}
	for _, a := range i.TellingAddresses() {
		text := draw.Mark(a.Change) + a.Address.String()
		if a.Status == "misplaced" {
			text += " (misplaced)"
		}
		lines = append(lines, text)
	}
	lines = append(lines, draw.Roles(p.x, i.Roles)...)
	var tips []string
	for _, f := range draw.Facts(p.x, i) {
		tips = append(tips, f.Name+": "+f.Value)
	}
	style := ""
	if i.Declared || i.Change == model.Removed {
		style = `, style="rounded,dashed"`
	}
	fmt.Fprintf(&p.b, "%s%s [label=%s, tooltip=%s%s%s];\n", in, p.ids["interface "+i.ID], quote(lines...), quote(tips...), style, colour(i.Change, ", color=%s"))
}

func (p *printer) segment(s model.Segment, in string) {
	fmt.Fprintf(&p.b, "%s%s [label=%s, shape=box, style=\"filled\", fillcolor=\"#e4ebe7\", width=2.5, height=0.25%s];\n", in, p.ids["segment "+s.ID], quote(draw.Mark(s.Change)+draw.SegmentName(s)), colour(s.Change, ", color=%s"))
}

// lines are the ends. A cable is one line between its two interfaces, and no rank.
func (p *printer) lines(w model.Wiring) {
	cables := map[string][]string{}
	var order []string
	for _, i := range w.Interfaces {
		self := p.ids["interface "+i.ID]
		if to := p.ids[i.HostEnd.In+" "+i.HostEnd.ID]; to != "" {
			fmt.Fprintf(&p.b, "  %s -- %s;\n", to, self)
		}
		if s := p.x.Segment(i.WireEnd.ID); i.WireEnd.In == model.InSegment && s != nil && s.Kind == "cable" {
			if cables[s.ID] == nil {
				order = append(order, s.ID)
			}
			cables[s.ID] = append(cables[s.ID], self)
			continue
		}
		switch to := p.ids[i.WireEnd.In+" "+i.WireEnd.ID]; {
		case to != "":
			fmt.Fprintf(&p.b, "  %s -- %s;\n", self, to)
		case i.WireEnd.In == model.InTunnel:
			p.stub(self, "tunnel "+draw.Clean(i.WireEnd.ID))
		case i.WireEnd.In == model.InNothing:
			fmt.Fprintf(&p.b, "  d%s [label=\"\", shape=circle, width=0.12]; %s -- d%s;\n", self, self, self)
		}
	}
	for _, c := range order {
		if ends := cables[c]; len(ends) == 2 {
			fmt.Fprintf(&p.b, "  %s -- %s [constraint=false];\n", ends[0], ends[1])
		} else { // its other end is not in this picture
			p.stub(ends[0], "cable")
		}
	}
}

func (p *printer) stub(self, label string) {
	fmt.Fprintf(&p.b, "  d%s [label=%s, shape=plaintext]; %s -- d%s [style=dashed];\n", self, quote(label), self, self)
}

func colour(c model.Change, format string) string {
	name := map[model.Change]string{model.Added: `"#0b7a34"`, model.Removed: `"#c02626"`, model.Altered: `"#9a5b00"`}[c]
	if name == "" {
		return ""
	}
	return fmt.Sprintf(format, name)
}

// In a quoted string only the quote ends it; the layout then reads \N, \G, \n and HTML
// entities in labels (lib/common/labels.c, strdup_and_subst_obj).
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`)

func quote(lines ...string) string {
	for n := range lines {
		lines[n] = escaper.Replace(lines[n])
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
