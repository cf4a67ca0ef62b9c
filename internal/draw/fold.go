package draw

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/trace"
)

// inMany is the wire end of a group: its members' are in cables, or dangle.
const inMany = "many"

// cableWire stands for a wire end in a cable or in nothing.
const cableWire = "cable"

// openAsColumns is up to how many members an opened group is drawn in full; more
// are listed in a block, where each keeps a dot and its name.
const openAsColumns = 24

// view is a frame with its many ports folded into groups.
type view struct {
	Frame
	w, before model.Wiring
	index     *model.Index          // of Now
	groups    map[string]*portGroup // by the id of the interface that stands for it
	peers     map[string]peer       // at the other end of a cable, by interface id
}

// portGroup is what one interface of a view stands for.
type portGroup struct {
	Members []model.Interface // by name, the gone ones too
	Held    int               // members with something at the other end of their cable
	Cables  []string          // cables of members whose other end is drawn
	Open    bool              // list the members
}

// peer is the other end of a cable, and whose it is.
type peer struct {
	itf   *model.Interface
	stack string // its name
	kind  string
}

// foldable is what is known about an interface from all frames.
type foldable struct {
	itf     model.Interface
	hosts   []string // where its host end is, in any frame
	wire    string   // where its wire end is; "?" if that differs between frames
	changed bool
	pinned  bool // others are plugged into it, it is a bridge's own, or on the way of a packet
}

// folder decides over all frames at once, so that what is folded in one is in all.
type folder struct {
	o     Options
	info  map[string]*foldable
	group map[string]string // interface id to group id, "" for none
	open  map[string]bool   // by group id
	away  map[string]bool   // stacks that are not drawn: all their cables lead into groups
}

func fold(o Options, frames []Frame) []view {
	f := &folder{o: o, info: map[string]*foldable{}, group: map[string]string{}, open: map[string]bool{}, away: map[string]bool{}}
	for i := range frames {
		f.study(&frames[i].Now)
		if frames[i].Before != nil {
			f.study(frames[i].Before)
		}
		if frames[i].Trace != nil {
			f.pin(frames[i].Trace)
		}
	}
	f.decide()
	for i := range frames {
		f.hide(&frames[i].Now)
	}
	views := make([]view, len(frames))
	for i, fr := range frames {
		v := view{Frame: fr, index: model.NewIndex(&frames[i].Now), groups: map[string]*portGroup{}, peers: peersOf(&fr.Now)}
		v.w = f.rewrite(&fr.Now, &v)
		if fr.Before != nil {
			bv := view{groups: map[string]*portGroup{}, peers: peersOf(fr.Before)}
			v.before = f.rewrite(fr.Before, &bv)
		}
		views[i] = v
	}
	return views
}

func (f *folder) study(w *model.Wiring) {
	lans := map[string]bool{}
	for _, s := range w.Segments {
		lans[s.ID] = s.Kind != "cable"
	}
	for _, itf := range w.Interfaces {
		host, wire := itf.HostEnd.In+" "+itf.HostEnd.ID, cableWire
		if itf.WireEnd.In == model.InInterface || itf.WireEnd.In == model.InTunnel || lans[itf.WireEnd.ID] {
			wire = itf.WireEnd.In + " " + itf.WireEnd.ID
		}
		known := f.info[itf.ID]
		if known == nil {
			known = &foldable{itf: itf, wire: wire}
			f.info[itf.ID] = known
		}
		if !slices.Contains(known.hosts, host) {
			known.hosts = append(known.hosts, host)
		}
		if known.wire != wire {
			known.wire, known.pinned = "?", true
		}
		known.changed = known.changed || itf.Change != ""
		known.pinned = known.pinned || itf.Kind == model.Bridged
	}
	for _, itf := range w.Interfaces {
		for _, e := range []model.End{itf.HostEnd, itf.WireEnd} {
			if into := f.info[e.ID]; e.In == model.InInterface && into != nil {
				into.pinned = true
			}
		}
	}
}

// pin keeps what a packet is traced through out of the groups: the reader is to see it.
func (f *folder) pin(t *trace.Trace) {
	for _, h := range t.Hops {
		if x := f.info[h.Interface]; x != nil {
			x.pinned = true
		}
	}
}

// decide groups the ports of one kind that are plugged alike. Those that change in
// some frame stay out of it, as they are what the reader is to see, unless they are
// as many themselves.
func (f *folder) decide() {
	lists := map[string][]*foldable{}
	for _, x := range f.info {
		if x.pinned {
			continue
		}
		slices.Sort(x.hosts)
		key := x.itf.Stack + "/" + string(x.itf.Kind) + " " + strings.Join(x.hosts, ", ") + " " + x.wire
		if x.changed {
			key += " changed"
		}
		lists[key] = append(lists[key], x)
	}
	for key, list := range lists {
		expand := f.expands(list)
		if len(list) < f.o.FoldFrom || expand && len(list) <= openAsColumns {
			continue
		}
		f.open[key] = expand
		for _, x := range list {
			f.group[x.itf.ID] = key
		}
	}
}

func (f *folder) expands(list []*foldable) bool {
	return slices.ContainsFunc(f.o.Expand, func(name string) bool {
		return name == "all" || slices.ContainsFunc(list, func(x *foldable) bool {
			return x.itf.HostEnd.ID == "bridge:"+name
		})
	})
}

