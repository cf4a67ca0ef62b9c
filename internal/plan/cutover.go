package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// waitUp is how long a bridge may take to come up once its uplink is plugged in, in
// milliseconds. Measured: 0.15 to 1.5; linkwatch delays at most 1 s.
const waitUp = 3000

// inheritedSettings are an uplink's own sysctls that decide how its addresses answer
// and learn; the interface that takes them over gets the same.
var inheritedSettings = []string{
	"ipv4/conf/%s/arp_ignore", "ipv4/conf/%s/arp_announce", "ipv4/conf/%s/arp_filter", "ipv4/conf/%s/proxy_arp",
	"ipv4/conf/%s/accept_local", "ipv4/conf/%s/forwarding", "ipv4/conf/%s/promote_secondaries",
	"ipv6/conf/%s/accept_ra", "ipv6/conf/%s/autoconf", "ipv6/conf/%s/forwarding", "ipv6/conf/%s/accept_dad",
	"ipv6/conf/%s/disable_ipv6", "ipv6/conf/%s/use_tempaddr", "ipv6/conf/%s/proxy_ndp",
	"ipv6/conf/%s/accept_ra_defrtr", "ipv6/conf/%s/accept_ra_pinfo", "ipv6/conf/%s/accept_ra_rtr_pref",
}

// inherit gives a new interface the settings in which the old one differs from it.
func (b *builder) inherit(from, to string) {
	for _, format := range inheritedSettings {
		path := fmt.Sprintf(format, to)
		want, known := b.here().Settings[fmt.Sprintf(format, from)]
		if was, ours := b.own.before(fmt.Sprintf(format, from)); ours {
			want = was // a routed network needs it otherwise, and ends here
		}
		if n := at(b.own.Needs, func(n Need) bool { return n.Path == path }); n != nil && known && strings.HasPrefix(path, "ipv4/") {
			n.Was = want // and until it has ended, so must this: see restoreNeeds
			continue
		}
		now, ok := b.here().Settings[path]
		if !ok {
			now = b.here().Settings[fmt.Sprintf(format, "default")]
		}
		if known && want != now {
			b.step(fmt.Sprintf("Set %s to %s", path, want),
				fmt.Sprintf("%s has it so; what takes its addresses over must answer and learn like it.", from),
				model.SetSetting{Path: path, Value: want})
		}
	}
}

// dropRoutes deletes the routes by a link; those that lead by others as well keep
// their other ways.
func (b *builder) dropRoutes(link, why string, routes []model.Route) {
	if len(routes) == 0 {
		return
	}
	b.step("Delete the routes by "+link, why, model.DeleteRoutes{Routes: routes})
	var rest []model.Route
	for _, r := range routes {
		r.NextHops = slices.DeleteFunc(slices.Clone(r.NextHops), func(h model.NextHop) bool { return h.Link == link })
		if len(r.NextHops) > 0 {
			rest = append(rest, r)
		}
	}
	if len(rest) > 0 {
		b.step("Keep the other ways of those routes", "They lead by other interfaces as well, which are not touched.", model.AddRoutes{Routes: rest})
	}
}

// redirect takes frames past an uplink's port for as long as the port cannot be
// trusted with them, where the kernel can do that; the returned function ends it.
func (b *builder) redirect(uplink, bridge string) (end func()) {
	if b.opt.NoRedirect {
		b.note("this kernel cannot redirect what arrives at %s during the move (tcx, Linux 6.6 and CAP_BPF): a few frames of a flood may be lost", uplink)
		return func() {}
	}
	b.step(fmt.Sprintf("Redirect what arrives at %s to %s", uplink, bridge),
		"For some microseconds a port that joins or leaves a bridge has nowhere to put a frame. A program of a few instructions takes every untagged frame past it; it vanishes by itself if this process dies.",
		model.RedirectIngress{From: uplink, To: bridge})
	return func() {
		b.step(fmt.Sprintf("End the redirection at %s", uplink), "The port is settled, and takes its frames itself.", model.EndRedirect{From: uplink})
	}
}

// relaxRPFilter makes reverse path filtering loose on a link while packets come in by
// it and the routes still leave by another: strict, it drops every one of them.
// The returned function makes it as strict as asked afterwards.
func (b *builder) relaxRPFilter(link, like string) (restore func()) {
	path := "ipv4/conf/" + link + "/rp_filter"
	value := func(name string) string { return b.here().Settings["ipv4/conf/"+name+"/rp_filter"] }
	want := value(like)
	if max(value("all"), want, value(link)) != "1" {
		return func() {}
	}
	b.step(fmt.Sprintf("Relax reverse path filtering on %s for the move", link),
		"Strict filtering drops a packet whose answer would leave by another interface; during the move every packet is such a one.",
		model.SetSetting{Path: path, Value: "2"})
	return func() {
		b.step(fmt.Sprintf("Make reverse path filtering on %s as strict as it was", link), "The routes are moved; from now on answers leave where packets come in.",
			model.SetSetting{Path: path, Value: want})
	}
}

