package model

import (
	"cmp"
	"reflect"
	"slices"
)

func (n *Namespace) hasRoute(r Route) bool {
	return slices.ContainsFunc(n.Routes, func(o Route) bool { return SameRoute(o, r) })
}

// SameRoute compares two routes in everything but the time that is left to them.
func SameRoute(a, b Route) bool {
	a.Expires, b.Expires = 0, 0
	return reflect.DeepEqual(a, b)
}

// SameRouteKey tells whether two routes stand in one another's place: one table,
// destination, source prefix, TOS and metric (fib_find_alias; fib6 has no TOS).
func SameRouteKey(a, b Route) bool {
	return a.Table == b.Table && a.Destination == b.Destination && a.From == b.From && a.TOS == b.TOS && a.Metric == b.Metric
}

// dropRoutes removes the routes by links; a multipath route loses its next hops only.
func (n *Namespace) dropRoutes(links map[string]bool) {
	by := func(h NextHop) bool { return links[h.Link] }
	for i := range n.Routes {
		r := &n.Routes[i]
		if len(r.NextHops) > 1 {
			r.NextHops = slices.DeleteFunc(slices.Clone(r.NextHops), by)
		}
	}
	n.Routes = slices.DeleteFunc(n.Routes, func(r Route) bool { return slices.ContainsFunc(r.NextHops, by) })
}

func (n *Namespace) deleteRoute(r Route) {
	if i := slices.IndexFunc(n.Routes, func(o Route) bool { return SameRoute(o, r) }); i >= 0 {
		n.Routes = slices.Delete(n.Routes, i, i+1)
	}
}

func (o AddRoutes) apply(s *Snapshot) error {
	n := s.Here()
	for _, r := range ConnectedFirst(o.Routes) {
		if err := n.addRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// ConnectedFirst orders routes so that a gateway's own route is there before those that
// lead over it: routes without a gateway first, longer prefixes before shorter.
func ConnectedFirst(routes []Route) []Route {
	rank := func(r Route) int {
		if r.Gateway().IsValid() {
			return 1
		}
		return 0
	}
	out := slices.Clone(routes)
	slices.SortStableFunc(out, func(a, b Route) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Destination.Bits(), a.Destination.Bits()))
	})
	return out
}

func (n *Namespace) addRoute(r Route) error {
	if n.hasRoute(r) {
		return nil
	}
	for _, h := range r.NextHops {
		l, err := n.mustLink(h.Link)
		if err != nil {
			return err
		}
		if !l.Up || h.Gateway.IsValid() && !n.reaches(h) {
			return refuse(r.Destination.String()+" via "+h.Gateway.String()+" dev "+h.Link, ErrInvalid)
		}
	}
	if slices.ContainsFunc(n.Routes, func(o Route) bool { return SameRouteKey(o, r) && o.Link() == r.Link() }) {
		return refuse(r.Destination.String(), ErrExists)
	}
	n.Routes = append(n.Routes, r)
	return nil
}

// reaches tells whether a gateway is on a subnet that is connected by the link.
func (n *Namespace) reaches(h NextHop) bool {
	if h.OnLink || h.Gateway.IsLinkLocalUnicast() {
		return true
	}
	return slices.ContainsFunc(n.Routes, func(r Route) bool {
		return r.Link() == h.Link && !r.Gateway().IsValid() && r.Destination.Contains(h.Gateway)
	})
}

func (o DeleteRoutes) apply(s *Snapshot) error {
	for _, r := range o.Routes {
		s.Here().deleteRoute(r)
	}
	return nil
}

func (o MoveRoutes) apply(s *Snapshot) error {
	n := s.Here()
	for _, name := range []string{o.From, o.To} {
		if _, err := n.mustLink(name); err != nil {
			return err
		}
	}
	up := n.Link(o.To).Up
	for _, r := range o.Routes {
		moved := r.moved(o.From, o.To)
		there := n.hasRoute(moved)
		if !there && !up { // fib_check_nh, ip6_route_info_create: no route by a link that is down
			return refuse(r.Destination.String()+" dev "+o.To, ErrInvalid)
		}
		n.deleteRoute(r)
		if !there {
			n.Routes = append(n.Routes, moved)
		}
	}
	return nil
}

// moved is the route with every next hop by from leaving by to. A default route that
// an RA made goes one metric lower: at the kernel's own metric it would make the kernel
// refuse every later RA (rt6_add_dflt_router), and the SLAAC addresses would run out.
func (r Route) moved(from, to string) Route {
	r.NextHops = slices.Clone(r.NextHops)
	for i := range r.NextHops {
		if r.NextHops[i].Link == from {
			r.NextHops[i].Link = to
		}
	}
	if r.Protocol == "ra" && r.IsDefault() && r.Metric == MetricRA {
		r.Metric = MetricInterimRA
	}
	return r
}

// IsInterimRA tells whether a route stands in for an RA's own default route since a move.
func (r Route) IsInterimRA() bool {
	return r.Protocol == "ra" && r.IsDefault() && r.Metric == MetricInterimRA
}

// Moved lists routes as they are after a move between links; see [MoveRoutes].
func Moved(routes []Route, from, to string) []Route {
	var out []Route
	for _, r := range routes {
		out = append(out, r.moved(from, to))
	}
	return out
}

func (o CopyNeighbours) apply(s *Snapshot) error {
	n := s.Here()
	for _, name := range []string{o.From, o.To} {
		if _, err := n.mustLink(name); err != nil {
			return err
		}
	}
	for _, nb := range slices.Clone(n.Neighbours) {
		if nb.Link != o.From || nb.MAC == "" && !nb.Proxy || nb.Protocol == ProtocolLearned {
			continue
		}
		nb.Link = o.To
		if !slices.ContainsFunc(n.Neighbours, func(x Neighbour) bool { return x.Link == o.To && x.Address == nb.Address && x.Proxy == nb.Proxy }) {
			n.Neighbours = append(n.Neighbours, nb)
		}
	}
	return nil
}
