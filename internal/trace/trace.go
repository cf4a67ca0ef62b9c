// Package trace computes the way of a packet through a snapshot: hop by hop, with the
// route, neighbour, forwarding entry, rule or setting that decides at each, until it
// arrives, leaves the picture, or dies; and then the way of the answer.
//
// In: a model.Snapshot and a [Query]; what the kernel says about routes, where it can be
// asked. Out: a [Trace]. It imports the standard library and model only: no I/O, no clock.
// What it cannot know is told as [May], never guessed.
package trace

import (
	"net/netip"

	"drawbridge/internal/model"
)

// Query is what is asked for.
type Query struct {
	// From and To are each an address, the name of a machine, of the host, of a namespace,
	// "host" (the stack that was asked for) or "lan" (somebody on the LAN).
	From, To string
	// Protocol is icmp, tcp or udp; "" for icmp. Port is the destination's, 0 for none.
	Protocol string
	Port     uint16
	// IPv6 prefers that family where the ends have both.
	IPv6 bool
	// Size of the packet in bytes, its IP header included. 0: a small one, and where that
	// arrives, one as large as the first link lets through.
	Size int
}

// Result is how a hop, or a whole way, ends.
type Result string

// The results.
const (
	Pass Result = "pass"
	May  Result = "may"  // it depends on what is not known
	Dies Result = "dies" // here the packet is lost
)

// Trace is a packet's way, and its answer's.
type Trace struct {
	From Endpoint `json:"from"`
	To   Endpoint `json:"to"`
	// Protocol, Port and Size are what was sent.
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port,omitempty"`
	Size     int    `json:"size"`
	// Hops of the packet, then those of the answer.
	Hops   []Hop  `json:"hops"`
	Result Result `json:"result"`
	// Summary tells the result in a sentence.
	Summary string `json:"summary"`
	// Unknown is what of the snapshot is missing that would have decided.
	Unknown []string `json:"unknown,omitempty"`
	// Sent is what became of a packet that was sent that way, nil where none was.
	Sent *Sent `json:"sent,omitempty"`
}

// Endpoint is where a packet begins or ends.
type Endpoint struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	// Stack is the wiring's id, "" for somebody outside of the picture.
	Stack string `json:"stack,omitempty"`
}

// Hop is one place on the way: a stack, an interface or a segment, by the ids of the
// wiring. Number counts from 1, and goes on in the answer.
type Hop struct {
	Number    int    `json:"number"`
	Answer    bool   `json:"answer,omitempty"` // of the way back
	Stack     string `json:"stack,omitempty"`
	Interface string `json:"interface,omitempty"`
	Segment   string `json:"segment,omitempty"`
	// Name is what a reader calls the place.
	Name string `json:"name"`
	// In is set where an interface is met from its wire, coming in.
	In        bool       `json:"in,omitempty"`
	Decisions []Decision `json:"decisions"`
	Result    Result     `json:"result"`
	// Seen tells of an interface whether the packet that was sent was seen there; "" where
	// none was sent, or it was not watched.
	Seen string `json:"seen,omitempty"`
	// asks: a packet waits here until a neighbour has said which MAC is its own.
	asks bool
}

// Kind says what decides.
type Kind string

// What decides.
const (
	ByLink      Kind = "link"      // up, carrier, MTU
	ByRoute     Kind = "route"     // a route or a rule of the routing policy
	ByNeighbour Kind = "neighbour" // ARP and neighbour discovery
	ByAddress   Kind = "address"   // whose address it is
	ByFDB       Kind = "fdb"       // the forwarding database of a bridge
	ByPort      Kind = "port"      // a bridge's port
	ByVLAN      Kind = "vlan"
	ByFirewall  Kind = "firewall"
	BySetting   Kind = "setting"  // a sysctl
	BySecurity  Kind = "security" // port security
	ByWire      Kind = "wire"     // what is plugged into what
)

// Decision is one thing that decides at a hop.
type Decision struct {
	By     Kind   `json:"by"`
	Text   string `json:"text"`
	Result Result `json:"result"`
	// Mend tells how to make it pass, where that is plain.
	Mend string `json:"mend,omitempty"`
}

// Router is asked for routes where a stack is alive: the kernel's own look-up. Stack is the
// name of the namespace; ok is false where it cannot be asked.
type Router interface {
	Lookup(namespace string, q model.RouteQuery) (a model.RouteAnswer, ok bool)
}

// Cross is the decision at which the packet dies, and its hop; nil if it does not.
func (t *Trace) Cross() (*Hop, *Decision) { return t.first(Dies) }

// Doubt is the first decision that cannot be made; nil if there is none.
func (t *Trace) Doubt() (*Hop, *Decision) { return t.first(May) }

func (t *Trace) first(r Result) (*Hop, *Decision) {
	for i := range t.Hops {
		for j := range t.Hops[i].Decisions {
			if t.Hops[i].Decisions[j].Result == r {
				return &t.Hops[i], &t.Hops[i].Decisions[j]
			}
		}
	}
	return nil, nil
}

// Path lists the interfaces that the packet (or its answer) passes, in their order.
func (t *Trace) Path(answer bool) []string {
	var out []string
	for _, h := range t.Hops {
		if h.Interface != "" && h.Answer == answer {
			out = append(out, h.Interface)
		}
	}
	return out
}
