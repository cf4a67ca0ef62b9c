package persist

import (
	"fmt"
	"reflect"
	"slices"

	"drawbridge/internal/model"
)

// Differences tells in words how the network after a boot differs from the one that is to
// be brought back: of the wish's bridges, taps and uplinks, with their addresses, routes,
// rules, and security. Both are compared as [model.Namespace.Normalised] writes them.
//
// Left out beyond that: whether the kernel or a manager hears router advertisements, who
// give the prefix's route another protocol and metric; what the stack would do on a port of a bridge, which has no stack
// (a manager switches IPv6 off there, or leaves it on); who wrote an address down; of a bridge with a DHCP
// lease, whether that has an end and a connected route (networkd that has taken it over gives it neither end nor metric); a
// link-local address more (dhcpcd makes its own); of the uplink, what kind of link it is.
func (w Wish) Differences(live, booted model.Namespace) []string {
	live, booted = live.Normalised(), booted.Normalised()
	var out []string
	names := w.links()
	for _, name := range names {
		l, b := live.Link(name), booted.Link(name)
		switch {
		case l == nil && b == nil:
		case b == nil:
			out = append(out, name+": is not there")
		case l == nil:
			out = append(out, name+": is there, and was not before")
		default:
			out = append(out, linkDifferences(*l, *b)...)
		}
	}
	of := func(link string) bool { return slices.Contains(names, link) }
	booted.Addresses = slices.DeleteFunc(booted.Addresses, func(a model.Address) bool {
		return a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix.Addr().Is6() && !slices.ContainsFunc(live.Addresses, func(l model.Address) bool { return l.Link == a.Link && l.Prefix == a.Prefix })
	})
	out = append(out, compareSets(live.Addresses, booted.Addresses, func(a model.Address) (string, bool) {
		if a.Peer.IsValid() {
			return fmt.Sprintf("%s: address %s peer %s, %s", a.Link, a.Prefix, a.Peer, a.Origin), of(a.Link)
		}
		if a.Prefix.Addr().Is4() && w.leased(a.Link) {
			return fmt.Sprintf("%s: address %s", a.Link, a.Prefix), true
		}
		return fmt.Sprintf("%s: address %s, %s", a.Link, a.Prefix, originOf(a)), of(a.Link)
	})...)
	out = append(out, compareSets(used(live.Routes), used(booted.Routes), func(r model.Route) (string, bool) {
		if r.Is4() && r.Protocol == "kernel" && w.leased(r.Link()) {
			return "", false
		}
		return routeWords(r), slices.ContainsFunc(r.NextHops, func(h model.NextHop) bool { return of(h.Link) })
	})...)
	out = append(out, compareSets(live.Rules, booted.Rules, func(r model.Rule) (string, bool) {
		return fmt.Sprintf("rule of IPv%d: %d: %s %s", r.Family, r.Priority, r.Selector, r.Action), true
	})...)
	out = append(out, compareSets(live.Secured, booted.Secured, func(p model.PortSecurity) (string, bool) {
		return fmt.Sprintf("%s: security %s", p.Link, p.Level), of(p.Link)
	})...)
	return out
}

// used leaves out default routes that are never used, since one to the same router by the same
// link comes before: after 'up' the kernel hears the router's advertisements beside what
// dhcpcd had made of them.
func used(routes []model.Route) []model.Route {
	return slices.DeleteFunc(slices.Clone(routes), func(r model.Route) bool {
		return r.Protocol == "ra" && r.IsDefault() && slices.ContainsFunc(routes, func(o model.Route) bool {
			return o.Protocol == "ra" && o.IsDefault() && o.Table == r.Table && o.Metric < r.Metric && slices.Equal(o.NextHops, r.NextHops)
		})
	})
}

func (w Wish) leased(link string) bool {
	return slices.ContainsFunc(w.Bridges, func(b Bridge) bool { return b.Name == link && b.DHCP4 != nil })
}

