package model

// Index finds what is in a wiring by its id, and what is plugged into it, without looking
// at all of it each time. It holds for as long as the wiring is not changed.
type Index struct {
	*Wiring
	stacks       map[string]*Stack
	segments     map[string]*Segment
	interfaces   map[string]*Interface
	of           map[string][]*Interface
	hosts, wires map[End][]*Interface
	inStack      map[string][]*Segment
	parts        map[string][]*Stack
}

// NewIndex makes the index of a wiring.
func NewIndex(w *Wiring) *Index {
	x := &Index{
		Wiring: w, stacks: map[string]*Stack{}, segments: map[string]*Segment{}, interfaces: map[string]*Interface{},
		of: map[string][]*Interface{}, hosts: map[End][]*Interface{}, wires: map[End][]*Interface{},
		inStack: map[string][]*Segment{}, parts: map[string][]*Stack{},
	}
	for i := range w.Stacks {
		s := &w.Stacks[i]
		first(x.stacks, s.ID, s)
		if s.Parent != "" && s.Parent != s.ID {
			x.parts[s.Parent] = append(x.parts[s.Parent], s)
		}
	}
	for i := range w.Segments {
		s := &w.Segments[i]
		first(x.segments, s.ID, s)
		x.inStack[s.Stack] = append(x.inStack[s.Stack], s)
	}
	for i := range w.Interfaces {
		itf := &w.Interfaces[i]
		first(x.interfaces, itf.ID, itf)
		x.of[itf.Stack] = append(x.of[itf.Stack], itf)
		x.hosts[itf.HostEnd] = append(x.hosts[itf.HostEnd], itf)
		x.wires[itf.WireEnd] = append(x.wires[itf.WireEnd], itf)
	}
	return x
}

func first[T any](m map[string]*T, id string, t *T) {
	if m[id] == nil {
		m[id] = t
	}
}

// Stack finds a stack by id, nil if there is none.
func (x *Index) Stack(id string) *Stack { return x.stacks[id] }

// Segment finds a segment by id, nil if there is none.
func (x *Index) Segment(id string) *Segment { return x.segments[id] }

// Interface finds an interface by id, nil if there is none.
func (x *Index) Interface(id string) *Interface { return x.interfaces[id] }

// InterfacesOf lists the interfaces that a stack's kernel has, in the wiring's order.
func (x *Index) InterfacesOf(stack string) []*Interface { return x.of[stack] }

// SegmentsIn lists the segments that run through a stack's box, "" for those outside.
func (x *Index) SegmentsIn(stack string) []*Segment { return x.inStack[stack] }

// PartsOf lists the stacks that are parts of another.
func (x *Index) PartsOf(stack string) []*Stack { return x.parts[stack] }

// HostEnds lists the interfaces whose host end is in something.
func (x *Index) HostEnds(in End) []*Interface { return x.hosts[in] }

// WireEnds lists the interfaces whose wire end is in something.
func (x *Index) WireEnds(in End) []*Interface { return x.wires[in] }
