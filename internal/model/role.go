package model

import (
	"net/netip"
	"slices"
)

// Roles are what a stack does for others at the host end of an interface.
type Roles struct {
	// Routes: packets that come in by it are routed on, to others' addresses.
	Routes bool `json:"routes,omitempty"`
	// NAT is whose packets leave by this interface with its own address; the zero Prefix for all.
	NAT []netip.Prefix `json:"nat,omitempty"`
	// Publishes are machines' ports that are reached at the stack's addresses here.
	Publishes []Publish `json:"publishes,omitempty"`
	// Serves names what is served to who is on its Ethernet: DHCP, RA, DNS. Failed: by nobody
	// any more.
	Serves []string `json:"serves,omitempty"`
	Failed bool     `json:"failed,omitempty"`
	// Relays is the link to whose LAN DHCP is relayed, and from which router advertisements
	// are; "" for none.
	Relays string `json:"relays,omitempty"`
	// Proxies are the addresses that it answers for in others' stead: proxy ARP, proxy NDP.
	// ProxyARP: it answers ARP for all that is routed elsewhere.
	Proxies  []netip.Addr `json:"proxies,omitempty"`
	ProxyARP bool         `json:"proxy_arp,omitempty"`
}

// Same compares what the roles are.
func (r Roles) Same(o Roles) bool {
	return r.Routes == o.Routes && r.ProxyARP == o.ProxyARP && r.Failed == o.Failed && r.Relays == o.Relays && slices.Equal(r.NAT, o.NAT) &&
		slices.Equal(r.Publishes, o.Publishes) && slices.Equal(r.Serves, o.Serves) && slices.Equal(r.Proxies, o.Proxies)
}

// routesBy tells whether the kernel routes on what comes in by a link: by the link's own
// switch, else by that for all. IPv6 has one for all only (ip6_forward in net/ipv6/ip6_output.c;
// force_forwarding, since Linux 6.17, is the link's). What rules of ours keep in does not count.
func (n *Namespace) routesBy(link string) bool {
	for _, f := range n.Forwarding {
		if f.Link == link && !f.Out && !f.In && len(f.Publish) == 0 && !f.Altered {
			return false
		}
	}
	v4, own := n.Settings["ipv4/conf/"+link+"/forwarding"]
	if !own {
		v4 = n.Settings["ipv4/ip_forward"]
	}
	v6 := func(path string) bool { return n.Settings["ipv6/conf/"+path] == "1" }
	return v4 == "1" || v6("all/forwarding") || v6(link+"/force_forwarding")
}

// noteRoles notes at each interface of a stack what it does there.
func (b *wirer) noteRoles(ns *Namespace, itf *Interface) {
	out4, out6 := ns.waysOut()
	itf.Routes = ns.routesBy(itf.Name) && (len(itf.TellingAddresses()) > 0 || ns.reachesBy(itf.Name))
	itf.ProxyARP = ns.Settings["ipv4/conf/"+itf.Name+"/proxy_arp"] == "1" || ns.Settings["ipv4/conf/all/proxy_arp"] == "1"
	for _, a := range ns.Proxies(itf.Name) {
		itf.Proxies = append(itf.Proxies, a.Address)
	}
	for _, f := range ns.Forwarding {
		for _, p := range f.Publish {
			here := p.To.Is4() && itf.Name == out4 || p.To.Is6() && itf.Name == out6
			if p.Address.IsValid() {
				here = itf.hasAddress(p.Address)
			}
			if here {
				itf.Publishes = append(itf.Publishes, p)
			}
		}
	}
	if ns != b.s.Here() {
		return // nothing of ours serves elsewhere
	}
	for _, s := range b.s.Services {
		if s.Link != itf.Name {
			continue
		}
		itf.Failed = !s.Lives() && s.State != ""
		for _, part := range []struct {
			name string
			is   bool
		}{{"DHCP", s.DHCP4 != nil}, {"RA", s.RA != nil}, {"DNS", s.DNS != nil}} {
			if part.is {
				itf.Serves = append(itf.Serves, part.name)
			}
		}
		if s.Relay != nil {
			itf.Relays, itf.Routes = s.Relay.Uplink, ns.routesBy(itf.Name) // to what it is yet to learn
		}
	}
}

// reachesBy tells whether there are routes to somebody by a link, beside those that the
// kernel gives every link.
func (n *Namespace) reachesBy(link string) bool {
	return slices.ContainsFunc(n.RoutesOf(link), func(r Route) bool {
		a := r.Destination.Addr()
		return r.Table == TableMain && r.Type == "unicast" && !a.IsLinkLocalUnicast() && !a.IsMulticast()
	})
}

// waysOut are the links of the default routes of either family, "" for none.
func (n *Namespace) waysOut() (v4, v6 string) {
	var best4, best6 *Route
	for i := range n.Routes {
		r := &n.Routes[i]
		if r.Table != TableMain || r.Destination.Bits() != 0 || len(r.NextHops) == 0 {
			continue
		}
		best := &best6
		if r.Destination.Addr().Is4() {
			best = &best4
		}
		if *best == nil || r.Metric < (*best).Metric {
			*best = r
		}
	}
	if best4 != nil {
		v4 = best4.Link()
	}
	if best6 != nil {
		v6 = best6.Link()
	}
	return v4, v6
}

// noteNAT notes whom an interface hides: by rules that name it, and where they name only
// where packets do not leave by, at the ends of the default routes. Rules for the stack's
// own loopback, and those by which packets go back to where they come from, are
// other rules' helpers (a published port's by localhost; hairpin) and hide nobody.
func (b *wirer) noteNAT(itf *Interface) {
	out4, out6 := b.out4[itf.Stack], b.out6[itf.Stack]
	for _, n := range b.nat[itf.Stack] {
		isOut := itf.Name == out4 && (!n.From.IsValid() || n.From.Addr().Is4()) || itf.Name == out6 && n.From.IsValid() && n.From.Addr().Is6()
		named := n.Out == itf.Name || n.Out == "" && n.NotOut != itf.Name && isOut
		lives := n.From.IsValid() && slices.ContainsFunc(itf.Addresses, func(a WiredAddress) bool { return n.From.Overlaps(a.Address.Masked()) })
		if named && !lives && !n.From.Addr().IsLoopback() && !slices.Contains(itf.NAT, n.From) {
			itf.NAT = append(itf.NAT, n.From)
		}
	}
}