func (w Wish) links() []string {
	var out []string
	for _, b := range w.Bridges {
		out = append(out, b.Name)
		if b.Uplink != "" {
			out = append(out, b.Uplink)
		}
	}
	for _, t := range w.Taps {
		out = append(out, t.Name)
	}
	return out
}

func linkDifferences(was, is model.Link) (out []string) {
	tell := func(what string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			out = append(out, fmt.Sprintf("%s: %s is %v, was %v", is.Name, what, b, a))
		}
	}
	tell("master", was.Master, is.Master)
	tell("MAC address", was.MAC, is.MAC)
	tell("MTU", was.MTU, is.MTU)
	tell("up", was.Up, is.Up)
	if was.Bridge != nil && is.Bridge != nil {
		tell("spanning tree", was.Bridge.STP, is.Bridge.STP)
		tell("forward delay", forwardDelay(was.Bridge), forwardDelay(is.Bridge))
		tell("ageing", was.Bridge.AgeingTime, is.Bridge.AgeingTime)
		tell("VLAN filtering", was.Bridge.VLANFiltering, is.Bridge.VLANFiltering)
		tell("multicast snooping", was.Bridge.McastSnooping, is.Bridge.McastSnooping)
	}
	if was.Port != nil && is.Port != nil {
		tell("isolated", was.Port.Isolated, is.Port.Isolated)
		tell("learning", was.Port.Learning, is.Port.Learning)
		tell("flooding", was.Port.Flood, is.Port.Flood)
	}
	if was.Tap != nil && is.Tap != nil {
		tell("owner", nameOf("", was.Tap.Owner), nameOf("", is.Tap.Owner))
		tell("group", nameOf("", was.Tap.Group), nameOf("", is.Tap.Group))
		tell("several queues", was.Tap.MultiQueue, is.Tap.MultiQueue)
		tell("persistent", was.Tap.Persistent, is.Tap.Persistent)
	}
	return out
}

// forwardDelay is what ports would wait if they had to. Without spanning tree nothing waits
// (br_make_forwarding), and when that is switched on, a shorter delay becomes the least that
// it allows (br_stp_start): 0 is the same, and NetworkManager cannot say it.
func forwardDelay(b *model.Bridge) uint32 {
	if b.STP {
		return b.ForwardDelay
	}
	return max(b.ForwardDelay, model.MinForwardDelay)
}

// originOf: a manager that hears router advertisements itself sets a lifetime, as for a
// lease, and says no more of it (networkd before 253).
func originOf(a model.Address) model.Origin {
	if a.Prefix.Addr().Is6() && a.Origin == model.DHCP && !a.Prefix.IsSingleIP() {
		return model.RA
	}
	return a.Origin
}

func routeWords(r model.Route) string {
	s := "route to " + r.Destination.String()
	if onLink := !r.Is4() && !r.IsDefault() && !r.Gateway().IsValid(); onLink && (r.Protocol == "kernel" || r.Protocol == "ra") {
		r.Metric = 0
	} else {
		s += ", protocol " + r.Protocol
	}
	for _, h := range r.NextHops {
		if h.Gateway.IsValid() {
			s += " via " + h.Gateway.String()
		}
		s += " by " + h.Link
	}
	if r.Source.IsValid() {
		s += " from " + r.Source.String()
	}
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	if r.Table != model.TableMain {
		s += fmt.Sprintf(" table %d", r.Table)
	}
	if r.Type != "unicast" {
		s += " " + r.Type
	}
	return s
}

// compareSets tells the members of one list that the other has not, by their words.
func compareSets[T any](was, is []T, words func(T) (string, bool)) (out []string) {
	set := func(list []T) (all []string) {
		for _, x := range list {
			if w, ok := words(x); ok {
				all = append(all, w)
			}
		}
		return all
	}
	a, b := set(was), set(is)
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x+": is not there")
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			out = append(out, x+": is there, and was not before")
		}
	}
	return out
}
