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

// The ways in which a segment reaches what is beyond the stack that it hangs on, or does not.
const (
	BehindNAT      = "nat"
	BehindRouter   = "routed"
	BehindHost     = "host-only" // the host's stack is on it, and lets nothing further
	BehindIsolated = "isolated"  // nor is the host
)

// markRouted tells of each stack that forwards whether there is anything to route between,
// and of the segments that hang on it how they reach further: by the addresses and the
// rules of the stack.
func (b *wirer) markRouted() {
	ends := map[string]int{}
	for _, itf := range b.w.Interfaces {
		if itf.HostEnd.In == InStack && itf.Routes {
			ends[itf.HostEnd.ID]++
		}
	}
	for i := range b.w.Stacks {
		b.w.Stacks[i].Forwards = ends[b.w.Stacks[i].ID] > 1
	}
	domain := b.domains()
	gateways := map[string]netip.Addr{} // of each domain
	for _, seg := range b.w.Segments {
		if seg.Gateway.IsValid() {
			gateways[domain(seg.ID)] = seg.Gateway
		}
	}
	behind := b.closed(domain)
	for i := range b.w.Interfaces {
		itf := &b.w.Interfaces[i]
		itf.Routes = itf.Routes && itf.HostEnd.In == InStack && ends[itf.HostEnd.ID] > 1
		if !itf.Routes {
			continue
		}
		b.noteNAT(itf)
		if itf.WireEnd.In != InSegment {
			continue
		}
		d := domain(itf.WireEnd.ID)
		// A domain with a gateway that is not this stack is not behind it, but where it
		// answers in the gateway's stead.
		if gw := gateways[d]; !gw.IsValid() || itf.hasAddress(gw) || itf.ProxyARP {
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

// closed finds the domains that lead nowhere: a bridge with nothing but machines, and
// namespaces that are in the picture. Where anything else is plugged in, or what it leads to
// is not known, nothing is said; nor of a bridge on which the host has no address, and
// could have one at any time.
func (b *wirer) closed(domain func(string) string) map[string]string {
	type known struct{ open, guests, host, shut bool }
	all := map[string]*known{}
	of := func(segment string) *known {
		d := domain(segment)
		if all[d] == nil {
			all[d] = &known{}
		}
		return all[d]
	}
	ends, bridge := map[string]int{}, map[string]string{} // of each cable; the stack of each domain's bridge
	for _, s := range b.w.Segments {
		k := of(s.ID)
		k.open = k.open || s.Kind == "lan" || s.VLANAware || s.Gateway.IsValid()
		if s.Kind == "bridge" {
			bridge[domain(s.ID)] = s.Stack
		}
	}
	for _, itf := range b.w.Interfaces {
		if itf.WireEnd.In == InSegment {
			ends[itf.WireEnd.ID]++
		}
	}
	for _, itf := range b.w.Interfaces {
		if itf.HostEnd.In == InSegment {
			k := of(itf.HostEnd.ID)
			k.open = k.open || itf.Kind != TapKind && itf.Kind != Veth || itf.HolderUnknown ||
				itf.WireEnd.In == InSegment && ends[itf.WireEnd.ID] < 2
		}
		if itf.WireEnd.In != InSegment || itf.HostEnd.In == InSegment {
			continue
		}
		k := of(itf.WireEnd.ID)
		switch {
		case itf.HostEnd.In == InInterface || itf.Routes && itf.Stack != bridge[domain(itf.WireEnd.ID)]:
			k.open = true
		case itf.Stack != bridge[domain(itf.WireEnd.ID)]:
			k.guests = true
		case itf.HostEnd.In == InNothing:
			k.shut = true
		case len(itf.TellingAddresses()) > 0:
			k.host = true
		}
	}
	out := map[string]string{}
	for d, k := range all {
		switch {
		case k.open || !k.guests:
		case k.host:
			out[d] = BehindHost
		case k.shut:
			out[d] = BehindIsolated
		}
	}
	return out
}

func (i Interface) hasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(i.Addresses, func(w WiredAddress) bool { return w.Address.Addr() == a })
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