// plugUplink moves the host end of an uplink out of the host's stack into a bridge,
// and its addresses and routes to the bridge's own interface, in the order that
// loses nothing: at every moment each address is on an interface that is up and each
// route leaves by one that can send.
func (b *builder) plugUplink(uplink, bridge string, move bool) {
	l := b.here().Link(uplink)
	moving := movable(b.here().AddressesOf(uplink))
	routes := b.movableRoutes(uplink)
	// A manager that has taken its uplink back has given it all of this again, beside what
	// is on the bridge still.
	adding := addresses(moving, func(a model.Address) bool { return !hasAddress(b.here(), bridge, a) })
	var twins []model.Route
	restore := func() {}
	if move {
		routes, twins = b.withTwins(routes, uplink, bridge)
		b.inherit(uplink, bridge)
		b.keepAutoconf(uplink, bridge, moving, routes)
		restore = b.relaxRPFilter(bridge, uplink)
		b.copyRules(uplink, bridge)
		if len(adding) > 0 {
			b.step(fmt.Sprintf("Give %s the addresses of %s", bridge, uplink),
				fmt.Sprintf("An enslaved interface has no host end in the stack any more, so the host's addresses must live on %s. They are on both for a moment, so that not one packet finds nobody at home.", bridge),
				model.AddAddresses{Link: bridge, Addresses: inTransit(adding)})
		}
	}
	if move {
		b.joinGroups(uplink, bridge)
	}
	endRedirect := func() {}
	if move && l.Carrier {
		endRedirect = b.redirect(uplink, bridge)
	}
	b.step(fmt.Sprintf("Plug %s into %s", uplink, bridge),
		fmt.Sprintf("Enslaving moves the host end of %s out of the host's stack into the virtual LAN of %s: from now on frames from the LAN go to the bridge.", uplink, bridge),
		model.SetMaster{Link: uplink, Master: bridge})
	if l.Carrier {
		b.step(fmt.Sprintf("Wait until %s carries traffic", bridge), "The kernel reports a bridge as up a moment after its first port forwards; until then nothing can be sent by it.",
			model.WaitUp{Link: bridge, Timeout: waitUp})
	}
	if move {
		b.moveTraffic(uplink, bridge, routes)
		b.dropRoutes(uplink, fmt.Sprintf("%s has the same ones, and nothing can be sent by %s any more.", bridge, uplink), twins)
	} else {
		b.dropRoutes(uplink, fmt.Sprintf("The host's own addresses leave this LAN: nothing can be sent by %s any more.", uplink), givenRoutes(routes))
	}
	endRedirect()
	if len(moving) > 0 {
		b.step(fmt.Sprintf("Take the addresses off %s", uplink), "Left on a port they would be misplaced: still the host's, but with answers that come back another way.",
			model.DeleteAddresses{Link: uplink, Addresses: moving})
	}
	if move && len(adding) > 0 {
		b.step(fmt.Sprintf("Settle the addresses of %s", bridge), "For the move they were set without duplicate address detection and without routes of their own; from now on they are ordinary addresses.",
			model.SettleAddresses{Link: bridge, Addresses: adding})
	}
	restore()
	if move && l.Carrier {
		b.solicit(bridge)
	}
}

// withTwins takes those routes out that another link has as well: they need not move. An
// IPv6 one of the same gateway is a further leg of that route (fib6_add_rt2node).
func (b *builder) withTwins(routes []model.Route, from, to string) (moving, twins []model.Route) {
	for _, r := range routes {
		shared := slices.ContainsFunc(r.NextHops, func(h model.NextHop) bool { return h.Link == to })
		there := slices.ContainsFunc(b.here().Routes, func(o model.Route) bool { return model.SameRoute(o, model.Moved([]model.Route{r}, from, to)[0]) })
		if shared || there {
			twins = append(twins, r)
		} else {
			moving = append(moving, r)
		}
	}
	return moving, twins
}

// moveTraffic copies what is known of the neighbours and moves the routes.
func (b *builder) moveTraffic(from, to string, routes []model.Route) {
	b.step(fmt.Sprintf("Copy the neighbours of %s to %s", from, to), "So that no packet has to wait for ARP or neighbour discovery.",
		model.CopyNeighbours{From: from, To: to})
	if len(routes) > 0 {
		b.step(fmt.Sprintf("Move the routes from %s to %s", from, to),
			fmt.Sprintf("The host's way out, its default route above all, leaves by %s now. All in one message, so that there is no moment without a route.", to),
			model.MoveRoutes{From: from, To: to, Routes: routes})
	}
}

