package model

import (
	"net/netip"
	"slices"
)

// metricIP6 is IP6_RT_PRIO_ADDRCONF, the metric of the kernel's own IPv6 prefix routes.
const metricIP6 = 256

func (o AddAddresses) apply(s *Snapshot) error {
	n := s.Here()
	if _, err := n.mustLink(o.Link); err != nil {
		return err
	}
	for _, a := range o.Addresses {
		a.Link = o.Link
		n.addAddress(a)
	}
	return nil
}

func (n *Namespace) addAddress(a Address) {
	if slices.ContainsFunc(n.Addresses, func(b Address) bool { return sameAddress(a, b) }) {
		return
	}
	if a.Prefix.Addr().Is4() {
		a.Flags.NoDAD = false // IPv4 has none, and does not keep the flag
		a.Flags.Secondary = slices.ContainsFunc(n.Addresses, func(b Address) bool { return inSubnetOf(b, a) && !b.Flags.Secondary })
	}
	n.insertAddress(a)
	if l := n.Link(a.Link); l.Up {
		n.addConnected(a)
	}
}

// insertAddress puts an IPv4 primary before the secondaries of its link (__inet_insert_ifa).
func (n *Namespace) insertAddress(a Address) {
	at := len(n.Addresses)
	if i := slices.IndexFunc(n.Addresses, func(b Address) bool { return b.Link == a.Link && b.Flags.Secondary }); i >= 0 && a.Prefix.Addr().Is4() && !a.Flags.Secondary {
		at = i
	}
	n.Addresses = slices.Insert(n.Addresses, at, a)
}

// sameAddress: one link holds one local address per prefix length (inet_insert_ifa,
// ipv6_add_addr; IPv6 does not even look at the length).
func sameAddress(a, b Address) bool {
	if a.Link != b.Link || a.Prefix.Addr() != b.Prefix.Addr() {
		return false
	}
	return a.Prefix.Addr().Is6() || a.Prefix.Bits() == b.Prefix.Bits()
}

// inSubnetOf: both IPv4 addresses of one link are in one connected subnet.
func inSubnetOf(b, a Address) bool {
	return a.Link == b.Link && a.Prefix.Bits() == b.Prefix.Bits() && a.Prefix.Masked() == b.Prefix.Masked() && a.Peer == b.Peer
}

// connected are the routes that the kernel makes for an address: one, or none, and for
// an IPv6 address with a peer one to either (inet6_addr_add).
func connected(a Address) []Route {
	dst, is4 := a.Prefix.Masked(), a.Prefix.Addr().Is4()
	if a.Flags.NoPrefixRoute || a.Flags.Secondary || dst.IsSingleIP() && is4 && !a.Peer.IsValid() || a.Origin == LinkLocal {
		return nil
	}
	switch {
	case a.Peer.IsValid() && is4:
		dst = a.Peer.Masked()
	case a.Peer.IsValid():
		return []Route{connectedTo(a.Prefix.Masked(), a), connectedTo(a.Peer.Masked(), a)}
	}
	return []Route{connectedTo(dst, a)}
}

func connectedTo(dst netip.Prefix, a Address) Route {
	r := Route{Table: TableMain, Type: "unicast", Destination: dst, Protocol: "kernel", Metric: a.Metric, NextHops: []NextHop{{Link: a.Link}}}
	if dst.Addr().Is4() {
		r.Scope, r.Source = "link", a.Prefix.Addr()
	} else {
		r.Scope = "global"
		if r.Metric == 0 {
			r.Metric = metricIP6
		}
	}
	return r
}

func (n *Namespace) addConnected(a Address) {
	for _, r := range connected(a) {
		if !n.hasRoute(r) {
			n.Routes = append(n.Routes, r)
		}
	}
}

func (o DeleteAddresses) apply(s *Snapshot) error {
	n := s.Here()
	if _, err := n.mustLink(o.Link); err != nil {
		return err
	}
	for _, a := range o.Addresses {
		a.Link = o.Link
		n.deleteAddress(a)
	}
	return nil
}

// deleteAddress follows __inet_del_ifa and inet6_addr_del: the connected route goes
// with the last address that has it, IPv4 routes that prefer it as source go, and
// without promote_secondaries the IPv4 secondaries of its subnet go as well.
func (n *Namespace) deleteAddress(a Address) {
	i := slices.IndexFunc(n.Addresses, func(b Address) bool { return sameAddress(a, b) })
	if i < 0 {
		return
	}
	gone := n.Addresses[i]
	n.Addresses = slices.Delete(n.Addresses, i, i+1)
	if gone.Prefix.Addr().Is4() && !gone.Flags.Secondary {
		n.dropSecondaries(gone)
	}
	for _, r := range connected(gone) {
		if !slices.ContainsFunc(n.Addresses, func(b Address) bool {
			return b.Link == gone.Link && slices.ContainsFunc(connected(b), func(o Route) bool { return o.Destination == r.Destination })
		}) {
			n.deleteRoute(r)
		}
	}
	if gone.Prefix.Addr().Is4() && !n.hasLocal(gone.Prefix.Addr()) {
		n.Routes = slices.DeleteFunc(n.Routes, func(r Route) bool { return r.Source == gone.Prefix.Addr() })
	}
}

func (n *Namespace) dropSecondaries(primary Address) {
	promote := n.Settings["ipv4/conf/all/promote_secondaries"] == "1" ||
		n.Settings["ipv4/conf/"+primary.Link+"/promote_secondaries"] == "1"
	for i := range n.Addresses {
		b := &n.Addresses[i]
		if !inSubnetOf(*b, primary) || !b.Flags.Secondary {
			continue
		}
		if promote {
			b.Flags.Secondary = false
			n.addConnected(*b)
			return
		}
	}
	n.Addresses = slices.DeleteFunc(n.Addresses, func(b Address) bool { return inSubnetOf(b, primary) && b.Flags.Secondary })
}

func (n *Namespace) hasLocal(ip netip.Addr) bool {
	return slices.ContainsFunc(n.Addresses, func(a Address) bool { return a.Prefix.Addr() == ip })
}

func (o SettleAddresses) apply(s *Snapshot) error {
	n := s.Here()
	if _, err := n.mustLink(o.Link); err != nil {
		return err
	}
	for _, a := range o.Addresses {
		a.Link = o.Link
		there, err := n.mustAddress(a)
		if err != nil {
			return err
		}
		a.Flags.Secondary = there.Flags.Secondary
		*there = a
		n.addConnected(a)
	}
	return nil
}

// mustAddress finds an address by its link and its local address.
func (n *Namespace) mustAddress(a Address) (*Address, error) {
	i := slices.IndexFunc(n.Addresses, func(b Address) bool { return sameAddress(a, b) })
	if i < 0 {
		return nil, refuse(a.Prefix.String(), ErrNotFound)
	}
	return &n.Addresses[i], nil
}
