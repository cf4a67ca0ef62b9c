package draw

// placeCaption gives the caption the room that the longest of the frames needs, so
// that what is below it stands still from one to the next.
func (g *graph) placeCaption() {
	for _, v := range g.views {
		title, sub := g.captionOf(&v)
		g.titleLines, g.captionLines = max(g.titleLines, len(title)), max(g.captionLines, len(sub))
		for n, lines := range [][]string{title, sub} {
			for _, l := range lines {
				g.width = max(g.width, g.m.Measure([]Style{TitleText, SubText}[n], l)+2*g.m.Margin)
			}
		}
	}
	g.height = g.m.Margin
	if n := g.titleLines + g.captionLines; n > 0 {
		g.height += float64(g.titleLines)*g.m.Title + float64(g.captionLines)*g.m.Subtitle + g.m.CaptionGap
	}
}

func (g *graph) captionOf(v *view) (title, sub []string) {
	if v.Bare {
		return nil, nil
	}
	w := g.captionWidth()
	return wrap(g.m, TitleText, Clean(v.Title), w), wrap(g.m, SubText, Clean(v.Subtitle), w)
}

// captionWidth is where captions wrap: in a terminal they may be wider than the picture.
func (g *graph) captionWidth() float64 {
	if g.m.Terse {
		return g.o.MaxWidth - 2*g.m.Margin
	}
	return g.bodyWidth - 2*g.m.Margin
}

func (g *graph) captionGroup(v *view) Group {
	title, sub := g.captionOf(v)
	f := &flow{y: g.m.Margin, middle: g.m.Middle}
	grp := Group{ID: "caption"}
	for _, t := range title {
		grp.Parts = append(grp.Parts, g.label(g.m.Margin, f.take(g.m.Title), TitleText, t))
	}
	for _, t := range sub {
		grp.Parts = append(grp.Parts, g.label(g.m.Margin, f.take(g.m.Subtitle), SubText, t))
	}
	return grp
}

func (g *graph) label(x, y float64, s Style, text string) Label {
	return Label{At: Point{x, y}, W: g.m.Measure(s, text), Text: text, Style: s}
}

// The explanations of the two ends in the legend.
var (
	hostEndLegend = []string{
		"The host end is plugged into a stack,",
		"which owns its addresses and routes.",
		"Enslaving it moves this end",
		"out of the stack, into a bridge.",
	}
	wireEndLegend = []string{
		"The wire end goes to an Ethernet:",
		"a LAN, a bridge, a cable to a VM.",
		"Hollow: it dangles. Filled: plugged.",
	}
)
