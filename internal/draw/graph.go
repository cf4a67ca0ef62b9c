package draw

import (
	"slices"

	"drawbridge/internal/model"
)

// graph is the union of all views: what there is to place, and the room it needs.
type graph struct {
	o     Options
	m     *Metrics
	views []view

	boxes   []*box
	parts   []*part         // in the order in which they are placed
	boxOf   map[string]*box // by stack id; a VRF's is its host's
	ifaces  []*iface
	byID    map[string]*iface
	segs    map[string]*segment
	lans    []*segment
	cables  []*cable
	masters map[string]bool // interfaces that the host ends of others are ever in
	rows    []*row
	columns int // numbered so far

	cabled                   map[string]*cable // by segment and ends
	titleLines, captionLines int
	keyTop                   float64
	listTop, listBottom      float64 // of the hops of a trace
	left, right              float64 // of the boxes
	width, height            float64
	bodyWidth                float64 // without what captions and labels of LANs add
	wrapped                  []*container
}

// box is a stack with a box of its own.
type box struct {
	id         string
	head       [2]float64 // width that its name and system need, and in further parts
	ifaces     []*iface
	parts      []*part
	bands      bool
	w, natural float64 // of all its columns side by side; of a part at most
	numbered   bool
	busOf      map[string]*container
	containers []*container
}

// container is what ends are plugged into inside a box: a stack's band, a bridge's
// bus, or the bar of an interface.
type container struct {
	key      string
	segment  *segment
	of       *iface // whose bar it is
	level    int    // of the longest way down from the stack
	lane     int    // left of the boxes, where it wraps; from 1
	at       []*part
	ifaces   []*iface
	visiting bool
	done     bool
	above    []*container
}

// segment is a LAN or a bridge's virtual LAN.
type segment struct {
	id, kind string
	tone     int
	label    float64 // width of its label
	short    float64 // of that in further parts of its box
	box      *box    // of a bridge's, whose bus it is
	bus      *container
	places   []lanPlace
}

// iface is an interface in all frames.
type iface struct {
	id, name string
	kind     model.Kind
	box      *box
	part     *part
	peers    []*iface // at the other ends of its cables to other boxes
	// hosts and wires are the containers in its box that its ends are ever in.
	hosts, wires []*container
	exits        bool // its wire end is ever outside of the box
	onLAN        bool
	routed       bool // its stack ever routes
	passed       bool // a packet is traced through its stack
	cabled       bool // to another box
	lanIDs       []string
	hub, tee     *container // bars of those whose host, or wire, end is in it
	room         room
	details      int
	below        int // lines beside its wire end
	grid         *gridShape
	col          int
	x            float64
	plateRow     int // the container row above which its plate is
	peerCol      int
}

// gridShape is the block of an opened group.
type gridShape struct {
	columns, rows int
	pitch         float64
}

// cable joins two wire ends, or a wire end and the pipe of an interface.
type cable struct {
	id     string
	a, b   *iface
	onPipe bool // b's end is on its pipe
	tunnel bool // it is no cable, but the way of packets between the two
	// trackA and trackB are its tracks in the rows of a and of b; gutter is its place
	// among those that run down at the right between two rows.
	trackA, trackB, gutter int
}

// collect makes the union of the views.
func collect(o Options, views []view) *graph {
	g := &graph{o: o, m: o.Metrics, views: views, boxOf: map[string]*box{}, byID: map[string]*iface{}, segs: map[string]*segment{}, cabled: map[string]*cable{}, masters: map[string]bool{}}
	for i := range views {
		for _, w := range []*model.Wiring{&views[i].before, &views[i].w} {
			g.addStacks(w)
			g.addSegments(w)
			g.addInterfaces(w)
		}
	}
	g.sortBoxes()
	g.chooseTones()
	for i := range views {
		for _, w := range []*model.Wiring{&views[i].before, &views[i].w} {
			g.addEnds(w)
		}
		g.addCables(&views[i])
		g.addRoom(&views[i])
		g.addRouters(&views[i])
		g.addWay(&views[i])
	}
	return g
}

func (g *graph) addStacks(w *model.Wiring) {
	for _, s := range w.Stacks {
		b := g.boxOf[s.ID]
		if parent := g.boxOf[s.Parent]; b == nil && parent != nil {
			g.boxOf[s.ID] = parent
			parent.bands = true
			continue
		}
		if b == nil {
			b = &box{id: s.ID, busOf: map[string]*container{}}
			g.boxOf[s.ID] = b
			g.boxes = append(g.boxes, b)
		}
		if b.id == s.ID {
			b.head[0], b.head[1] = max(b.head[0], g.headWidth(s, false)), max(b.head[1], g.headWidth(s, true))
		}
	}
}

func (g *graph) addSegments(w *model.Wiring) {
	for _, s := range w.Segments {
		if s.Kind == "cable" {
			continue
		}
		seg := g.segs[s.ID]
		if seg == nil {
			seg = &segment{id: s.ID, kind: s.Kind}
			g.segs[s.ID] = seg
			switch b := g.boxOf[s.Stack]; {
			case s.Kind == "bridge" && b != nil:
				seg.box, seg.bus = b, g.container(b, busKey(s.ID))
				seg.bus.segment = seg
			default:
				seg.kind = "lan"
				g.lans = append(g.lans, seg)
			}
		}
		name, rest := segmentLabel(g.m, s)
		seg.label = max(seg.label, g.labelWidth(seg, name, rest))
		seg.short = max(seg.short, g.labelWidth(seg, Clean(s.Name), ""))
	}
}

