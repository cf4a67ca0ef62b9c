package draw

import "drawbridge/internal/model"

// Scene is one picture: groups of primitives, in the order of painting. Its unit is
// that of the metrics it was laid out with: pixels, or the cells of a terminal.
type Scene struct {
	Width, Height float64
	// Title and Desc tell it in words, for those who cannot see it.
	Title, Desc string
	// Rows of boxes; more than one where they are wider than the layout's MaxWidth.
	Rows   int
	Groups []Group
}

// Group is the drawing of one object.
type Group struct {
	// ID is "stack:ID", "segment:ID", "router:ID", "interface:ID", "cable:ID", "ghost:ID" with
	// the model's id, "way:there", "way:back", "hop:NUMBER", "outside:ADDRESS", or "caption",
	// "key", "background", "cross", "hops".
	ID string
	// Title says what it is, for a tooltip and a screen reader.
	Title  string
	Change model.Change
	Parts  []Part
}

// Part is a primitive: [Box], [Line], [End] or [Label].
type Part interface{ part() }

// Point is a place; y grows downwards.
type Point struct{ X, Y float64 }

// Style says what a primitive stands for; a renderer maps it to its means.
type Style string

// Styles of boxes.
const (
	HostBox      Style = "host"
	VMBox        Style = "vm"
	NamespaceBox Style = "ns"
	BandBox      Style = "band"      // the IP stack in a box
	VRFBox       Style = "vrf"       // a stack inside a stack
	PlateBox     Style = "plate"     // an interface's name plate
	RouterBox    Style = "router"    // the sign of a stack that routes
	HopThere     Style = "hop-there" // the number of a hop on a packet's way
	HopBack      Style = "hop-back"  // on that of its answer
	HopMay       Style = "hop-may"   // where it depends on what is not known
	HopDies      Style = "hop-dies"
)

// Styles of lines.
const (
	LANBus    Style = "lan"
	BridgeBus Style = "bridge"
	Bar       Style = "bar" // joins the ends that are plugged into an interface
	Pipe      Style = "pipe"
	Cable     Style = "cable"
	Tunneled  Style = "tunnel" // joins two ends of a tunnel
	Route     Style = "route"  // from a router's sign to a host end
	GhostPipe Style = "ghost-pipe"
	WayThere  Style = "way-there" // a packet's way, and its arrows; beside the wires
	WayBack   Style = "way-back"
	Cross     Style = "cross" // where it dies
	// CrossCasing keeps a cross off what it is painted on.
	CrossCasing Style = "cross-casing"
	// Hop is a gap in a line that a pipe passes over, inside of a box or outside.
	Hop        Style = "hop"
	HopOutside Style = "hop-outside"
)

// Styles of ends.
const (
	Plugged  Style = "plugged"
	Dangling Style = "dangling"
	Ghost    Style = "ghost"
	Joint    Style = "joint" // where a wire joins a pipe
)

// Styles of labels.
const (
	TitleText   Style = "title"
	SubText     Style = "subtitle"
	NameText    Style = "name"  // of a stack
	SystemText  Style = "sys"   // what a stack runs
	PlateText   Style = "iface" // an interface's name
	AddressText Style = "addr"
	NoteText    Style = "note"  // DHCP, dangles, what a band is
	SmallText   Style = "small" // MAC, MTU, owner
	LANText     Style = "lan-name"
	BridgeText  Style = "bridge-name"
	RouterText  Style = "router-name"
	MarkText    Style = "mark" // + − ~
	CalloutText Style = "callout"
	HopText     Style = "hop-number"
	HopMayText  Style = "hop-number-may"
	DiesText    Style = "dies" // what kills a packet, or is wrong with an interface
	MayText     Style = "may"
)

// Box is a rectangle, rounded.
type Box struct {
	X, Y, W, H float64
	Style      Style
	// Dashed boxes are declared only, or gone.
	Dashed bool
}

// Line is a run of horizontal and vertical strokes; an arrow or a cross has slanting ones.
type Line struct {
	Points []Point
	Style  Style
	// Tone tells bridges (and what is plugged into them) apart; -1: none.
	Tone   int
	Dashed bool
}

// End is an end of an interface.
type End struct {
	At    Point
	Style Style
	Tone  int
	// Small ones are those in the list of an opened group.
	Small bool
}

// Anchor says which part of a label is at its place.
type Anchor int

// Anchors.
const (
	Start Anchor = iota
	Middle
)

// Label is a line of text. At is on its vertical middle; W is its measured width.
type Label struct {
	At     Point
	W      float64
	Text   string
	Style  Style
	Tone   int
	Anchor Anchor
	// Struck text is misplaced or gone.
	Struck bool
	Change model.Change
}

func (Box) part()   {}
func (Line) part()  {}
func (End) part()   {}
func (Label) part() {}

// Left is the x at which the label's text begins.
func (l Label) Left() float64 {
	if l.Anchor == Middle {
		return l.At.X - l.W/2
	}
	return l.At.X
}
