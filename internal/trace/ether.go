package trace

import (
	"fmt"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
)

func (n *nic) hasLink() bool { return n.link != nil }

// transmit sends a frame out of an interface's wire end.
func (k *walker) transmit(n *nic, p packet) {
	if k.dead {
		return
	}
	k.atNIC(n, false)
	if !k.carries(n) {
		return
	}
	if p.size > n.MTU && n.MTU > 0 {
		k.die(ByLink, fmt.Sprintf("ip link set %s mtu %d", n.Name, p.size), "its MTU is %d, and the packet has %d bytes", n.MTU, p.size)
		return
	}
	if n.stack.ns != nil {
		k.hooks(n.stack, "egress", seen{packet: &p, oif: n.Name, family: "netdev"}, n.Name)
	}
	k.onWire(n, p)
}

// carries tells whether the interface is up and its wire end plugged in.
func (k *walker) carries(n *nic) bool {
	switch {
	case n.Declared:
		k.die(ByLink, "", "%s is only declared: the guest has no such device yet", n.name())
	case !n.Up:
		k.die(ByLink, "ip link set "+n.Name+" up", "%s is down", n.name())
	case n.hasLink() && !n.Carrier:
		k.die(ByLink, "", "%s has no carrier: its wire end dangles", n.name())
	}
	return !k.dead
}

// onWire follows the wire to who is at its other end.
func (k *walker) onWire(n *nic, p packet) {
	if k.dead {
		return
	}
	switch e := n.WireEnd; e.In {
	case model.InInterface:
		lower := k.nics[e.ID]
		switch {
		case lower == nil:
			k.may(ByWire, "the interface below it is not in the picture")
		case n.Kind == model.VLANKind && n.link != nil && n.link.VLAN != nil:
			p.vlan = n.link.VLAN.ID
			k.pass(ByVLAN, "tagged with VLAN %d", p.vlan)
			k.transmit(lower, p)
		default:
			k.transmit(lower, p)
		}
	case model.InSegment:
		k.onSegment(n, e.ID, p)
	case model.InTunnel:
		k.may(ByWire, "it goes on encapsulated to %s: a tunnel is not followed", orWord(e.ID, "its far end"))
	default:
		if members := k.index.HostEnds(model.End{In: model.InInterface, ID: n.ID}); len(members) > 0 {
			k.byMember(n, members, p)
			return
		}
		k.die(ByWire, "", "the wire end of %s dangles", n.name())
	}
}

