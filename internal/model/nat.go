package model

import (
	"net/netip"
	"slices"
)

// SourceNAT is a rule of a stack's firewall by which packets that it routes leave with an
// address of its own: masquerade, or SNAT.
type SourceNAT struct {
	// From is whose packets; the zero Prefix for all.
	From netip.Prefix `json:"from,omitzero"`
	// Out is the link that they leave by, NotOut one that they do not; "" for any.
	Out    string `json:"out,omitempty"`
	NotOut string `json:"not_out,omitempty"`
}

// hides tells whether packets from a subnet that is behind a link are meant.
func (n SourceNAT) hides(link string, subnet netip.Prefix) bool {
	return n.Out != link && (n.Out != "" || n.From.IsValid()) && (!n.From.IsValid() || n.From.Overlaps(subnet))
}

// The ways in which a segment reaches what is beyond the stack that it hangs on.
const (
	BehindNAT    = "nat"
	BehindRouter = "routed"
)

// markRouted tells of each stack that forwards whether there is anything to route between,
// and of the segments that hang on it how they reach further: by the addresses and the
// rules of the stack.
func (b *wirer) markRouted() {
	ends := map[string]int{}
	for _, itf := range b.w.Interfaces {
		if itf.HostEnd.In == InStack && len(itf.TellingAddresses()) > 0 {
			ends[itf.HostEnd.ID]++
		}
	}
	routes := map[string]bool{}
	for i := range b.w.Stacks {
		s := &b.w.Stacks[i]
		if s.Kind == "vrf" {
			if parent := b.w.Stack(s.Parent); parent != nil {
				s.Forwards = b.forwards[s.Parent]
			}
		}
		s.Forwards = s.Forwards && ends[s.ID] > 1
		routes[s.ID] = s.Forwards
	}
	domain := b.domains()
	gateways := map[string]netip.Addr{} // of each domain
	for _, seg := range b.w.Segments {
		if seg.Gateway.IsValid() {
			gateways[domain(seg.ID)] = seg.Gateway
		}
	}
	behind := map[string]string{}
	for i := range b.w.Interfaces {
		itf := &b.w.Interfaces[i]
		if itf.HostEnd.In != InStack || !routes[itf.HostEnd.ID] {
			continue
		}
		b.noteNAT(itf)
		if itf.WireEnd.In != InSegment || len(itf.TellingAddresses()) == 0 {
			continue
		}
		d := domain(itf.WireEnd.ID)
		// A domain with a gateway that is not this stack is not behind it.
		if gw := gateways[d]; !gw.IsValid() || itf.hasAddress(gw) {
			behind[d] = BehindRouter
			if b.isHidden(*itf) {
				behind[d] = BehindNAT
			}
		}
	}
	for i := range b.w.Segments {
		seg := &b.w.Segments[i]
		if seg.Kind == "bridge" {
			seg.Behind = behind[domain(seg.ID)]
		}
	}
}

func (i Interface) hasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(i.Addresses, func(w WiredAddress) bool { return w.Address.Addr() == a })
}

// noteNAT notes whom an interface hides, as far as the rules name it.
func (b *wirer) noteNAT(itf *Interface) {
	for _, n := range b.nat[itf.Stack] {
		if n.Out == itf.Name {
			itf.NAT = append(itf.NAT, n.From)
		}
	}
}

func (b *wirer) isHidden(itf Interface) bool {
	for _, n := range b.nat[itf.Stack] {
		for _, a := range itf.TellingAddresses() {
			if n.hides(itf.Name, a.Address.Masked()) {
				return true
			}
		}
	}
	return false
}
