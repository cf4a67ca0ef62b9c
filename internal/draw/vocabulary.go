package draw

import (
	"math"

	"drawbridge/internal/model"
)

// Sign is a word of the pictures' language. The key below a picture, the legend of the
// text format and the table of docs/pictures.md are made of the same signs.
type Sign struct {
	// Looks says what it looks like, Means what it stands for.
	Looks, Means string
	// Word is Means in a few words, for the key; "" for what the picture says itself.
	Word string
	// Said is how the text format says it, "" where that needs no explanation.
	Said string
	// sample draws it for the key, in the middle of a place; nil where a word is enough.
	sample sample
}

// Vocabulary is the whole language, in the order in which one learns it.
var Vocabulary = []Sign{
	{Looks: "a rounded box, grey", Means: "a stack, which owns addresses and routes: the host", Word: "host", sample: boxOf(HostBox)},
	{Looks: "a rounded box, brown", Means: "the stack of a virtual machine", Word: "virtual machine", sample: boxOf(VMBox)},
	{Looks: "a rounded box, blue", Means: "the stack of a container, a pod or a network namespace", Word: "container, namespace", sample: boxOf(NamespaceBox)},
	{Looks: `the band "IP stack" in a box`, Means: "where host ends are that have the stack's addresses beside them"},
	{Looks: "a dotted frame in the band", Means: "a VRF: a stack inside the stack"},
	{Looks: `a plate "router" in the band`, Means: "the stack routes between the host ends that its lines lead to; NAT: it hides some behind an address of its own", Word: "routes between", sample: routerSign},
	{Looks: `"continued" beside a box's name`, Means: "the box is wider than the picture and goes on here; what has ends in both parts wraps at the left"},
	{Looks: "a pipe with a name plate", Means: "an interface: its host end above, its wire end below", Word: "interface", sample: plateOf(false)},
	{Looks: "● a filled end", Means: "it is plugged in", Word: "plugged in", sample: endOf(Plugged)},
	{Looks: `○ a hollow end, "dangles"`, Means: "it is plugged into nothing: no carrier; that of a bridge above: the host is not on its LAN", Word: "dangles", Said: "dangles", sample: endOf(Dangling)},
	{Looks: "a thick bus below the boxes, green", Means: "a LAN, with its subnets and its gateway", Word: "LAN", sample: lineOf(LANBus, -1)},
	{Looks: "a thick bus inside a box, in a colour of its own", Means: "the virtual LAN of a bridge; the ends on it are its ports", Word: "virtual LAN of a bridge", sample: lineOf(BridgeBus, 0)},
	{Looks: "a thin line", Means: "a cable: tap to VM, veth to veth", Word: "cable", sample: lineOf(Cable, -1)},
	{Looks: "a dotted line", Means: "a tunnel between two interfaces that are both drawn", Word: "tunnel", sample: lineOf(Tunneled, -1)},
	{Looks: `"behind NAT", "routed" beside a bridge's name`, Means: "how its LAN reaches further by the stack", Said: "behind NAT"},
	{Looks: `"host-only" beside a bridge's name`, Means: "its LAN reaches the host, and nobody by it", Said: "host-only"},
	{Looks: `"isolated" beside a bridge's name`, Means: "the machines on its LAN reach one another only; at a port: not even those at other such ports", Said: "isolated"},
	{Looks: `"NAT for 198.18.7.0/24"`, Means: "packets from there leave by this interface with the address above", Said: "NAT for"},
	{Looks: `"port 8080/tcp to web:80"`, Means: "a published port: connections to it at these addresses go on to a machine", Said: "port"},
	{Looks: `"serves DHCP, RA, DNS"`, Means: "a server of drawbridge's gives addresses (DHCP), the router and prefixes (router advertisements), names (DNS) on this Ethernet", Said: "serves"},
	{Looks: `"relays DHCP and RA of eth0's LAN"`, Means: "the LAN's own servers and routers are brought to the machines on this Ethernet", Said: "relays"},
	{Looks: `"proxy ARP for", "proxy NDP for"`, Means: "the interface answers on its Ethernet for addresses that are elsewhere, and the stack routes to them", Said: "proxy ARP for"},
	{Looks: `"elsewhere"`, Means: "the other end is in a namespace that is not drawn", Said: "elsewhere"},
	{Looks: `"holder unknown"`, Means: "the other end is at a process that may not be looked at", Said: "holder unknown"},
	{Looks: `"VLAN 10 untagged, 20-22 tagged"`, Means: "what a port of a VLAN-aware bridge lets through"},
	{Looks: `"by NetworkManager" above a name plate`, Means: "the program beside drawbridge that sees to the interface; in parentheses: it was told to leave it alone"},
	{Looks: `"broken: bridge-stp", "risk: ..." above a name plate, red`, Means: "what 'drawbridge doctor' finds wrong with it, by the name of the check"},
	{Looks: `"standby"`, Means: "a member of a bond that another one sends for", Said: "standby"},
	{Looks: `a struck address, "misplaced"`, Means: "an address on a port, where its routes and answers go astray", Word: "misplaced address", Said: "misplaced", sample: struck},
	{Looks: "a dashed plate, in a terminal (eth1)", Means: "declared only, or gone", Word: "declared, or gone", Said: "declared", sample: plateOf(true)},
	{Looks: "◌ a dotted ghost", Means: "where a host end was before", Word: "where it was before", sample: endOf(Ghost)},
	{Looks: "a blue line with arrows beside the wires", Means: "the way of a traced packet, which keeps to the right"},
	{Looks: "a dashed, orange line with arrows", Means: "the way of its answer"},
	{Looks: "a number in a disc", Means: "a hop of that way: the list below the picture tells by it what decides there; hollow: it depends on what is not known"},
	{Looks: "a red cross", Means: "here the packet dies"},
	{Looks: "+ green", Means: "new", Word: "new", Said: "+", sample: markOf(model.Added)},
	{Looks: "− red", Means: "gone", Word: "gone", Said: "−", sample: markOf(model.Removed)},
	{Looks: "~ amber", Means: "altered", Word: "altered", Said: "~", sample: markOf(model.Altered)},
}

