package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Normalised is the namespace with everything left out that changes without anybody
// changing it: what remains is what "as it was before" means. `down` checks itself by
// it, and the contract suite of internal/kernel compares the fake with the real kernel.
//
// Left out:
//   - links: indexes, and who holds a tap;
//   - addresses: the time left to them, tentative, what the kernel makes by itself on
//     every link (link-local), and temporary ones, which nobody but the kernel can make;
//   - routes: table local, fe80::/64 and ff00::/8, the time left to them, the metric 1023
//     at which a moved RA default route waits for the kernel's own (see MoveRoutes);
//   - neighbours and forwarding entries that were learned or are the kernel's own;
//   - settings of a link that are as conf/default says;
//   - of secured ports: what was learned and dropped.
//
// Written in one way: IPv6 addresses by number (the kernel's order has a meaning for
// ties of source address selection only), IPv4 primaries before secondaries, and
// defaults as themselves (scope global, IPv6 metric 1024).
func (n Namespace) Normalised() Namespace {
	n = n.Clone()
	for i := range n.Links {
		normaliseLink(&n.Links[i])
	}
	n.Addresses = slices.DeleteFunc(n.Addresses, func(a Address) bool { return a.Origin == LinkLocal || a.Flags.Temporary })
	for i := range n.Addresses {
		normaliseAddress(&n.Addresses[i])
	}
	n.Routes = slices.DeleteFunc(n.Routes, keptByKernel)
	for i := range n.Routes {
		normaliseRoute(&n.Routes[i])
	}
	n.Neighbours = slices.DeleteFunc(n.Neighbours, func(nb Neighbour) bool { return nb.State != "permanent" && !nb.Proxy })
	n.FDB = slices.DeleteFunc(n.FDB, n.ownFDB)
	for i, p := range n.Secured {
		n.Secured[i] = p.Wish()
		n.Secured[i].Altered = p.Altered
	}
	for i, f := range n.Forwarding {
		n.Forwarding[i] = f.Wish()
		n.Forwarding[i].Altered = f.Altered
	}
	n.normaliseSettings()
	n.Sort()
	slices.SortStableFunc(n.Addresses, compareNormalised)
	n.Routes = slices.CompactFunc(n.Routes, SameRoute)
	n.emptyToNil()
	return n
}

func normaliseLink(l *Link) {
	l.Index = 0
	if l.Tap != nil {
		l.Tap.Holders = nil
	}
}

func normaliseAddress(a *Address) {
	a.Lifetime = nil
	a.Flags.Tentative = false
	if a.Scope == "" {
		a.Scope = "global"
	}
	if a.Label == a.Link {
		a.Label = ""
	}
}

func compareNormalised(a, b Address) int {
	c := cmp.Or(NaturalCompare(a.Link, b.Link), cmpFamily(a.Prefix.Addr(), b.Prefix.Addr()))
	switch {
	case c != 0:
		return c
	case a.Prefix.Addr().Is6():
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	case a.Flags.Secondary != b.Flags.Secondary:
		if a.Flags.Secondary {
			return 1
		}
		return -1
	default:
		return 0
	}
}

var (
	linkLocalPrefix = netip.MustParsePrefix("fe80::/64")
	multicastPrefix = netip.MustParsePrefix("ff00::/8")
)

func keptByKernel(r Route) bool {
	return r.Table == TableLocal || r.Destination == linkLocalPrefix || r.Destination == multicastPrefix
}

// The metrics of an IPv6 default route that an RA made (IP6_RT_PRIO_USER), and of the
// one that stands in for it after a move.
const (
	MetricRA        = 1024
	MetricInterimRA = 1023
)

func normaliseRoute(r *Route) {
	r.Expires = 0
	if r.Type == "" {
		r.Type = "unicast"
	}
	if r.Scope == "" {
		r.Scope = "global"
	}
	if len(r.NextHops) == 1 {
		r.NextHops[0].Weight = 0
	}
	if r.Is4() {
		return
	}
	if r.Metric == 0 || r.Protocol == "ra" && r.IsDefault() && r.Metric == MetricInterimRA {
		r.Metric = MetricRA
	}
}

// ownFDB: learned entries, the multicast filters of NICs, and the MACs of ports and
// bridges themselves.
func (n *Namespace) ownFDB(e FDBEntry) bool {
	if e.State == "" && !e.Remote.IsValid() {
		return true
	}
	if e.Master == "" && e.isMulticast() {
		return true
	}
	for _, name := range []string{e.Link, e.Master} {
		if l := n.Link(name); l != nil && l.MAC == e.MAC {
			return true
		}
	}
	return false
}

func (e FDBEntry) isMulticast() bool {
	return len(e.MAC) > 1 && strings.ContainsRune("13579bdf", rune(e.MAC[1]))
}

func (n *Namespace) normaliseSettings() {
	for path, value := range n.Settings {
		family, rest, ok := strings.Cut(path, "/conf/")
		if !ok {
			continue
		}
		link, setting, ok := strings.Cut(rest, "/")
		if ok && link != "default" && link != "all" && n.Settings[family+"/conf/default/"+setting] == value {
			delete(n.Settings, path)
		}
	}
}

// emptyToNil makes lists without members equal, however they came to be empty.
func (n *Namespace) emptyToNil() {
	if len(n.Addresses) == 0 {
		n.Addresses = nil
	}
	if len(n.Routes) == 0 {
		n.Routes = nil
	}
	if len(n.Neighbours) == 0 {
		n.Neighbours = nil
	}
	if len(n.FDB) == 0 {
		n.FDB = nil
	}
	if len(n.Rules) == 0 {
		n.Rules = nil
	}
	if len(n.Settings) == 0 {
		n.Settings = nil
	}
	if len(n.Secured) == 0 {
		n.Secured = nil
	}
	if len(n.Forwarding) == 0 {
		n.Forwarding = nil
	}
	if len(n.Firewalls) == 0 {
		n.Firewalls = nil
	}
}