// releaseUplink is the way back: as lossless, in the opposite order.
func (b *builder) releaseUplink(u OwnedUplink) {
	l := b.here().Link(u.Name)
	if l == nil || l.Master != u.Bridge && l.Master != "" {
		b.note("%s is no longer in %s: somebody has taken it out, and it is left as it is", u.Name, u.Bridge)
		b.leaveGroups(u)
		b.dropRules(u)
		b.own.dropUplink(u.Name)
		return
	}
	if l.Master == "" {
		b.takeHome(u)
		return
	}
	moving, routes := b.atHome(u)
	restore := func() {}
	if len(moving) > 0 {
		b.admitIPv6(u.Name, moving)
		b.relaxRPFilter(u.Bridge, u.Name)
		restore = b.relaxRPFilter(u.Name, u.Name)
		b.step(fmt.Sprintf("Give %s its addresses back", u.Name), "They are on both interfaces for a moment, so that not one packet finds nobody at home.",
			model.AddAddresses{Link: u.Name, Addresses: inTransit(moving)})
	}
	if u.Host == "move" {
		b.moveTraffic(u.Bridge, u.Name, routes)
	}
	endRedirect := func() {}
	if u.Host == "move" && l.Carrier {
		endRedirect = b.redirect(u.Name, u.Bridge)
	}
	b.step(fmt.Sprintf("Take %s out of %s", u.Name, u.Bridge), fmt.Sprintf("Its host end returns to the host's stack: frames from the LAN come to %s itself again.", u.Name),
		model.SetMaster{Link: u.Name})
	endRedirect()
	if len(moving) > 0 {
		b.step(fmt.Sprintf("Take the addresses off %s", u.Bridge), fmt.Sprintf("They are %s's again.", u.Name),
			model.DeleteAddresses{Link: u.Bridge, Addresses: moving})
		b.step(fmt.Sprintf("Settle the addresses of %s", u.Name), "For the move they were set without duplicate address detection and without routes of their own; from now on they are ordinary addresses.",
			model.SettleAddresses{Link: u.Name, Addresses: moving})
	}
	restore()
	b.leaveGroups(u)
	b.dropRules(u)
	if u.Host != "move" {
		b.bringBack(u)
	} else if l.Carrier {
		b.solicit(u.Name)
	}
	b.own.dropUplink(u.Name)
}

// atHome is what a bridge has of its uplink's.
func (b *builder) atHome(u OwnedUplink) (moving []model.Address, routes []model.Route) {
	moving, routes = movable(b.here().AddressesOf(u.Bridge)), b.movableRoutes(u.Bridge)
	switch {
	case u.Host != "move":
		return nil, nil
	case b.own.ownsLink(u.Bridge):
		b.noteAdded(u, moving)
	default: // a stranger's bridge keeps what was its own
		moving = addresses(moving, func(a model.Address) bool { return containsPrefix(u.Addresses, a) })
		routes = slices.DeleteFunc(routes, func(r model.Route) bool {
			return !slices.ContainsFunc(model.Moved(u.Routes, u.Name, u.Bridge), func(o model.Route) bool { return model.SameRoute(o, r) })
		})
	}
	return moving, routes
}