// sample draws a sign from x on, around the height y, and tells its width. It has none in
// a medium in which the sign says itself in words.
type sample func(g *graph, x, y float64) (parts []Part, width float64)

func boxOf(s Style) sample {
	return func(g *graph, x, y float64) ([]Part, float64) {
		if g.m.Terse { // a box of one line is no box
			return nil, 0
		}
		h := g.m.Line * 0.8
		return []Part{Box{X: x, Y: y - h/2, W: 2 * g.m.Mark, H: h, Style: s}}, 2 * g.m.Mark
	}
}

func plateOf(dashed bool) sample {
	return func(g *graph, x, y float64) ([]Part, float64) {
		l := g.label(x+g.m.PlatePad, y, PlateText, "eth0")
		w := l.W + 2*g.m.PlatePad
		h := g.m.Line * 2 * g.m.Middle
		return []Part{Box{X: x, Y: y - h/2, W: w, H: h, Style: PlateBox, Dashed: dashed}, l}, w
	}
}

func routerSign(g *graph, x, y float64) ([]Part, float64) {
	l := g.label(x+g.m.PlatePad, y, RouterText, "router")
	w := l.W + 2*g.m.PlatePad
	return []Part{Box{X: x, Y: y - g.m.RouterBox/2, W: w, H: g.m.RouterBox, Style: RouterBox}, l}, w
}

func endOf(s Style) sample {
	return func(g *graph, x, y float64) ([]Part, float64) {
		return []Part{End{At: Point{x + math.Floor(g.m.Mark/2), y}, Style: s, Tone: -1}}, g.m.Mark
	}
}

func lineOf(s Style, tone int) sample {
	return func(g *graph, x, y float64) ([]Part, float64) {
		w, pad := math.Ceil(1.8*g.m.Mark), math.Floor(g.m.Mark*g.m.Middle/2)
		return []Part{Line{Points: []Point{{x + pad, y}, {x + pad + w, y}}, Style: s, Tone: tone}}, w + max(1, 2*pad)
	}
}

func struck(g *graph, x, y float64) ([]Part, float64) {
	if g.m.Terse { // there the word "misplaced" is beside it
		return nil, 0
	}
	l := g.label(x, y, AddressText, "198.18.0.5/24")
	l.Struck = true
	return []Part{l}, l.W
}

func markOf(c model.Change) sample {
	return func(g *graph, x, y float64) ([]Part, float64) {
		return []Part{g.markLabel(x+math.Floor(g.m.Mark/2), y, c)}, g.m.Mark
	}
}

// keyParts are the signs below a picture, in lines as wide as its caption, and where they end.
func (g *graph) keyParts(top float64) (parts []Part, bottom float64) {
	height := g.m.Line + g.m.Zone/2
	x, y := g.m.Margin, top+height*g.m.Middle
	for _, s := range Vocabulary {
		if s.sample == nil {
			continue
		}
		_, sign := s.sample(g, 0, 0)
		if sign == 0 {
			continue
		}
		w := sign + g.gap() + g.m.Measure(NoteText, s.Word) + max(2, g.m.Mark)
		if x > g.m.Margin && x+w > g.m.Margin+g.captionWidth() {
			x, y = g.m.Margin, y+height
		}
		drawn, _ := s.sample(g, x, y)
		parts = append(append(parts, drawn...), g.label(x+sign+g.gap(), y, NoteText, s.Word))
		g.width = max(g.width, x+w)
		x += w
	}
	return parts, y + height*(1-g.m.Middle)
}
