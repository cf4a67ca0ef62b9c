package draw

import (
	"strings"

	"drawbridge/internal/model"
)

// OutlineLine is a line of an outline and how deep it is indented, from 0.
type OutlineLine struct {
	Depth int
	Text  string
}

// Outline tells a frame as an indented list of its stacks and segments, with the
// interfaces that are plugged into each.
func Outline(f Frame) []OutlineLine {
	f = fold(Options{}.withDefaults(), []Frame{f})[0].folded()
	var out []OutlineLine
	add := func(depth int, parts ...string) {
		out = append(out, OutlineLine{depth, strings.Join(parts, " ")})
	}
	for _, s := range []string{f.Title, f.Subtitle} {
		if s != "" {
			add(0, s)
		}
	}
	x := model.NewIndex(&f.Now)
	at := map[model.End][]model.Interface{}
	for _, itf := range f.Now.Interfaces {
		at[itf.HostEnd] = append(at[itf.HostEnd], itf)
	}
	list := func(e model.End) {
		for _, itf := range at[e] {
			add(1, markSpace(itf.Change)+itf.Name+":", "wire end "+describeEnd(x, itf, itf.WireEnd))
			for _, a := range itf.TellingAddresses() {
				add(2, strings.TrimSpace(markSpace(a.Change)+a.Address.String()+" "+addressNote(a)))
			}
			for _, l := range Roles(x, itf.Roles) {
				add(2, l)
			}
			if itf.Detail != "" {
				add(2, itf.Detail)
			}
		}
	}
	for _, s := range f.Now.Stacks {
		add(0, markSpace(s.Change)+describeStack(model.Stack{Name: s.Name, Kind: s.Kind, System: s.System, Forwards: s.Forwards}))
		list(model.End{In: model.InStack, ID: s.ID})
	}
	for _, s := range f.Now.Segments {
		if s.Kind != "cable" {
			add(0, markSpace(s.Change)+describeSegment(model.Segment{Name: s.Name, Kind: s.Kind, Subnets: s.Subnets, Gateway: s.Gateway, Behind: s.Behind, DHCP: s.DHCP}))
			list(model.End{In: model.InSegment, ID: s.ID})
		}
	}
	if e := (model.End{In: model.InNothing}); len(at[e]) > 0 {
		add(0, "In nothing: "+notOnIt)
		list(e)
	}
	for _, itf := range f.Now.Interfaces {
		if e := (model.End{In: model.InInterface, ID: itf.ID}); len(at[e]) > 0 {
			add(0, "In "+itf.Name)
			list(e)
		}
	}
	if f.Key {
		for _, s := range Vocabulary {
			if s.Said != "" {
				add(0, s.Said+":", s.Means)
			}
		}
	}
	return out
}

// folded is the frame with its groups in the place of their members.
func (v view) folded() Frame {
	f := v.Frame
	f.Now = v.w
	return f
}

func markSpace(c model.Change) string {
	if m := mark(c); m != "" {
		return m + " "
	}
	return ""
}

// WrapCells breaks text at spaces into lines of at most width terminal cells.
func WrapCells(text string, width int) []string {
	return wrap(Cells(), NoteText, text, float64(width))
}