// labelWidth is the width of a segment's label with room for its change mark.
func (g *graph) labelWidth(seg *segment, name, rest string) float64 {
	style := BridgeText
	if seg.kind == "lan" {
		style = LANText
	}
	w := g.m.Mark + g.m.Measure(style, name)
	if rest != "" {
		w += g.gap() + g.m.Measure(SystemText, rest)
	}
	return w
}

// gap is the space between two texts on one line.
func (g *graph) gap() float64 { return max(1, g.m.Text/2-2) }

// The keys of containers.
func stackKey(id string) string { return "stack " + id }
func busKey(id string) string   { return "bus " + id }
func hubKey(id string) string   { return "hub " + id }
func teeKey(id string) string   { return "tee " + id }

func (g *graph) container(b *box, key string) *container {
	c := b.busOf[key]
	if c == nil {
		c = &container{key: key}
		b.containers = append(b.containers, c)
		b.busOf[key] = c
	}
	return c
}

// chooseTones numbers the bridges by name, so that one has the same colour tomorrow.
func (g *graph) chooseTones() {
	var bridges []*segment
	for _, s := range g.segs {
		s.tone = -1
		if s.kind == "bridge" {
			bridges = append(bridges, s)
		}
	}
	slices.SortFunc(bridges, func(a, b *segment) int { return model.NaturalCompare(a.id, b.id) })
	for n, s := range bridges {
		s.tone = n
	}
}

func (g *graph) addInterfaces(w *model.Wiring) {
	for _, itf := range w.Interfaces {
		if itf.Kind == model.Loopback {
			continue
		}
		b := g.boxOf[itf.Stack]
		if b == nil {
			continue // a wiring that names no such stack has nowhere to draw it
		}
		i := g.byID[itf.ID]
		if i == nil {
			i = &iface{id: itf.ID, name: itf.Name, kind: itf.Kind, box: b, room: room{lines: map[*container]int{}, texts: map[*container]float64{}}, peerCol: -1}
			g.byID[itf.ID] = i
			g.ifaces = append(g.ifaces, i)
			b.ifaces = append(b.ifaces, i)
		}
		if itf.HostEnd.In == model.InInterface {
			g.masters[itf.HostEnd.ID] = true
		}
	}
}

// addEnds notes what each interface's ends are in.
func (g *graph) addEnds(w *model.Wiring) {
	for _, itf := range w.Interfaces {
		i := g.byID[itf.ID]
		if i == nil {
			continue
		}
		h := g.hostContainer(i, itf.HostEnd)
		plug(&i.hosts, h, i)
		wc := g.wireContainer(i, itf)
		if wc != nil {
			plug(&i.wires, wc, i)
			wc.above = appendNew(wc.above, h)
		} else {
			i.exits = true
		}
		if s := g.segs[itf.WireEnd.ID]; itf.WireEnd.In == model.InSegment && s != nil && s.kind == "lan" && wc == nil {
			i.onLAN = true
			i.lanIDs = appendNew(i.lanIDs, s.id)
		}
	}
}

func appendNew[T comparable](list []T, x T) []T {
	for _, y := range list {
		if x == y {
			return list
		}
	}
	return append(list, x)
}

func plug(list *[]*container, c *container, i *iface) {
	*list = appendNew(*list, c)
	c.ifaces = appendNew(c.ifaces, i)
}

// hostContainer is what the host end is in. An end in something that is not drawn
// in the same box is drawn in the box's own stack.
func (g *graph) hostContainer(i *iface, e model.End) *container {
	switch e.In {
	case model.InSegment:
		if c := i.box.busOf[busKey(e.ID)]; c != nil {
			return c
		}
	case model.InInterface:
		if x := g.byID[e.ID]; x != nil && x.box == i.box && x != i {
			return g.hubOf(x)
		}
	case model.InStack:
		if g.boxOf[e.ID] == i.box {
			return g.container(i.box, stackKey(e.ID))
		}
	}
	return g.container(i.box, stackKey(i.box.id))
}

// wireContainer is what the wire end is in inside the box, nil if it leaves the box.
func (g *graph) wireContainer(i *iface, itf model.Interface) *container {
	if g.masters[itf.ID] {
		return g.hubOf(i)
	}
	switch itf.WireEnd.In {
	case model.InSegment:
		return i.box.busOf[busKey(itf.WireEnd.ID)]
	case model.InInterface:
		if x := g.byID[itf.WireEnd.ID]; x != nil && x.box == i.box && x != i {
			return g.teeOf(x)
		}
	}
	return nil
}

func (g *graph) hubOf(i *iface) *container {
	if i.hub == nil {
		i.hub = g.container(i.box, hubKey(i.id))
		i.hub.of = i
	}
	return i.hub
}

func (g *graph) teeOf(i *iface) *container {
	if i.tee == nil {
		i.tee = g.container(i.box, teeKey(i.id))
		i.tee.of = i
	}
	return i.tee
}