// hide finds the stacks all of whose interfaces are cabled to members of groups.
func (f *folder) hide(w *model.Wiring) {
	peers := peersOf(w)
	keep := map[string]bool{}
	for i, s := range w.Stacks {
		keep[s.ID] = i == 0 || s.Kind == "host" || s.Parent != ""
		keep[s.Parent] = keep[s.Parent] || s.Parent != ""
	}
	used := map[string]bool{}
	for _, itf := range w.Interfaces {
		used[itf.Stack] = true
		if p, ok := peers[itf.ID]; !ok || f.group[p.itf.ID] == "" || p.itf.Stack == itf.Stack {
			keep[itf.Stack] = true
		}
	}
	for _, s := range w.Stacks {
		if used[s.ID] {
			was, known := f.away[s.ID]
			f.away[s.ID] = !keep[s.ID] && (was || !known)
		}
	}
}

// peersOf pairs the interfaces at the two ends of each cable.
func peersOf(w *model.Wiring) map[string]peer {
	cables, stacks := map[string][]*model.Interface{}, map[string]*model.Stack{}
	for _, s := range w.Segments {
		if s.Kind == "cable" {
			cables[s.ID] = nil
		}
	}
	for i := range w.Stacks {
		stacks[w.Stacks[i].ID] = &w.Stacks[i]
	}
	for i := range w.Interfaces {
		itf := &w.Interfaces[i]
		if list, ok := cables[itf.WireEnd.ID]; ok && itf.WireEnd.In == model.InSegment {
			cables[itf.WireEnd.ID] = append(list, itf)
		}
	}
	peers := map[string]peer{}
	for _, list := range cables {
		for i, itf := range list {
			other := list[(i+1)%len(list)]
			if other == itf {
				continue
			}
			p := peer{itf: other}
			if s := stacks[other.Stack]; s != nil {
				p.stack, p.kind = s.Name, s.Kind
			}
			peers[itf.ID] = p
		}
	}
	return peers
}

// rewrite puts one interface in the place of each group.
func (f *folder) rewrite(w *model.Wiring, v *view) model.Wiring {
	out := model.Wiring{Version: w.Version, Segments: w.Segments}
	for _, s := range w.Stacks {
		if !f.away[s.ID] {
			out.Stacks = append(out.Stacks, s)
		}
	}
	for _, itf := range w.Interfaces {
		if f.away[itf.Stack] {
			continue
		}
		id := f.group[itf.ID]
		if id == "" {
			out.Interfaces = append(out.Interfaces, itf)
			continue
		}
		g := v.groups[id]
		if g == nil {
			g = &portGroup{Open: f.open[id]}
			v.groups[id] = g
			out.Interfaces = append(out.Interfaces, model.Interface{ID: id})
		}
		g.Members = append(g.Members, itf)
		if p, ok := v.peers[itf.ID]; ok {
			if itf.Change != model.Removed {
				g.Held++
			}
			if !f.away[p.itf.Stack] {
				g.Cables = append(g.Cables, itf.WireEnd.ID)
			}
		}
	}
	for i := range out.Interfaces {
		if g := v.groups[out.Interfaces[i].ID]; g != nil {
			out.Interfaces[i] = g.standIn(out.Interfaces[i].ID, v.peers)
		}
	}
	return out
}

// standIn is the interface that is drawn for the group.
func (g *portGroup) standIn(id string, peers map[string]peer) model.Interface {
	slices.SortFunc(g.Members, func(a, b model.Interface) int {
		x, y := "", ""
		if a.Kind == model.Veth { // its own name is chosen by chance
			x, y = peers[a.ID].stack, peers[b.ID].stack
		}
		return cmp.Or(model.NaturalCompare(x, y), model.NaturalCompare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	first := g.Members[0]
	count, what := 0, "VM"
	out := model.Interface{ID: id, Kind: first.Kind, Stack: first.Stack, HostEnd: first.HostEnd, Up: true, Change: first.Change, WireEnd: first.WireEnd}
	for _, m := range g.Members {
		if m.Change != model.Removed {
			count++
			out.HostEnd = m.HostEnd
		}
		if m.Change != out.Change {
			out.Change = model.Altered
		}
		if p, ok := peers[m.ID]; ok && (p.kind == "namespace" || p.kind == "container" || p.kind == "process") && m.Kind == model.Veth {
			what = p.kind
		}
	}
	if strings.HasSuffix(id, " "+cableWire) {
		out.WireEnd = model.End{In: inMany}
	}
	out.Name = fmt.Sprintf("%d %s", count, plural(first.Kind))
	if g.Held > 0 {
		out.Detail = fmt.Sprintf("%d with a %s", g.Held, what)
	}
	return out
}

func plural(k model.Kind) string {
	switch k {
	case model.Physical:
		return "NICs"
	case model.VLANKind:
		return "VLANs"
	case model.Dummy:
		return "dummies"
	case model.TapKind, model.TunKind, model.Veth, model.Bond, model.Macvlan, model.Macvtap, model.IPvlan:
		return string(k) + "s"
	default:
		return string(k) + " interfaces"
	}
}
