package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// ErrQuery is what is wrong with a query: a name that nothing has, families mixed.
var ErrQuery = errors.New("cannot be traced")

// LAN is the name for somebody on the LAN, Host for the stack that was asked for.
const (
	LAN  = "lan"
	Host = "host"
)

// resolve finds the ends of a query: their stacks and their addresses, of one family.
func (w *world) resolve(q Query) (from, to *end, err error) {
	if from, err = w.find(q.From); err != nil {
		return nil, nil, err
	}
	if a, err := netip.ParseAddr(q.To); err == nil && a.IsLoopback() && from.stack.outside == "" {
		to = &end{asked: q.To, stack: from.stack, address: a} // its own
	} else if to, err = w.find(q.To); err != nil {
		return nil, nil, err
	}
	if q.Protocol != "" && q.Protocol != "icmp" && q.Protocol != "tcp" && q.Protocol != "udp" {
		return nil, nil, fmt.Errorf("%w: no protocol %q\n  hint: icmp, tcp or udp", ErrQuery, q.Protocol)
	}
	if q.Size != 0 && (q.Size < 28 || q.Size > 65535) {
		return nil, nil, fmt.Errorf("%w: a packet of %d bytes\n  hint: from 28 to 65535", ErrQuery, q.Size)
	}
	family := 0
	for _, e := range []*end{from, to} {
		if !e.address.IsValid() {
			continue
		}
		if family != 0 && familyOf(e.address) != family {
			return nil, nil, fmt.Errorf("%w: %s and %s are of two families\n  hint: both IPv4, or both IPv6", ErrQuery, q.From, q.To)
		}
		family = familyOf(e.address)
	}
	if family == 0 {
		family = 4
		if q.IPv6 || !from.speaks(4) || !to.speaks(4) {
			family = 6
		}
	}
	if q.IPv6 && family == 4 {
		return nil, nil, fmt.Errorf("%w: %s and %s over IPv6\n  hint: an address of IPv4 has no way there", ErrQuery, q.From, q.To)
	}
	if err := w.choose(from, to, family); err != nil {
		return nil, nil, err
	}
	if from.stack == to.stack && from.stack.outside != "" {
		return nil, nil, fmt.Errorf("%w: %s and %s are both outside of the picture\n  hint: one of the two has to be in it", ErrQuery, q.From, q.To)
	}
	return from, to, nil
}

// end is where a packet begins or ends.
type end struct {
	asked   string
	stack   *stack
	address netip.Addr // invalid where it is to be chosen
}

// speaks tells whether the end has, or may have, an address of a family.
func (e *end) speaks(family int) bool {
	if e.stack.outside != "" {
		return true
	}
	return slices.ContainsFunc(e.stack.addresses(), func(p netip.Prefix) bool { return familyOf(p.Addr()) == family })
}

// addresses are the stack's own that a packet may have, not those of its loopback.
func (st *stack) addresses() []netip.Prefix {
	var out []netip.Prefix
	for _, n := range st.nics {
		for _, a := range n.Addresses {
			if !a.Address.Addr().IsLinkLocalUnicast() && !a.Address.Addr().IsLoopback() {
				out = append(out, a.Address)
			}
		}
	}
	return out
}

