package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"drawbridge/internal/model"
)

// Compute traces a packet, and its answer. The error of a query that makes no sense wraps
// [ErrQuery] and has a hint.
func Compute(s *model.Snapshot, q Query, r Router) (*Trace, error) {
	w := newWorld(s, r)
	from, to, err := w.resolve(q)
	if err != nil {
		return nil, err
	}
	const small = 84 // an echo request as ping(8) sends it
	size := q.Size
	if size == 0 {
		size = small
	}
	t := w.walk(from, to, q, size)
	if q.Size == 0 && t.Result != Dies {
		// What is small arrives. What is as large as the first link lets through?
		if mtu := w.firstMTU(t); mtu > small {
			if large := w.walk(from, to, q, mtu); large.Result == Dies {
				large.Summary = fmt.Sprintf("A small packet arrives, and one of %d bytes does not: %s", mtu, lowerFirst(large.Summary))
				return large, nil
			}
		}
	}
	return t, nil
}

// firstMTU is the MTU of the interface that the packet leaves its stack by.
func (w *world) firstMTU(t *Trace) int {
	for _, h := range t.Hops {
		if n := w.nics[h.Interface]; n != nil {
			return n.MTU
		}
	}
	return 0
}

// packet is what goes its way, with the frame that it is in.
type packet struct {
	src, dst       netip.Addr
	protocol       string
	port           uint16
	size           int
	answer         bool
	srcMAC, dstMAC model.MAC
	vlan           uint16
	// What a stack writes on it, for as long as it is in there.
	within       *stack
	mark         mark
	untracked    truth
	stateUnknown bool
	looped       bool // it comes in by the loopback, and was asked about on its way out
}

// l4 is the protocol by the name that nft(8) has for it.
func (p *packet) l4() string {
	if p.protocol == "icmp" && p.dst.Is6() {
		return "ipv6-icmp"
	}
	return p.protocol
}

// walker goes one way, and then the other.
type walker struct {
	*world
	t            *Trace
	from, to     *end
	answering    bool
	dead         bool
	source       netip.Addr // that the sender has chosen
	delivered    *stack
	arrived      packet // as it was delivered
	by           *nic   // by which it left the picture, or came to an opaque stack
	left         string // the segment on which it left the picture
	translations []translation
	connections  map[*stack]*connection
	legs         int
	unread       map[string]bool
}

// most is how many stacks a packet passes before it is taken for lost in a loop.
const most = 32

func (w *world) walk(from, to *end, q Query, size int) *Trace {
	protocol := q.Protocol
	if protocol == "" {
		protocol = "icmp"
	}
	k := &walker{world: w, from: from, to: to, unread: map[string]bool{}, connections: map[*stack]*connection{}, t: &Trace{Protocol: protocol, Port: q.Port, Size: size}}
	p := packet{src: from.address, dst: to.address, protocol: protocol, port: q.Port, size: size}
	k.begin(from.stack, p)
	k.t.From = Endpoint{Name: from.stack.name, Address: cmp.Or(k.source, p.src), Stack: from.stack.id}
	k.t.To = Endpoint{Name: to.stack.name, Address: to.address, Stack: to.stack.id}
	if k.delivered != nil && !k.dead {
		k.answer()
	}
	k.finish()
	return k.t
}

func (k *walker) begin(st *stack, p packet) {
	switch {
	case st.outside != "":
		k.fromLAN(st, p)
	case st.ns == nil:
		k.fromOpaque(st, p)
	default:
		k.send(st, p)
	}
}

// answer sends the answer of what was delivered back to whom it came from.
func (k *walker) answer() {
	p := k.arrived
	st := k.delivered
	k.answering, k.delivered = true, nil
	back := packet{src: p.dst, dst: p.src, protocol: p.protocol, port: p.port, size: p.size, answer: true}
	switch {
	case st.outside != "" || st.ns == nil:
		// Who is asked answers to whom it was asked by.
		back.srcMAC, back.dstMAC = p.dstMAC, p.srcMAC
		k.backFromUnseen(st, back)
	default:
		k.send(st, back)
	}
}

// at is the place that decisions are noted at from now on.
func (k *walker) at(h Hop) {
	if k.dead {
		return
	}
	if n := len(k.t.Hops); n > 0 {
		l := &k.t.Hops[n-1]
		if l.Stack == h.Stack && l.Interface == h.Interface && l.Segment == h.Segment && l.Answer == k.answering {
			return
		}
	}
	h.Number, h.Answer, h.Result = len(k.t.Hops)+1, k.answering, Pass
	k.t.Hops = append(k.t.Hops, h)
}

func (k *walker) atStack(st *stack) {
	if st.outside != "" {
		k.at(Hop{Segment: st.outside, Name: st.name})
		return
	}
	k.at(Hop{Stack: st.id, Name: st.name})
}

func (k *walker) atNIC(n *nic, in bool) { k.at(Hop{Interface: n.ID, Name: n.name(), In: in}) }

func (k *walker) atSegment(id string) {
	name := id
	if s := k.index.Segment(id); s != nil {
		name = segmentName(*s)
	}
	k.at(Hop{Segment: id, Name: name})
}

func segmentName(s model.Segment) string {
	switch s.Kind {
	case "bridge":
		return "bridge " + s.Name
	case "cable":
		return "the cable"
	}
	return strings.TrimSpace("LAN " + s.Name)
}

// note notes a decision at the place where the packet is; one of which it dies ends the way.
func (k *walker) note(d Decision) {
	if k.dead || len(k.t.Hops) == 0 {
		return
	}
	if d.Result == "" {
		d.Result = Pass
	}
	h := &k.t.Hops[len(k.t.Hops)-1]
	h.Decisions = append(h.Decisions, d)
	if d.Result == Dies || d.Result == May && h.Result == Pass {
		h.Result = d.Result
	}
	if d.Result == Dies {
		k.dead = true
	}
}

func (k *walker) pass(by Kind, format string, args ...any) {
	k.note(Decision{By: by, Text: fmt.Sprintf(format, args...)})
}

func (k *walker) may(by Kind, format string, args ...any) {
	k.note(Decision{By: by, Text: fmt.Sprintf(format, args...), Result: May})
}

func (k *walker) die(by Kind, mend, format string, args ...any) {
	k.note(Decision{By: by, Text: fmt.Sprintf(format, args...), Result: Dies, Mend: mend})
}

// unknown notes once what of the snapshot is missing.
func (k *walker) unknown(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !k.unread[text] {
		k.unread[text] = true
		k.t.Unknown = append(k.t.Unknown, text)
	}
}

func (p *packet) family() string {
	if p.dst.Is4() {
		return "ip"
	}
	return "ip6"
}

// finish tells the result in a sentence.
func (k *walker) finish() {
	t := k.t
	t.Result = Pass
	what := "The packet"
	if h, d := t.Cross(); d != nil {
		if h.Answer {
			what = "The answer"
		}
		t.Result = Dies
		t.Summary = fmt.Sprintf("%s dies at %s: %s.", what, h.Name, d.Text)
		return
	}
	if h, d := t.Doubt(); d != nil {
		t.Result = May
		t.Summary = fmt.Sprintf("It may arrive; it depends at %s: %s.", h.Name, d.Text)
		return
	}
	for _, u := range t.Unknown {
		if !strings.Contains(u, "guest's own") {
			t.Result = May
			t.Summary = fmt.Sprintf("It arrives and is answered, as far as is known; not known: %s.", strings.Join(t.Unknown, "; "))
			return
		}
	}
	t.Summary = "The packet arrives, and its answer comes back."
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
