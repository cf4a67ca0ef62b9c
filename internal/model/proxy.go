package model

import (
	"net/netip"
	"slices"
)

// ProtocolLearned marks, as the protocol number that iproute2 shows, the routes and the
// proxied neighbours that a relay of ours (RelayConfig) has made for the addresses that it
// has learned: they come and go with the machines, and whoever finds one later knows whose
// it is.
const ProtocolLearned = "197"

// AddProxies makes a link answer ARP and neighbour solicitations for addresses that are
// elsewhere (pneigh_lookup): for these only, as proxy_arp does for all that is routed. The
// link answers while it forwards; for IPv6 its proxy_ndp must be set as well. What is
// there already is no error.
type AddProxies struct {
	Link      string       `json:"link"`
	Addresses []netip.Addr `json:"addresses"`
	// Protocol is "" or [ProtocolLearned].
	Protocol string `json:"protocol,omitempty"`
}

// DeleteProxies ends that. What is gone already is no error.
type DeleteProxies struct {
	Link      string       `json:"link"`
	Addresses []netip.Addr `json:"addresses"`
}

// ForgetLearned takes away what a relay of ours has left behind, by [ProtocolLearned]: the
// proxied neighbours of a link, the uplink, and the routes by another, the machines'. Of
// addresses that are not learned nothing is touched.
type ForgetLearned struct {
	Uplink string `json:"uplink"`
	Link   string `json:"link"`
	// Machines are told to the LAN where they are, if the uplink is in their bridge by now:
	// by then the kernel has forgotten it (arp_ifdown, with the uplink's last address).
	Machines []LearnedAddress `json:"machines,omitempty"`
}

func (AddProxies) Op() string       { return "add-proxies" }
func (DeleteProxies) Op() string    { return "delete-proxies" }
func (ForgetLearned) Op() string    { return "forget-learned" }
func (o AddProxies) Object() string { return o.Link }

func (o DeleteProxies) Object() string { return o.Link }
func (o ForgetLearned) Object() string { return o.Link }

func (o AddProxies) apply(s *Snapshot) error {
	n := s.Here()
	if _, err := n.mustLink(o.Link); err != nil {
		return err
	}
	for _, a := range o.Addresses {
		if i := slices.IndexFunc(n.Neighbours, func(nb Neighbour) bool { return nb.isProxy(o.Link, a) }); i >= 0 {
			n.Neighbours[i].Protocol = o.Protocol
			continue
		}
		n.Neighbours = append(n.Neighbours, Neighbour{Link: o.Link, Address: a, State: "none", Proxy: true, Protocol: o.Protocol})
	}
	return nil
}

func (o DeleteProxies) apply(s *Snapshot) error {
	n := s.Here()
	if _, err := n.mustLink(o.Link); err != nil {
		return err
	}
	n.Neighbours = slices.DeleteFunc(n.Neighbours, func(nb Neighbour) bool {
		return slices.ContainsFunc(o.Addresses, func(a netip.Addr) bool { return nb.isProxy(o.Link, a) })
	})
	return nil
}

func (o ForgetLearned) apply(s *Snapshot) error {
	n := s.Here()
	n.Neighbours = slices.DeleteFunc(n.Neighbours, func(nb Neighbour) bool {
		return nb.Link == o.Uplink && nb.Proxy && nb.Protocol == ProtocolLearned
	})
	n.Routes = slices.DeleteFunc(n.Routes, func(r Route) bool { return r.Link() == o.Link && r.Protocol == ProtocolLearned })
	return nil
}

func (nb Neighbour) isProxy(link string, a netip.Addr) bool {
	return nb.Proxy && nb.Link == link && nb.Address == a
}

// Proxies are the addresses that a link answers for in others' stead.
func (n *Namespace) Proxies(link string) []Neighbour {
	var out []Neighbour
	for _, nb := range n.Neighbours {
		if nb.Proxy && nb.Link == link {
			out = append(out, nb)
		}
	}
	return out
}

// ProxyRoute is the route to one address behind a link.
func ProxyRoute(link string, a netip.Addr, protocol string) Route {
	r := Route{Table: TableMain, Type: "unicast", Destination: netip.PrefixFrom(a, a.BitLen()), Protocol: protocol,
		Scope: "link", NextHops: []NextHop{{Link: link}}}
	if a.Is6() {
		r.Scope, r.Metric = "global", MetricRA
	}
	return r
}