func orWord(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (k *walker) onSegment(n *nic, id string, p packet) {
	s := k.index.Segment(id)
	switch {
	case s == nil:
		k.may(ByWire, "what it is plugged into is not in the picture")
	case s.Kind == "bridge":
		k.bridge(id, nil, p)
	case s.Kind == "cable":
		k.byCable(n, id, p)
	default:
		if members := k.index.HostEnds(model.End{In: model.InInterface, ID: n.ID}); len(members) > 0 {
			k.byMember(n, members, p)
			return
		}
		k.onLAN(n, id, p)
	}
}

// byMember sends out of a bond's member.
func (k *walker) byMember(n *nic, members []*model.Interface, p packet) {
	for _, m := range members {
		if x := k.nics[m.ID]; x != nil && x.Carrier && x.Up && !m.Standby {
			k.pass(ByLink, "it sends by %s", x.Name)
			k.transmit(x, p)
			return
		}
	}
	k.die(ByLink, "", "none of the members of %s can send", n.name())
}

func (k *walker) byCable(n *nic, id string, p packet) {
	for _, o := range k.index.WireEnds(model.End{In: model.InSegment, ID: id}) {
		if o.ID != n.ID {
			k.receive(k.nics[o.ID], p)
			return
		}
	}
	if n.HolderUnknown {
		k.may(ByWire, "who holds %s is not known", n.name())
		return
	}
	k.leave(n, id, p)
}

// onLAN is a frame on a LAN, most of whose hosts are not in the picture.
func (k *walker) onLAN(n *nic, id string, p packet) {
	k.atSegment(id)
	for _, o := range k.index.WireEnds(model.End{In: model.InSegment, ID: id}) {
		x := k.nics[o.ID]
		if x != nil && x != n && p.dstMAC != "" && (x.MAC == p.dstMAC || k.behind(x, p.dstMAC, id)) {
			k.receive(x, p)
			return
		}
	}
	k.leave(n, id, p)
}

// leave is a packet that goes out of the picture by a segment.
func (k *walker) leave(n *nic, id string, p packet) {
	want := k.to
	if k.answering {
		want = k.from
	}
	k.atSegment(id)
	k.left, k.by = id, n
	if want.stack.outside == "" {
		if k.answering && k.from.stack.ns == nil {
			k.pass(ByWire, "it leaves the picture here")
			return
		}
		k.may(ByWire, "it leaves the picture here: %s is in it, and whether it comes back in is not known", want.stack.name)
		return
	}
	if want.stack.address == p.dst && k.onSubnet(id, p.dst) {
		k.pass(ByAddress, "%s is there, outside of the picture", p.dst)
	} else {
		k.pass(ByWire, "it leaves the picture here, by the LAN's router on to %s", p.dst)
	}
	k.delivered, k.arrived = want.stack, p
}

func (k *walker) onSubnet(segment string, a netip.Addr) bool {
	s := k.index.Segment(segment)
	return s != nil && slices.ContainsFunc(s.Subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// receive is a frame that comes in by an interface's wire end.
func (k *walker) receive(n *nic, p packet) {
	if k.dead {
		return
	}
	if n == nil {
		k.may(ByWire, "the other end is not in the picture")
		return
	}
	k.atNIC(n, true)
	if !k.carries(n) {
		return
	}
	const tag = 4 // of a VLAN: there is room for it (is_skb_forwardable)
	if n.hasLink() && n.link.Kind == model.Veth && p.size > n.MTU+tag {
		k.die(ByLink, fmt.Sprintf("ip link set %s mtu %d", n.Name, p.size), "its MTU is %d, and a veth takes nothing larger: the packet has %d bytes", n.MTU, p.size)
		return
	}
	if n.stack.ns != nil {
		k.secured(n, p)
		k.hooks(n.stack, "ingress", seen{packet: &p, iif: n.Name, family: "netdev"}, n.Name)
	}
	if p.vlan != 0 && n.HostEnd.In != model.InSegment {
		k.untag(n, p)
		return
	}
	for _, o := range k.index.WireEnds(model.End{In: model.InInterface, ID: n.ID}) { // macvlans
		if x := k.nics[o.ID]; x != nil && x.MAC == p.dstMAC && x.MAC != "" && x.Kind != model.VLANKind && x != n && x.MAC != n.MAC {
			k.atNIC(x, true)
			if k.carries(x) {
				k.input(x, p)
			}
			return
		}
	}
	k.upFrom(n, p)
}

// upFrom goes from an interface to what its host end is in.
func (k *walker) upFrom(n *nic, p packet) {
	switch e := n.HostEnd; e.In {
	case model.InSegment:
		k.bridge(e.ID, n, p)
	case model.InInterface:
		if n.Standby {
			k.die(ByLink, "", "%s is on standby: what it hears is dropped", n.name())
			return
		}
		if m := k.nics[e.ID]; m != nil {
			k.atNIC(m, true)
			if k.carries(m) {
				if p.vlan != 0 && m.HostEnd.In != model.InSegment {
					k.untag(m, p)
					return
				}
				k.upFrom(m, p)
			}
		}
	default:
		k.input(n, p)
	}
}

// untag finds the VLAN's own interface for a tagged frame.
func (k *walker) untag(n *nic, p packet) {
	for _, o := range k.index.WireEnds(model.End{In: model.InInterface, ID: n.ID}) {
		x := k.nics[o.ID]
		if x == nil || x.link == nil || x.link.VLAN == nil || x.link.VLAN.ID != p.vlan {
			continue
		}
		p.vlan = 0
		k.atNIC(x, true)
		if k.carries(x) {
			k.upFrom(x, p)
		}
		return
	}
	if n.stack.ns == nil {
		k.may(ByVLAN, "the frame is tagged with VLAN %d; whether %s has an interface for it is not seen", p.vlan, n.stack.name)
		return
	}
	k.die(ByVLAN, "", "the frame is tagged with VLAN %d, and %s has no interface for it", p.vlan, n.name())
}

// secured asks the port security of an interface.
func (k *walker) secured(n *nic, p packet) {
	s := n.stack.ns.SecurityOf(n.Name)
	if n.stack.ns.SecurityUnseen {
		k.unknown("port security (it is read by root)")
	}
	if s == nil || k.dead {
		return
	}
	switch {
	case s.Altered:
		k.may(BySecurity, "somebody changed the rules of its port security")
	case s.Level == model.SecurityOff:
	case p.srcMAC != "" && !slices.Contains(s.MACs, p.srcMAC):
		k.die(BySecurity, "", "port security: %s may not send as %s, only as %s", n.Name, p.srcMAC, s.MACs[0])
	case s.Level == model.SecurityStrict && !k.maySend(s, p):
		k.die(BySecurity, "", "port security: %s may not send from %s", n.Name, p.src)
	default:
		k.pass(BySecurity, "port security (%s) lets it through", s.Level)
	}
}

func (k *walker) maySend(s *model.PortSecurity, p packet) bool {
	kind := s.IPv4
	if !p.src.Is4() {
		kind = s.IPv6
	}
	switch kind {
	case model.SourceList:
		return slices.ContainsFunc(s.Sources, func(x netip.Prefix) bool { return x.Contains(p.src) }) || s.Allows(model.AllowRouter) || p.src.IsLinkLocalUnicast()
	case model.SourceLease:
		return slices.Contains(s.Learned, p.src) || s.Allows(model.AllowRouter)
	}
	return true
}

// hasNoFrames tells which interfaces have no MACs to ask for.
func hasNoFrames(kind model.Kind) bool {
	return slices.Contains([]model.Kind{model.TunKind, model.Wireguard, model.GRE, model.IPIP, model.SIT}, kind)
}
