package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// A routed network's bridge has no uplink in it: the host routes between the two. Where
// its machines have addresses of the LAN's own, the host's uplink answers for each of them
// by itself (proxied neighbours), and the bridge for everything that is not behind it
// (proxy ARP): both sides see one Ethernet, and on the LAN there is the uplink's MAC
// address only.

// OwnedRouted is a routed network in force.
type OwnedRouted struct {
	Network string `json:"network"`
	Bridge  string `json:"bridge"`
	Uplink  string `json:"uplink"`
}

// lan is what is known of the LAN that a routed network is a part of.
type lan struct {
	addresses []model.Address // the host's own
	gateways  []netip.Addr
}

// lanOf looks at an uplink, or at the bridge that has its place as yet.
func (b *builder) lanOf(wb wantedBridge) lan {
	var out lan
	links := []string{wb.via}
	if l := b.here().Link(wb.via); l != nil && l.Master == wb.name {
		links = append(links, wb.name)
	}
	for _, link := range links {
		out.addresses = append(out.addresses, movable(b.here().AddressesOf(link))...)
		for _, r := range b.here().RoutesOf(link) {
			if g := r.Gateway(); g.IsValid() {
				out.gateways = append(out.gateways, g)
			}
		}
	}
	return out
}

// why tells why a machine of this host cannot have an address on the LAN, "" if it can.
func (l lan) why(a netip.Addr) string {
	on := false
	for _, own := range l.addresses {
		if own.Prefix.Addr() == a {
			return "it is the host's own"
		}
		on = on || own.Prefix.Contains(a)
	}
	switch {
	case slices.Contains(l.gateways, a):
		return "it is the gateway's"
	case !on:
		return "it is not of the LAN"
	default:
		return ""
	}
}

// findVia names the uplink of a routed network, and refuses one that nothing can be routed by.
func (b *builder) findVia(n spec.Network) string {
	name := b.uplinkName(n)
	if name == "" {
		return ""
	}
	l := b.here().Link(name)
	switch {
	case l == nil:
		b.refuse(name, "no such interface for the uplink of network "+n.Name, "the interfaces here: "+b.linkNames())
	case l.Kind == model.Loopback || name == n.Bridge:
		b.refuse(name, "cannot be the uplink of network "+n.Name, "name the interface that the host reaches the LAN by")
	case n.OnLAN() && isTunnel(l.Kind):
		b.refuse(name, fmt.Sprintf("is a %s: at its end is no LAN whose hosts machines could be", l.Kind), "name the interface to the LAN (uplink: eth0), or use mode: nat")
	case l.Master != "" && b.own.uplinkOf(n.Bridge) == nil:
		b.refuse(name, "is a port of "+l.Master+", and the host routes by that", fmt.Sprintf("uplink: %s", l.Master))
	case len(b.lanOf(wantedBridge{name: n.Bridge, via: name}).addresses) == 0:
		b.refuse(name, "has no address: the host is not on its LAN itself", "give it one, or use mode: bridged")
	default:
		return name
	}
	return ""
}

// checkRouted refuses addresses of the file that no machine can have on that LAN.
func (b *builder) checkRouted(w *wanted, wb wantedBridge) {
	if !wb.onLAN {
		return
	}
	l := b.lanOf(wb)
	for _, a := range w.given(wb) {
		if why := l.why(a); why != "" {
			b.refuse(a.String(), fmt.Sprintf("cannot be a machine's address on network %s: %s", wb.network, why), "choose another, or address: dhcp")
		}
	}
}

