package draw

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// Focus leaves of a wiring what has a name, and its neighbourhood: what it is cabled to,
// what it is plugged into, and the way from there to the LAN. The name is that of an
// interface, a stack (a VM, a container), a segment (a bridge), or an address; ids are
// taken too. The error of a name that nothing has tells some that are like it.
func Focus(w model.Wiring, name string) (model.Wiring, error) {
	f := focus{w: &w, in: map[string]bool{}}
	for _, i := range w.Interfaces {
		s := w.Stack(i.Stack)
		if i.Name == name || i.ID == name || hasAddress(i, name) || s != nil && s.Kind != "host" && (s.Name == name || s.ID == name) {
			f.add(i.ID)
		}
	}
	for _, s := range w.Segments {
		if s.Name == name || s.ID == name {
			f.addPlugged(s.ID)
		}
	}
	if len(f.found) == 0 || name == "" {
		return w, fmt.Errorf("nothing here is called %q\n  hint: %s", name, f.like(name))
	}
	for n := 0; n < len(f.found); n++ { // grows meanwhile
		f.addNeighbours(*w.Interface(f.found[n]))
	}
	return f.cut(), nil
}

type focus struct {
	w     *model.Wiring
	in    map[string]bool
	found []string // ids of interfaces
}

func (f *focus) add(id string) {
	if f.w.Interface(id) != nil && !f.in[id] {
		f.in[id] = true
		f.found = append(f.found, id)
	}
}

// addPlugged adds all that is plugged into a segment.
func (f *focus) addPlugged(segment string) {
	for _, i := range f.w.Interfaces {
		if i.HostEnd.In == model.InSegment && i.HostEnd.ID == segment || i.WireEnd.In == model.InSegment && i.WireEnd.ID == segment {
			f.add(i.ID)
		}
	}
}

func (f *focus) addNeighbours(i model.Interface) {
	for _, end := range []model.End{i.HostEnd, i.WireEnd} {
		switch s := f.w.Segment(end.ID); {
		case end.In == model.InInterface:
			f.add(end.ID)
		case end.In != model.InSegment || s == nil:
		case s.Kind == "cable":
			f.addPlugged(s.ID)
		case s.Kind == "bridge":
			f.addWayOut(s.ID)
		}
	}
	for _, o := range f.w.Interfaces {
		if o.HostEnd == (model.End{In: model.InInterface, ID: i.ID}) || o.WireEnd == (model.End{In: model.InInterface, ID: i.ID}) {
			f.add(o.ID)
		}
	}
}

// addWayOut adds of a bridge its own interface, and the ports that lead to a LAN.
func (f *focus) addWayOut(bridge string) {
	for _, i := range f.w.Interfaces {
		wire := f.w.Segment(i.WireEnd.ID)
		own := i.WireEnd == model.End{In: model.InSegment, ID: bridge}
		uplink := i.HostEnd == model.End{In: model.InSegment, ID: bridge} && wire != nil && wire.Kind == "lan"
		if own || uplink {
			f.add(i.ID)
		}
	}
}

// cut keeps what was found, with the stacks and segments that it is plugged into.
func (f *focus) cut() model.Wiring {
	keep := map[string]bool{}
	out := model.Wiring{Version: f.w.Version}
	for _, i := range f.w.Interfaces {
		if f.in[i.ID] {
			out.Interfaces = append(out.Interfaces, i)
			keep[i.Stack], keep[i.HostEnd.ID], keep[i.WireEnd.ID] = true, true, true
		}
	}
	for _, s := range f.w.Stacks {
		if keep[s.ID] && s.Parent != "" {
			keep[s.Parent] = true
		}
	}
	for _, s := range f.w.Segments {
		if keep[s.ID] {
			keep[s.Stack] = true
			out.Segments = append(out.Segments, s)
		}
	}
	for _, s := range f.w.Stacks {
		if keep[s.ID] {
			out.Stacks = append(out.Stacks, s)
		}
	}
	return out
}

func hasAddress(i model.Interface, name string) bool {
	return slices.ContainsFunc(i.Addresses, func(a model.WiredAddress) bool {
		return a.Address.String() == name || a.Address.Addr().String() == name
	})
}

// like lists names that begin or end as the wrong one does, else the first ones.
func (f *focus) like(name string) string {
	var all, near []string
	note := func(n string) {
		if n == "" || slices.Contains(all, n) {
			return
		}
		all = append(all, n)
		head := name[:min(len(name), 2)]
		if strings.Contains(n, name) || head != "" && strings.HasPrefix(strings.ToLower(n), strings.ToLower(head)) {
			near = append(near, n)
		}
	}
	for _, i := range f.w.Interfaces {
		note(i.Name)
	}
	for _, s := range f.w.Stacks {
		note(s.Name)
	}
	if len(near) == 0 {
		near = all
	}
	const most = 8
	if len(near) > most {
		return "one of " + strings.Join(near[:most], ", ") + " ..."
	}
	if len(near) == 0 {
		return "there is no interface"
	}
	return "one of " + strings.Join(near, ", ")
}