// takeHome is the way back of an uplink that somebody has taken out of its bridge already.
// Whoever it was may have given it addresses: it gets back what it had of a family that it
// has none of, or the host would be off the LAN with the bridge.
func (b *builder) takeHome(u OwnedUplink) {
	b.note("%s is no longer in %s: somebody has taken it out", u.Name, u.Bridge)
	lacks := func(dst netip.Prefix) bool {
		return !slices.ContainsFunc(movable(b.here().AddressesOf(u.Name)), func(a model.Address) bool { return a.Prefix.Addr().Is4() == dst.Addr().Is4() })
	}
	moving, routes := b.atHome(u)
	moving = addresses(moving, func(a model.Address) bool { return lacks(a.Prefix) })
	routes = slices.DeleteFunc(routes, func(r model.Route) bool { return !lacks(r.Destination) })
	u.Addresses = addresses(u.Addresses, func(a model.Address) bool { return lacks(a.Prefix) })
	u.Routes = slices.DeleteFunc(slices.Clone(u.Routes), func(r model.Route) bool { return !lacks(r.Destination) })
	if len(moving)+len(u.Addresses) > 0 && !b.here().Link(u.Name).Up {
		b.step(fmt.Sprintf("Bring %s up", u.Name), "An interface that is down neither sends nor receives.", model.SetUp{Link: u.Name, Up: true})
	}
	if len(moving) > 0 {
		b.admitIPv6(u.Name, moving)
		b.step(fmt.Sprintf("Give %s its addresses back", u.Name), "Somebody has taken it out of the bridge, and they were left there.",
			model.AddAddresses{Link: u.Name, Addresses: inTransit(moving)})
		b.moveTraffic(u.Bridge, u.Name, routes)
		b.step(fmt.Sprintf("Take the addresses off %s", u.Bridge), fmt.Sprintf("They are %s's again.", u.Name),
			model.DeleteAddresses{Link: u.Bridge, Addresses: moving})
		b.step(fmt.Sprintf("Settle the addresses of %s", u.Name), "For the move they were set without duplicate address detection and without routes of their own; from now on they are ordinary addresses.",
			model.SettleAddresses{Link: u.Name, Addresses: moving})
	}
	b.leaveGroups(u)
	b.dropRules(u)
	if u.Host != "move" {
		b.bringBack(u)
	}
	b.own.dropUplink(u.Name)
}

// admitIPv6 lets an uplink have IPv6 addresses again: some managers take IPv6 off a
// bridge's port (ifupdown2 does, when it plugs it in at boot).
func (b *builder) admitIPv6(link string, moving []model.Address) {
	path := "ipv6/conf/" + link + "/disable_ipv6"
	if b.here().Settings[path] != "1" || !slices.ContainsFunc(moving, func(a model.Address) bool { return a.Prefix.Addr().Is6() }) {
		return
	}
	b.step("Let "+link+" have IPv6 again", "It was switched off while it was a port: the kernel would refuse its IPv6 addresses.", model.SetSetting{Path: path, Value: "0"})
	delete(b.own.Settings, path) // not to be brought back: the host's place is there again
}

// bringBack restores the addresses and routes that an uplink had before the host
// left its LAN.
func (b *builder) bringBack(u OwnedUplink) {
	if len(u.Addresses) > 0 {
		b.step(fmt.Sprintf("Give %s its addresses back", u.Name), "As they were before it was plugged into the bridge.",
			model.AddAddresses{Link: u.Name, Addresses: u.Addresses})
	}
	if given := givenRoutes(u.Routes); len(given) > 0 {
		b.step(fmt.Sprintf("Bring back the routes by %s", u.Name), "As they were before it was plugged into the bridge.",
			model.AddRoutes{Routes: given})
	}
}

// noteAdded tells which addresses came to the bridge by another hand: they are kept.
func (b *builder) noteAdded(u OwnedUplink, now []model.Address) {
	for _, a := range now {
		if !containsPrefix(u.Addresses, a) && a.Origin == model.Static {
			b.note("%s was added to %s since: it is kept, and moves to %s", a.Prefix, u.Bridge, u.Name)
		}
	}
}

// movable leaves out what the kernel makes by itself on every interface.
func movable(as []model.Address) []model.Address {
	return addresses(as, func(a model.Address) bool { return a.Origin != model.LinkLocal && !a.Flags.Temporary })
}

var (
	linkLocal6 = netip.MustParsePrefix("fe80::/64")
	multicast6 = netip.MustParsePrefix("ff00::/8")
)

// movableRoutes are the routes by a link that must go where its addresses go: not
// those that the kernel makes for every interface (table local, fe80::/64, ff00::/8).
func (b *builder) movableRoutes(link string) []model.Route {
	var out []model.Route
	for _, r := range b.here().RoutesOf(link) {
		if r.Table != model.TableLocal && r.Destination != linkLocal6 && r.Destination != multicast6 {
			out = append(out, r)
		}
	}
	return out
}

// givenRoutes leaves out the routes that the kernel makes for addresses, and puts those
// to a neighbour before those that lead through one: the kernel refuses a gateway that
// it cannot reach yet.
func givenRoutes(routes []model.Route) []model.Route {
	var near, far []model.Route
	for _, r := range routes {
		switch {
		case r.Protocol == "kernel":
		case r.Gateway().IsValid():
			far = append(far, r)
		default:
			near = append(near, r)
		}
	}
	return append(near, far...)
}

// inTransit gives addresses the flags under which they may be on two interfaces at once.
func inTransit(as []model.Address) []model.Address {
	out := make([]model.Address, len(as))
	for i, a := range as {
		if a.Prefix.Addr().Is6() {
			a.Flags.NoDAD = true
			a.Flags.NoPrefixRoute = true
		}
		out[i] = a
	}
	return out
}
