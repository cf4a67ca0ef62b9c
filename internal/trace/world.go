package trace

import (
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// world is the snapshot with what a way through it needs to find quickly.
type world struct {
	snap    *model.Snapshot
	wiring  model.Wiring
	index   *model.Index
	stacks  []*stack
	byID    map[string]*stack
	nics    map[string]*nic // by the wiring's id
	router  Router
	learned map[netip.Addr]*nic // addresses of who is not seen inside
}

// stack is who has addresses. Of a machine whose inside is not seen, and of the LAN's
// other hosts, ns is nil.
type stack struct {
	id, name string
	ns       *model.Namespace
	// outside is the segment where a host stands that is not in the picture.
	outside string
	address netip.Addr // of one outside
	mac     model.MAC  // of one outside
	nics    []*nic
}

// nic is an interface of the wiring with its link.
type nic struct {
	*model.Interface
	stack *stack
	link  *model.Link // nil inside of an opaque machine
}

// name is what a reader calls the interface: NAME, or NAME of STACK where that is not the
// host.
func (n *nic) name() string {
	if n.stack.id == hostID {
		return n.Name
	}
	return n.Name + " of " + n.stack.name
}

// hostID is the wiring's id of the stack that was asked for.
const hostID = "host"

func newWorld(s *model.Snapshot, r Router) *world {
	w := &world{snap: s, wiring: model.Wire(*s), byID: map[string]*stack{}, nics: map[string]*nic{}, router: r}
	w.index = model.NewIndex(&w.wiring)
	for i := range s.Namespaces {
		id := hostID
		if i > 0 {
			id = "netns:" + s.Namespaces[i].Name
		}
		w.addStack(id, &s.Namespaces[i])
	}
	for i := range w.wiring.Stacks {
		st := &w.wiring.Stacks[i]
		if name, ok := strings.CutPrefix(st.ID, "vm:"); ok {
			var inside *model.Namespace
			if m := s.Machine(name); m != nil {
				inside = m.Inside
			}
			w.addStack(st.ID, inside)
		}
	}
	for i := range w.wiring.Interfaces {
		itf := &w.wiring.Interfaces[i]
		st := w.byID[itf.Stack]
		if st == nil {
			continue
		}
		n := &nic{Interface: itf, stack: st}
		if st.ns != nil {
			n.link = st.ns.Link(itf.Name)
		}
		w.nics[itf.ID] = n
		st.nics = append(st.nics, n)
	}
	w.learn()
	return w
}

func (w *world) addStack(id string, ns *model.Namespace) {
	st := &stack{id: id, ns: ns}
	if x := w.index.Stack(id); x != nil {
		st.name = x.Name
	}
	w.stacks = append(w.stacks, st)
	w.byID[id] = st
}

// nic finds an interface of a stack by its name.
func (st *stack) nic(name string) *nic {
	for _, n := range st.nics {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// setting is a sysctl's value; ok is false where the snapshot does not have it.
func (st *stack) setting(path string) (value string, ok bool) {
	value, ok = st.ns.Settings[path]
	return value, ok
}

// has tells whether an address is the stack's own, and on which interface.
func (st *stack) has(a netip.Addr) (link string, ok bool) {
	if st.ns == nil {
		for _, n := range st.nics {
			if slices.ContainsFunc(n.Addresses, func(w model.WiredAddress) bool { return w.Address.Addr() == a }) {
				return n.Name, true
			}
		}
		return "", st.outside != "" && st.address == a
	}
	for _, x := range st.ns.Addresses {
		if x.Prefix.Addr() == a {
			return x.Link, true
		}
	}
	return "", false
}

// addressOf finds how an address stands on the stack: nil if it does not.
func (st *stack) addressOf(a netip.Addr) *model.Address {
	if st.ns == nil {
		return nil
	}
	for i := range st.ns.Addresses {
		if st.ns.Addresses[i].Prefix.Addr() == a {
			return &st.ns.Addresses[i]
		}
	}
	return nil
}

// domain lists the segments, and the interfaces with an end on one of them, that a frame
// from an interface's wire could reach if nothing kept it.
func (w *world) domain(from *nic) (segments map[string]bool, nics []*nic) {
	segments, seen := map[string]bool{}, map[string]bool{}
	var visitSegment func(id string)
	var visit func(n *nic)
	visit = func(n *nic) {
		if n == nil || seen[n.ID] {
			return
		}
		seen[n.ID] = true
		nics = append(nics, n)
		if n.WireEnd.In == model.InSegment {
			visitSegment(n.WireEnd.ID)
		}
		switch n.HostEnd.In {
		case model.InSegment:
			visitSegment(n.HostEnd.ID)
		case model.InInterface: // a bond's member
			visit(w.nics[n.HostEnd.ID])
		}
		if n.WireEnd.In == model.InInterface && n.Kind != model.VLANKind {
			visit(w.nics[n.WireEnd.ID])
		}
		for _, e := range []model.End{{In: model.InInterface, ID: n.ID}} {
			for _, o := range w.index.HostEnds(e) {
				visit(w.nics[o.ID])
			}
			for _, o := range w.index.WireEnds(e) {
				if o.Kind != model.VLANKind {
					visit(w.nics[o.ID])
				}
			}
		}
	}
	visitSegment = func(id string) {
		if segments[id] {
			return
		}
		segments[id] = true
		for _, list := range [][]*model.Interface{w.index.HostEnds(model.End{In: model.InSegment, ID: id}), w.index.WireEnds(model.End{In: model.InSegment, ID: id})} {
			for _, o := range list {
				visit(w.nics[o.ID])
			}
		}
	}
	visit(from)
	if from.Kind == model.VLANKind && from.WireEnd.In == model.InInterface {
		if lower := w.nics[from.WireEnd.ID]; lower != nil {
			visit(lower)
		}
	}
	return segments, nics
}

// reachesLAN tells whether a LAN is among some segments, and which.
func (w *world) reachesLAN(segments map[string]bool) (id string, ok bool) {
	for _, s := range w.wiring.Segments {
		if s.Kind == "lan" && segments[s.ID] {
			return s.ID, true
		}
	}
	return "", false
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}