// given are the addresses that the file gives to machines on a network.
func (w *wanted) given(wb wantedBridge) []netip.Addr {
	var out []netip.Addr
	for _, c := range w.cables {
		if c.bridge != wb.name {
			continue
		}
		for _, p := range c.given {
			out = append(out, p.Addr())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// prepareRoutes makes bridges that are there already ready to be routed for, while their
// uplink is still in them: the sooner, the fewer packets find nobody who takes them on.
func (b *builder) prepareRoutes(w *wanted) {
	for _, wb := range w.bridges {
		if wb.via != "" && b.here().Link(wb.name) != nil {
			b.routeSettings(wb, false)
		}
	}
}

// routeSettings are the sysctls by which a network is routed; those of IPv6 only once the
// host's addresses are where they stay.
func (b *builder) routeSettings(wb wantedBridge, six bool) {
	for _, link := range []string{wb.via, wb.name} {
		b.forward4(link)
		if six {
			b.forward6(link)
		}
	}
	if !wb.onLAN {
		return
	}
	b.need("ipv4/conf/"+wb.name+"/proxy_arp", "1", fmt.Sprintf("Let %s answer ARP for whatever is not behind it", wb.name),
		"Machines there take the whole LAN for their own Ethernet: they ask for its hosts, and their gateway, and the host takes what they send.")
	for _, path := range []string{"ipv4/neigh/" + wb.name, "ipv4/neigh/" + wb.via, "ipv6/neigh/" + wb.via} {
		b.need(path+"/proxy_delay", "0", fmt.Sprintf("Answer at once (%s)", path),
			"The kernel waits up to 0.8 s before it answers for somebody else, so that whoever really has the address is faster. Nobody else has these.")
	}
	if six {
		b.need("ipv6/conf/"+wb.via+"/proxy_ndp", "1", fmt.Sprintf("Let %s answer for IPv6 addresses of machines", wb.via),
			"For those only that it is told, one by one.")
	}
}

// routeNetwork makes the host route between a network and the LAN.
func (b *builder) routeNetwork(w *wanted, wb wantedBridge) {
	b.routeSettings(wb, true)
	known := slices.ContainsFunc(b.own.Routed, func(r OwnedRouted) bool { return r.Bridge == wb.name })
	if !wb.onLAN {
		b.note("network %s is reached from the LAN where that knows a route to it: by %s", wb.network, model.SplitAddresses(b.lanOf(wb).addresses))
	} else {
		b.proxy(wb, w.given(wb), "static")
		if !known { // else its relay learns them, and knows of those that somebody else has
			b.proxy(wb, b.seen(wb, w), model.ProtocolLearned)
		}
	}
	if !known {
		b.own.Routed = append(b.own.Routed, OwnedRouted{wb.network, wb.name, wb.via})
	}
}

// proxy routes single addresses to a network, and has the uplink answer for them.
func (b *builder) proxy(wb wantedBridge, as []netip.Addr, protocol string) {
	mark, how := protocol, "has learned"
	if protocol == "static" {
		mark, how = "", "gives"
	}
	var routes []model.Route
	var answer []netip.Addr
	for _, a := range as {
		if r := model.ProxyRoute(wb.name, a, protocol); !slices.ContainsFunc(b.here().Routes, func(o model.Route) bool { return model.SameRouteKey(o, r) }) {
			routes = append(routes, r)
		}
		if !slices.ContainsFunc(b.here().Proxies(wb.via), func(nb model.Neighbour) bool { return nb.Address == a }) && !b.leftToRelay(wb, a) {
			answer = append(answer, a)
		}
	}
	if len(routes) > 0 {
		b.step(fmt.Sprintf("Route %s to %s", addressList(as), wb.name), fmt.Sprintf("The rest of the LAN's prefix stays behind %s.", wb.via), model.AddRoutes{Routes: routes})
	}
	if len(answer) > 0 {
		b.step(fmt.Sprintf("Let %s answer for %s", wb.via, addressList(answer)),
			fmt.Sprintf("Whoever on the LAN asks for one of these, which the file %s, gets the MAC address of %s, and the host takes on what comes. Only for these: proxy_arp would answer for every prefix that the host routes.", how, wb.via),
			model.AddProxies{Link: wb.via, Addresses: answer, Protocol: mark})
	}
}

// leftToRelay tells whether a relay sees to what the uplink answers for: it has it answer again
// when the link has forgotten, but for what somebody else on the LAN has by now.
func (b *builder) leftToRelay(wb wantedBridge, a netip.Addr) bool {
	s := b.now.Service(wb.network)
	return s != nil && s.Relay != nil && s.Relay.Uplink == wb.via && s.State == model.ServiceRunning && slices.Contains(b.own.Proxies, OwnedProxy{wb.via, a})
}

func addressList(as []netip.Addr) string {
	const most = 3
	words := ""
	for i, a := range as {
		switch {
		case i == most:
			return fmt.Sprintf("%s and %d more", words, len(as)-most)
		case i > 0:
			words += ", "
		}
		words += a.String()
	}
	return words
}

// seen are the addresses that machines were seen to use while their network was bridged:
// so the LAN goes on reaching them, without waiting for them to be learned anew.
func (b *builder) seen(wb wantedBridge, w *wanted) []netip.Addr {
	l := b.lanOf(wb)
	var out []netip.Addr
	for _, p := range b.here().Secured {
		port := b.here().Link(p.Link)
		if port == nil || port.Master != wb.name {
			continue
		}
		known := slices.Clone(p.Learned)
		for _, s := range p.Seen {
			known = append(known, s.Address)
		}
		for _, a := range known {
			if l.why(a) == "" && !slices.Contains(out, a) && !slices.Contains(w.given(wb), a) {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// unproxy takes away the proxies that no network of the file wants: before an uplink is
// plugged in somewhere, for they would go with its place.
func (b *builder) unproxy(w *wanted) {
	gone := map[string][]netip.Addr{}
	for _, p := range b.own.Proxies {
		wanted := slices.ContainsFunc(w.bridges, func(wb wantedBridge) bool {
			return wb.via == p.Link && wb.onLAN && slices.Contains(w.given(wb), p.Address)
		})
		if !wanted {
			gone[p.Link] = append(gone[p.Link], p.Address)
		}
	}
	for _, r := range b.own.Routed {
		as := gone[r.Uplink]
		if len(as) == 0 {
			continue
		}
		delete(gone, r.Uplink)
		var routes []model.Route
		for _, a := range as {
			if route := model.ProxyRoute(r.Bridge, a, "static"); slices.ContainsFunc(b.here().Routes, func(o model.Route) bool { return model.SameRoute(o, route) }) {
				routes = append(routes, route)
			}
		}
		if len(routes) > 0 {
			b.step(fmt.Sprintf("Delete the routes to %s", addressList(as)), "They are not routed any more.", model.DeleteRoutes{Routes: routes})
		}
		// After the routes: a relay that runs has the uplink answer for what is routed.
		if b.here().Link(r.Uplink) != nil {
			b.step(fmt.Sprintf("Let %s answer for %s no longer", r.Uplink, addressList(as)), "They are not routed any more.", model.DeleteProxies{Link: r.Uplink, Addresses: as})
		}
	}
	b.own.Proxies = slices.DeleteFunc(b.own.Proxies, func(p OwnedProxy) bool { return slices.Contains(gone[p.Link], p.Address) })
}

// unroute ends what was routed and is no more. What was learned is found by its mark, also
// where the relay that learned it was killed.
func (b *builder) unroute(w *wanted) {
	for _, r := range slices.Clone(b.own.Routed) {
		if wb := w.bridge(r.Bridge); wb != nil && wb.via == r.Uplink && wb.onLAN {
			continue
		}
		if b.learned(r) {
			b.step(fmt.Sprintf("Forget the addresses that were learned on %s", r.Bridge),
				fmt.Sprintf("They were routed there, and %s answered for them.", r.Uplink), model.ForgetLearned{Uplink: r.Uplink, Link: r.Bridge, Machines: b.placesBehind(r)})
		}
		b.own.Routed = slices.DeleteFunc(b.own.Routed, func(o OwnedRouted) bool { return o == r })
	}
}

// learned tells whether there is anything to forget. A relay that runs may be just about
// to learn, so a network that had one is always cleaned.
func (b *builder) learned(r OwnedRouted) bool {
	ns := b.here()
	return b.plan.stops(r.Network) ||
		slices.ContainsFunc(ns.Proxies(r.Uplink), func(nb model.Neighbour) bool { return nb.Protocol == model.ProtocolLearned }) ||
		slices.ContainsFunc(ns.RoutesOf(r.Bridge), func(o model.Route) bool { return o.Protocol == model.ProtocolLearned })
}

// placesBehind are the addresses that are routed to a network's bridge, and whose MAC
// address is known: as it was before the plan, which moves and renames what is known.
func (b *builder) placesBehind(r OwnedRouted) []model.LearnedAddress {
	before := b.plan.Before.Here()
	known := map[netip.Addr]model.MAC{}
	for _, nb := range before.Neighbours {
		if nb.Link == r.Bridge && !nb.Proxy && nb.MAC != "" {
			known[nb.Address] = nb.MAC
		}
	}
	for _, p := range before.Secured { // who may have one address more has but one MAC address
		if port := before.Link(p.Link); port != nil && port.Master == r.Bridge && len(p.MACs) == 1 {
			for _, s := range p.Seen {
				known[s.Address] = p.MACs[0]
			}
			for _, a := range p.Learned {
				known[a] = p.MACs[0]
			}
		}
	}
	if s := b.plan.Before.Service(r.Network); s != nil {
		for _, l := range s.Learned {
			if l.MAC != "" {
				known[l.Address] = l.MAC
			}
		}
	}
	var out []model.LearnedAddress
	for _, o := range before.RoutesOf(r.Bridge) {
		a := o.Destination.Addr()
		if mac := known[a]; mac != "" && o.Destination.IsSingleIP() && !slices.ContainsFunc(out, func(l model.LearnedAddress) bool { return l.Address == a }) {
			out = append(out, model.LearnedAddress{Address: a, MAC: mac})
		}
	}
	slices.SortFunc(out, func(x, y model.LearnedAddress) int { return x.Address.Compare(y.Address) })
	return out
}

func (p *Plan) stops(network string) bool {
	return slices.ContainsFunc(p.Steps, func(st Step) bool { return st.Do == model.Operation(model.StopService{Network: network}) })
}

// relay is what a process of ours does for a network on the LAN.
func (wb wantedBridge) relay() model.Service {
	return model.Service{Network: wb.network, Link: wb.name, Relay: &model.RelayConfig{Uplink: wb.via}}
}
