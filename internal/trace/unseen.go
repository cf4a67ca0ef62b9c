package trace

import (
	"net/netip"

	"drawbridge/internal/model"
)

// What is not in the picture: hosts of the LAN, and the inside of machines that are not
// ours.

// learn notes which addresses machines have whose inside is not seen: by the neighbour
// tables, by what was seen at their ports, by their leases.
func (w *world) learn() {
	w.learned = map[netip.Addr]*nic{}
	byMAC := map[model.MAC]*nic{}
	byLink := map[model.Ref]*nic{}
	for _, st := range w.stacks {
		if st.ns != nil {
			continue
		}
		for _, n := range st.nics {
			byMAC[n.MAC] = n
			for _, o := range w.index.WireEnds(n.WireEnd) {
				if x := w.nics[o.ID]; x != nil && x != n && x.stack.ns != nil {
					byLink[model.Ref{Namespace: x.stack.ns.Name, Name: x.Name}] = n
				}
			}
		}
	}
	note := func(a netip.Addr, n *nic) {
		if n == nil || w.learned[a] != nil || a.IsLinkLocalUnicast() {
			return
		}
		w.learned[a] = n
		n.Addresses = append(n.Addresses, model.WiredAddress{Address: netip.PrefixFrom(a, a.BitLen()), Origin: model.DHCP, Status: "ok"})
	}
	for _, ns := range w.snap.Namespaces {
		for _, p := range ns.Secured {
			for _, s := range p.Seen {
				note(s.Address, byLink[model.Ref{Namespace: ns.Name, Name: p.Link}])
			}
		}
		for _, x := range ns.Neighbours {
			if x.MAC != "" && !x.Proxy {
				note(x.Address, byMAC[x.MAC])
			}
		}
	}
	for _, s := range w.snap.Services {
		for _, l := range s.Leases {
			note(l.Address, byMAC[l.MAC])
		}
	}
}

// fromOpaque is a packet of a machine whose inside is not seen.
func (k *walker) fromOpaque(st *stack, p packet) {
	k.atStack(st)
	var n *nic
	for _, x := range st.nics {
		if n == nil && x.WireEnd.Plugged() || x.holds(p.src) {
			n = x
		}
	}
	if n == nil {
		k.die(ByWire, "", "%s has no interface that is plugged in", st.name)
		return
	}
	next := p.dst
	segment := k.index.Segment(n.WireEnd.ID)
	subnets, gateway := k.knownOf(n)
	onLink := false
	for _, s := range subnets {
		onLink = onLink || s.Contains(p.dst)
	}
	if !onLink && gateway.IsValid() {
		next = gateway
	}
	_ = segment
	if next == p.dst {
		k.may(ByRoute, "what %s has inside is not seen: taken as sending to %s itself", st.name, p.dst)
	} else {
		k.may(ByRoute, "what %s has inside is not seen: taken as sending by the gateway %s", st.name, next)
	}
	owners := k.answerers(n, next)
	if len(owners) > 0 {
		p.dstMAC = owners[0].MAC
	}
	p.srcMAC = n.MAC
	k.transmit(n, p)
}

// knownOf are the subnets and the gateway of an interface's Ethernet.
func (k *walker) knownOf(n *nic) (subnets []netip.Prefix, gateway netip.Addr) {
	segments, _ := k.domain(n)
	for id := range segments {
		if s := k.index.Segment(id); s != nil {
			subnets = append(subnets, s.Subnets...)
			if s.Gateway.IsValid() {
				gateway = s.Gateway
			}
		}
	}
	return subnets, gateway
}

// fromLAN is a packet of a host outside: it begins on the segment where that stands, and
// comes to who answers there for the address, or for a router's.
func (k *walker) fromLAN(st *stack, p packet) {
	k.atStack(st)
	k.pass(ByAddress, "%s is outside of the picture", p.src)
	var at *nic
	for _, o := range k.index.WireEnds(model.End{In: model.InSegment, ID: st.outside}) {
		if at = k.nics[o.ID]; at != nil {
			break
		}
	}
	if at == nil {
		k.die(ByWire, "", "nothing in the picture is plugged in there")
		return
	}
	// Whoever it asks may be behind the interface that is plugged in there.
	outside := &nic{Interface: &model.Interface{ID: "outside", HostEnd: model.End{In: model.InStack}, WireEnd: at.WireEnd}, stack: &stack{name: st.name}}
	owners := k.answerers(outside, p.dst)
	p.srcMAC = st.mac
	switch {
	case len(owners) > 1 && !sameStack(owners):
		k.die(ByAddress, "", "%s is at two: %s; who answers first gets the packets", p.dst, namesOf(owners))
		return
	case len(owners) > 0:
		k.pass(ByNeighbour, "%s answers for %s%s", owners[0].name(), p.dst, owners[0].why)
		p.dstMAC = owners[0].MAC
	case k.onSubnet(st.outside, p.dst):
		k.die(ByNeighbour, "", "it is asked for %s on the LAN, and nobody in the picture answers", p.dst)
		return
	default:
		router := k.routerOn(outside)
		if router == nil {
			k.die(ByRoute, "", "nobody in the picture routes from the LAN to %s", p.dst)
			return
		}
		k.may(ByRoute, "%s is not on the LAN: the sender needs a route to it by %s", p.dst, router.name())
		p.dstMAC = router.MAC
	}
	// Into the picture by the interface that is on the LAN itself.
	for _, o := range k.index.WireEnds(model.End{In: model.InSegment, ID: st.outside}) {
		x := k.nics[o.ID]
		if x != nil && (x.MAC == p.dstMAC || x.HostEnd.In != model.InStack || k.behindHost(x, p.dstMAC)) {
			k.receive(x, p)
			return
		}
	}
}

func (k *walker) behindHost(x *nic, mac model.MAC) bool {
	for _, o := range k.index.WireEnds(model.End{In: model.InInterface, ID: x.ID}) {
		if o.MAC == mac {
			return true
		}
	}
	return false
}

// routerOn is an interface on the Ethernet whose stack has other interfaces to route to.
func (k *walker) routerOn(from *nic) *nic {
	_, nics := k.domain(from)
	for _, n := range nics {
		if n.HostEnd.In == model.InStack && n.stack.ns != nil && len(n.TellingAddresses()) > 0 && len(n.stack.nics) > 1 {
			return n
		}
	}
	return nil
}

// backFromUnseen is the answer of who is not in the picture, or not seen inside: by the
// way it was asked.
func (k *walker) backFromUnseen(st *stack, p packet) {
	by := k.by
	if st.outside != "" {
		segment := k.left
		k.at(Hop{Segment: segment, Name: st.name})
		subnets, _ := k.knownOf(by)
		near := len(subnets) == 0
		for _, s := range subnets {
			near = near || s.Contains(p.dst)
		}
		if near {
			k.pass(ByWire, "it answers to %s", p.dst)
		} else {
			k.may(ByRoute, "the LAN needs a route to %s, by this host, for the answer to come back; masquerade would spare it", p.dst)
		}
		if by.WireEnd.In == model.InSegment && by.WireEnd.ID == segment {
			k.receive(by, p)
			return
		}
		k.may(ByWire, "where it comes back in is not known")
		return
	}
	k.atStack(st)
	k.pass(ByWire, "it answers to whom it was asked by; what it has inside is not seen")
	k.transmit(by, p)
}
