package draw

import (
	"fmt"
	"strings"

	"drawbridge/internal/trace"
)

// The list below the picture tells of each hop by its number what decides there.

// twoColumns is the width from which on the answer's hops stand beside those of the packet.
const twoColumns = 900

// listParts are the list from top on, as wide as the picture, and where it ends.
func (g *graph) listParts(t *trace.Trace, top float64) (parts []Part, bottom float64) {
	width := g.captionWidth()
	f := &flow{y: top, middle: g.m.Middle}
	line := func(s Style, text string) {
		for _, l := range wrap(g.m, s, Clean(text), width) {
			parts = append(parts, g.label(g.m.Margin, f.take(g.m.Subtitle), s, l))
		}
	}
	line(PlateText, t.Heading())
	line(map[trace.Result]Style{trace.Pass: SubText, trace.Dies: DiesText, trace.May: MayText}[t.Result], t.Summary)
	if t.Sent != nil {
		line(map[string]Style{"yes": SubText, "no": DiesText, "unknown": MayText}[t.Sent.Agrees], t.Sent.Summary)
	}
	if len(t.Unknown) > 0 && t.Result != trace.May { // that says it itself
		line(SubText, "Not known: "+strings.Join(t.Unknown, "; ")+".")
	}
	f.y += g.m.Zone
	there, back := halvesOf(t)
	if len(back) == 0 {
		p, y := g.columnParts("The way there", there, g.m.Margin, f.y, width)
		return append(parts, p...), y
	}
	if width < twoColumns {
		p, y := g.columnParts("The way there", there, g.m.Margin, f.y, width)
		q, y := g.columnParts("The answer", back, g.m.Margin, y+g.m.Zone, width)
		return append(append(parts, p...), q...), y
	}
	half := (width - g.m.BoxGap) / 2
	p, y1 := g.columnParts("The way there", there, g.m.Margin, f.y, half)
	q, y2 := g.columnParts("The answer", back, g.m.Margin+half+g.m.BoxGap, f.y, half)
	return append(append(parts, p...), q...), max(y1, y2)
}

func (g *graph) columnParts(title string, hops []*trace.Hop, x, y, width float64) (parts []Part, bottom float64) {
	f := &flow{y: y, middle: g.m.Middle}
	parts = append(parts, g.label(x, f.take(g.m.Subtitle), SubText, title))
	f.y += g.m.Zone / 2
	text := x + 2*badge + 14
	for _, h := range hops {
		at := f.take(g.m.Subtitle + 2)
		parts = append(parts, g.badgeParts(fmt.Sprint(h.Number), x, at, hopStyle([]*trace.Hop{h}))...)
		for n, l := range wrap(g.m, PlateText, Clean(h.Place()), width-(text-x)) {
			if n > 0 {
				at = f.take(g.m.Subtitle)
			}
			parts = append(parts, g.label(text, at, PlateText, l))
		}
		for _, d := range h.Decisions {
			lead, style := "", SubText
			switch d.Result {
			case trace.Dies:
				lead, style = "× ", DiesText
			case trace.May:
				lead, style = "? ", MayText
			}
			for _, l := range wrap(g.m, style, Clean(fmt.Sprintf("%s%s: %s", lead, d.By, d.Text)), width-(text-x)) {
				parts = append(parts, g.label(text, f.take(g.m.Line), style, l))
			}
			if d.Mend == "" {
				continue
			}
			for _, l := range wrap(g.m, AddressText, Clean("to mend it: "+d.Mend), width-(text-x)) {
				parts = append(parts, g.label(text, f.take(g.m.Line), AddressText, l))
			}
		}
		f.y += g.m.Zone / 2
	}
	return parts, f.y
}

func halvesOf(t *trace.Trace) (there, back []*trace.Hop) {
	for n := range t.Hops {
		if h := &t.Hops[n]; h.Answer {
			back = append(back, h)
		} else {
			there = append(there, h)
		}
	}
	return there, back
}

// placeList gives the list its room.
func (g *graph) placeList(f *flow) {
	g.listTop = f.y
	for n := range g.views {
		t := g.views[n].Trace
		if t == nil || g.m.Terse {
			continue
		}
		g.listTop = f.y + 2*g.m.CaptionGap
		_, bottom := g.listParts(t, g.listTop)
		g.listBottom = max(g.listBottom, bottom)
	}
	f.y = max(f.y, g.listBottom)
}

// describeWay tells the way in a sentence or two.
func describeWay(t *trace.Trace) string {
	var names []string
	for _, h := range t.Hops {
		if !h.Answer {
			names = append(names, h.Name)
		}
	}
	return Clean(fmt.Sprintf(" %s: by %s. %s", t.Heading(), strings.Join(names, ", "), t.Outcome()))
}