// find finds whom a word means.
func (w *world) find(word string) (*end, error) {
	e := &end{asked: word}
	if a, err := netip.ParseAddr(word); err == nil {
		return w.findAddress(e, a.Unmap())
	}
	if p, err := netip.ParsePrefix(word); err == nil {
		return nil, fmt.Errorf("%w: %q is a prefix\n  hint: one address of it: %s", ErrQuery, word, p.Addr())
	}
	switch word {
	case Host:
		e.stack = w.byID[hostID]
		return e, nil
	case LAN:
		return w.somebody(e)
	}
	for _, st := range w.stacks {
		if st.name == word || st.id == word {
			e.stack = st
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: nothing here is called %q\n  hint: an address, or one of %s", ErrQuery, word, w.names(word))
}

func (w *world) findAddress(e *end, a netip.Addr) (*end, error) {
	e.address = a
	switch {
	case a.Zone() != "":
		return nil, fmt.Errorf("%w: %s has a zone\n  hint: an address that says itself where it is", ErrQuery, a)
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return nil, fmt.Errorf("%w: %s is nobody's own address\n  hint: the address of one host", ErrQuery, a)
	}
	for _, st := range w.stacks {
		if _, ok := st.has(a); ok && !a.IsLoopback() {
			e.stack = st
			return e, nil
		}
	}
	if a.IsLoopback() {
		return nil, fmt.Errorf("%w: %s is each stack's own loopback\n  hint: the stack's name", ErrQuery, a)
	}
	e.stack = w.outside(a)
	return e, nil
}

// outside is a host that is not in the picture: on the segment whose subnet it is of, else
// behind some LAN.
func (w *world) outside(a netip.Addr) *stack {
	st := &stack{id: "", name: a.String(), address: a, outside: "?"}
	for _, kinds := range [][]string{{"lan"}, {"bridge", "cable"}} {
		for _, s := range w.wiring.Segments {
			if slices.Contains(kinds, s.Kind) && slices.ContainsFunc(s.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) && st.outside == "?" {
				st.outside = s.ID
			}
		}
	}
	if st.outside == "?" {
		for _, s := range w.wiring.Segments {
			if s.Kind == "lan" && (s.Gateway.IsValid() || st.outside == "?") {
				st.outside = s.ID
			}
		}
	}
	st.mac = w.macOf(a)
	return st
}

// macOf is what the neighbour tables say of an address.
func (w *world) macOf(a netip.Addr) model.MAC {
	for _, st := range w.stacks {
		if st.ns == nil {
			continue
		}
		for _, n := range st.ns.Neighbours {
			if n.Address == a && n.MAC != "" && !n.Proxy {
				return n.MAC
			}
		}
	}
	return "" // unknown
}

// somebody is a host on the LAN: its gateway, where there is one; an address of its subnet
// that nobody in the picture has, else.
func (w *world) somebody(e *end) (*end, error) {
	for _, wantGateway := range []bool{true, false} {
		for _, s := range w.wiring.Segments {
			if s.Kind != "lan" || wantGateway && !s.Gateway.IsValid() {
				continue
			}
			e.stack = &stack{name: "somebody on the LAN", outside: s.ID}
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no LAN in the picture\n  hint: is the uplink's cable plugged in?", ErrQuery)
}

// lanAddress is an address on a segment for somebody outside.
func (w *world) lanAddress(segment string, family int) netip.Addr {
	s := w.index.Segment(segment)
	if s == nil {
		return netip.Addr{}
	}
	free := func(a netip.Addr) bool {
		return !slices.ContainsFunc(w.stacks, func(st *stack) bool { _, ok := st.has(a); return ok })
	}
	if s.Gateway.IsValid() && familyOf(s.Gateway) == family && free(s.Gateway) {
		return s.Gateway
	}
	for _, p := range s.Subnets {
		if familyOf(p.Addr()) != family {
			continue
		}
		a := p.Masked().Addr().Next()
		for n := 0; n < 256 && p.Contains(a); n++ {
			if free(a) {
				return a
			}
			a = a.Next()
		}
	}
	return netip.Addr{}
}

// choose gives both ends their addresses.
func (w *world) choose(from, to *end, family int) error {
	for _, e := range []*end{from, to} {
		other := from
		if e == from {
			other = to
		}
		if e.address.IsValid() {
			continue
		}
		if e.stack.outside != "" {
			if e.address = w.lanAddress(e.stack.outside, family); !e.address.IsValid() {
				return fmt.Errorf("%w: the LAN has no subnet of IPv%d that is known\n  hint: an address on it", ErrQuery, family)
			}
			e.stack.address, e.stack.mac = e.address, w.macOf(e.address)
			continue
		}
		var own []netip.Prefix
		for _, p := range e.stack.addresses() {
			if familyOf(p.Addr()) == family {
				own = append(own, p)
			}
		}
		if len(own) == 0 {
			return fmt.Errorf("%w: %s has no address of IPv%d\n  hint: give one; %s", ErrQuery, e.asked, family, w.addressHint(e.stack))
		}
		e.address = own[0].Addr()
		if e == to || e.stack.ns == nil { // that which is on the other's network
			for _, p := range own {
				if p.Masked().Contains(other.near(family)) {
					e.address = p.Addr()
				}
			}
			continue
		}
		e.address = netip.Addr{} // the stack chooses by the route
	}
	return nil
}

// near is an address of an end, for comparing networks.
func (e *end) near(family int) netip.Addr {
	if e.address.IsValid() {
		return e.address
	}
	for _, p := range e.stack.addresses() {
		if familyOf(p.Addr()) == family {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

func (w *world) addressHint(st *stack) string {
	var has []string
	for _, p := range st.addresses() {
		has = append(has, p.Addr().String())
	}
	if len(has) == 0 {
		return "what it has inside is not seen, or it has none yet"
	}
	return "it has " + strings.Join(has, ", ")
}

// names lists whom one may ask for, those first that are like a word.
func (w *world) names(word string) string {
	all := []string{Host}
	if slices.ContainsFunc(w.wiring.Segments, func(s model.Segment) bool { return s.Kind == "lan" }) {
		all = append(all, LAN)
	}
	for _, st := range w.stacks[1:] {
		all = append(all, st.name)
	}
	like := func(n string) bool {
		head := strings.ToLower(word[:min(len(word), 2)])
		return head != "" && strings.HasPrefix(strings.ToLower(n), head)
	}
	slices.SortStableFunc(all, func(a, b string) int {
		switch {
		case like(a) == like(b):
			return 0
		case like(a):
			return -1
		}
		return 1
	})
	if len(all) > 8 {
		all = append(all[:8], "…")
	}
	return strings.Join(all, ", ")
}
