package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// forwards tells whether this host is to forward anything for a network of ours.
func (w *wanted) forwards() bool {
	return slices.ContainsFunc(w.bridges, func(wb wantedBridge) bool { return wb.opens() })
}

// opens tells whether anything goes beyond the bridge.
func (wb wantedBridge) opens() bool {
	f := wb.forwarding
	return f != nil && (f.Out || f.In || len(f.Publish) > 0)
}

// forward makes the rules of all networks, then lets the links forward that must: in this
// order, so that nothing passes that the rules do not know of.
func (b *builder) forward(w *wanted) {
	guard4, guard6 := b.guarded(w, false), b.guarded(w, true)
	for _, wb := range w.bridges {
		if wb.forwarding == nil {
			continue
		}
		f := *wb.forwarding
		if wb.opens() {
			f.Guard4 = guard4
			if hasFamily(f, true) {
				f.Guard6 = guard6
			}
		}
		b.setForwarding(f, forwardingWhy(f))
	}
	b.openPassages(w)
	if w.forwards() {
		b.forwardLinks(w)
	}
}

func hasFamily(f model.Forwarding, six bool) bool {
	return slices.ContainsFunc(f.Subnets, func(p netip.Prefix) bool { return p.Addr().Is6() == six })
}

// forwardLinks switches forwarding on for the links that need it, and back for those of
// others that no longer do.
//
// Per link, not for all: a write to ip_forward or conf/all/forwarding is one for every
// link there is (inet_forward_change, addrconf_fixup_forwarding), and what Docker, libvirt
// or the administrator set for some of them would be lost when it is taken back. IPv4 looks
// at the link that a packet comes in by (ip_route_input_slow, IN_DEV_FORWARD), so both sides
// must have it. IPv6 looks at conf/all/forwarding and nothing else (ip6_forward), until
// force_forwarding came with Linux 6.17.
func (b *builder) forwardLinks(w *wanted) {
	want := b.forwardSettings(w)
	with := map[string]bool{}
	for path := range want {
		for _, p := range model.SettingsWith(b.here(), path) {
			with[p] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(b.own.Settings)) {
		_, routed := b.own.before(path) // restoreNeeds sees to it
		if _, wanted := want[path]; wanted || routed || with[path] || !isForwarding(path) {
			continue
		}
		was := b.own.Settings[path]
		if now, known := b.here().Settings[path]; known && now != was {
			b.step(fmt.Sprintf("Set %s back to %s", path, was), "No network of ours needs it any more: as it was before.", model.SetSetting{Path: path, Value: was})
		}
		delete(b.own.Settings, path)
	}
	// accept_ra before forwarding: with that switched on the kernel would forget its routers
	// at once (rt6_purge_dflt_routers). route_localnet after the rules that guard it.
	for _, key := range []string{"route_localnet", "accept_ra", "force_forwarding", "forwarding"} {
		for _, path := range slices.Sorted(maps.Keys(want)) {
			if strings.HasSuffix(path, "/"+key) && b.here().Settings[path] != want[path] {
				b.step(forwardTitle(path), forwardWhy(path), model.SetSetting{Path: path, Value: want[path]})
			}
		}
	}
}

// isForwarding tells whether a setting is one that forwardSettings may ask for of a link
// that is not ours.
func isForwarding(path string) bool {
	return strings.Contains(path, "/conf/") && (strings.HasSuffix(path, "/forwarding") || strings.HasSuffix(path, "/force_forwarding") ||
		strings.HasPrefix(path, "ipv6/") && strings.HasSuffix(path, "/accept_ra"))
}

// forwardSettings are the settings that the networks need.
func (b *builder) forwardSettings(w *wanted) map[string]string {
	want := map[string]string{}
	six := false
	for _, wb := range w.bridges {
		if !wb.opens() {
			continue
		}
		f := wb.forwarding
		if hasFamily(*f, false) {
			want["ipv4/conf/"+wb.name+"/forwarding"] = "1"
		}
		six = six || hasFamily(*f, true)
		if slices.ContainsFunc(f.Publish, func(p model.Publish) bool { return p.To.Is4() }) {
			want["ipv4/conf/"+wb.name+"/route_localnet"] = "1"
		}
	}
	if len(want) == 0 && !six {
		return want
	}
	for _, l := range b.outward(w, false) {
		want["ipv4/conf/"+l+"/forwarding"] = "1"
	}
	if six {
		b.forwardSettings6(w, want)
	}
	return want
}

func (b *builder) forwardSettings6(w *wanted, want map[string]string) {
	const all = "ipv6/conf/all/forwarding"
	here := b.here().Settings
	_, ours := b.own.Settings[all]
	if here[all] == "1" && !ours {
		return // it is switched on, by somebody else
	}
	if _, can := here["ipv6/conf/default/force_forwarding"]; can {
		for _, wb := range w.bridges {
			if wb.opens() && hasFamily(*wb.forwarding, true) {
				want["ipv6/conf/"+wb.name+"/force_forwarding"] = "1"
				// Its neighbour advertisements say so that it is a router (ndisc_recv_ns). Machines that
				// ask for it again and hear that it is none forget their default route (rt6_clean_tohost).
				want["ipv6/conf/"+wb.name+"/forwarding"] = "1"
			}
		}
		for _, l := range b.outward(w, true) {
			want["ipv6/conf/"+l+"/force_forwarding"] = "1"
		}
		return
	}
	want[all] = "1"
	for _, l := range b.outward(w, true) {
		path := "ipv6/conf/" + l + "/accept_ra"
		if here[path] == "1" || here[path] == "2" && b.own.Settings[path] == "1" {
			want[path] = "2"
		}
	}
}

func (b *builder) isNetworkOfOurs(w *wanted, link string) bool {
	wb := w.bridge(link)
	return wb != nil && wb.forwarding != nil
}

// outward are the links by which this host reaches others beyond its own networks: those
// with an address or a default route, but for the bridges and cables of containers and
// machines.
func (b *builder) outward(w *wanted, six bool) []string {
	here := b.here()
	routed := map[string]bool{}
	for _, r := range here.Routes {
		if r.Destination.Bits() == 0 && r.Destination.Addr().Is6() == six && r.Type != "unreachable" {
			for _, h := range r.NextHops {
				routed[h.Link] = true
			}
		}
	}
	addressed := map[string]bool{}
	for _, a := range here.Addresses {
		if a.Prefix.Addr().Is6() == six && a.Origin != model.LinkLocal {
			addressed[a.Link] = true
		}
	}
	var out []string
	for _, l := range here.Links {
		inner := l.Kind == model.TapKind || l.Kind == model.Dummy || l.Kind == model.Bridged && !b.hasUplink(l.Name)
		switch {
		case l.Kind == model.Loopback || b.isNetworkOfOurs(w, l.Name) || l.Port != nil:
		case routed[l.Name], addressed[l.Name] && !inner && !b.own.ownsLink(l.Name):
			out = append(out, l.Name)
		}
	}
	return out
}

// hasUplink tells whether a bridge has a port that leads out of this host.
func (b *builder) hasUplink(bridge string) bool {
	if b.own.uplinkOf(bridge) != nil {
		return true
	}
	return slices.ContainsFunc(b.here().Ports(bridge), func(p model.Link) bool {
		return p.Kind != model.TapKind && p.Kind != model.Veth
	})
}

// guarded are the outward links that forward for networks of ours only. Where forwarding is
// switched on for the whole host, somebody wants more than that.
func (b *builder) guarded(w *wanted, six bool) []string {
	here, family, key := b.here().Settings, "ipv4", "forwarding"
	if six {
		family = "ipv6"
		if _, can := here["ipv6/conf/default/force_forwarding"]; can {
			key = "force_forwarding"
		}
	}
	all := family + "/conf/all/forwarding"
	if _, ours := b.own.Settings[all]; here[all] == "1" && !ours {
		return nil
	}
	var out []string
	for _, l := range b.outward(w, six) {
		path := family + "/conf/" + l + "/" + key
		if was, ours := b.own.Settings[path]; ours && was == "0" || here[path] == "0" {
			out = append(out, l)
		}
	}
	return out
}

// isRouterSwitch tells the setting by which a link is a router's; it forwards nothing by itself.
func isRouterSwitch(path string) bool {
	return strings.HasPrefix(path, "ipv6/conf/") && strings.HasSuffix(path, "/forwarding") && settingLink(path) != ""
}

func forwardTitle(path string) string {
	link := orSame(settingLink(path), "all links")
	switch family := "IPv" + path[3:4]; {
	case strings.HasSuffix(path, "/route_localnet"):
		return "Let " + link + " carry what this host sends from its loopback address"
	case strings.HasSuffix(path, "/accept_ra"):
		return "Let " + link + " listen to routers also while it forwards"
	case isRouterSwitch(path):
		return "Let " + link + " tell machines that this host is their router for IPv6"
	default:
		return fmt.Sprintf("Forward %s on %s", family, link)
	}
}

func forwardWhy(path string) string {
	link := orSame(settingLink(path), "every link")
	switch {
	case strings.HasSuffix(path, "/route_localnet"):
		return "A published port is reached at localhost, too. Machines cannot send to loopback addresses: the rules drop that."
	case strings.HasSuffix(path, "/accept_ra"):
		return "A host that forwards takes itself for a router, and no longer believes those that advertise themselves, unless it is told to."
	case isRouterSwitch(path):
		return "Otherwise they would forget it, and all ways out, when they ask for its MAC address again."
	case path == "ipv6/conf/all/forwarding":
		return "Kernels before Linux 6.17 forward IPv6 for all links or for none. The rules let pass only what is for networks of ours."
	default:
		return fmt.Sprintf("The kernel routes what comes in by %s to other links, not only to this host. Other links stay as they are.", link)
	}
}
