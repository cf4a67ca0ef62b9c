package fake

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// Advertisement is what a router advertises (RFC 4861, 4.2): itself as a default router,
// and a prefix for SLAAC. Times in seconds.
type Advertisement struct {
	// Arrives is the link that it comes in by; a port hands it to its bridge.
	Arrives  string
	Router   netip.Addr // link-local
	Lifetime uint32
	HopLimit uint32 // 0: it leaves that to its hearers
	Prefix   netip.Prefix
	Valid    uint32
	Prefer   uint32
}

// way is a default route by a router.
type way struct {
	link   string
	router netip.Addr
}

// Advertise lets an advertisement arrive. It tells whether it was accepted, as
// ndisc_router_discovery does: a default route to the same router that the kernel has not
// made itself (rt6_get_dflt_router looks at RTF_ADDRCONF) makes its own fail (EEXIST), and
// then the whole advertisement is refused, its prefixes as well.
func (k *Kernel) Advertise(ra Advertisement) (accepted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.routers = slices.DeleteFunc(k.routers, func(o Advertisement) bool { return o.Router == ra.Router })
	k.routers = append(k.routers, ra)
	_ = k.alter(func() error { accepted = k.hear(ra); k.snap.Settle(); return nil })
	return accepted
}

func (k *Kernel) hear(ra Advertisement) bool {
	ns := k.snap.Here()
	link := ra.Arrives
	l := ns.Link(link)
	if l != nil && l.Master != "" {
		link, l = l.Master, ns.Link(l.Master)
	}
	if l == nil || !l.Up || !hears(ns, link) {
		return false
	}
	if !k.defaultRoute(ns, link, ra) {
		return false
	}
	if ra.Prefix.IsValid() {
		autoconfigure(ns, l, ra)
	}
	return true
}

// hears is ipv6_accept_ra.
func hears(ns *model.Namespace, link string) bool {
	accept, known := ns.Settings["ipv6/conf/"+link+"/accept_ra"]
	return !known || accept == "2" || accept == "1" && ns.Settings["ipv6/conf/"+link+"/forwarding"] != "1"
}

// defaultRoute adds or refreshes the kernel's own (rt6_add_dflt_router).
func (k *Kernel) defaultRoute(ns *model.Namespace, link string, ra Advertisement) bool {
	own := model.Route{Table: model.TableMain, Type: "unicast", Destination: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Protocol: "ra", Scope: "global",
		Metric: model.MetricRA, Expires: ra.Lifetime, NextHops: []model.NextHop{{Link: link, Gateway: ra.Router}}}
	if ra.HopLimit != 0 {
		own.Metrics = map[string]uint32{"hoplimit": ra.HopLimit}
	}
	w := way{link, ra.Router}
	i := slices.IndexFunc(ns.Routes, func(r model.Route) bool {
		return model.SameRouteKey(r, own) && r.Link() == link && r.Gateway() == ra.Router
	})
	switch {
	case i < 0:
		ns.Routes = append(ns.Routes, own)
		k.own[w] = true
	case !k.own[w]:
		return false
	default:
		ns.Routes[i].Expires = ra.Lifetime
	}
	return true
}

// forgetRouters: a default route that is gone was the kernel's own no longer than that.
func (k *Kernel) forgetRouters() {
	for w := range k.own {
		there := slices.ContainsFunc(k.snap.Here().Routes, func(r model.Route) bool {
			return r.Protocol == "ra" && r.IsDefault() && r.Metric == model.MetricRA && r.Link() == w.link && r.Gateway() == w.router
		})
		if !there {
			delete(k.own, w)
		}
	}
}

// autoconfigure adds or refreshes the address and the route of a prefix
// (addrconf_prefix_rcv). A remaining lifetime is raised to what is advertised.
func autoconfigure(ns *model.Namespace, l *model.Link, ra Advertisement) {
	prefix := model.Route{Table: model.TableMain, Type: "unicast", Destination: ra.Prefix.Masked(), Protocol: "kernel", Scope: "global",
		Metric: 256, Expires: ra.Valid, NextHops: []model.NextHop{{Link: l.Name}}}
	if i := slices.IndexFunc(ns.Routes, func(r model.Route) bool { return model.SameRouteKey(r, prefix) && r.Link() == l.Name }); i >= 0 {
		ns.Routes[i].Expires = ra.Valid
	} else {
		ns.Routes = append(ns.Routes, prefix)
	}
	lifetime := &model.Lifetime{Valid: ra.Valid, Preferred: ra.Prefer}
	address := slaacAddress(ra.Prefix, l)
	if a := sameAddress(ns, l.Name, address); a != nil {
		a.Lifetime = lifetime
		return
	}
	ns.Addresses = append(ns.Addresses, model.Address{Link: l.Name, Prefix: netip.PrefixFrom(address, ra.Prefix.Bits()), Scope: "global",
		Origin: model.RA, Lifetime: lifetime, Flags: model.AddressFlags{ManageTemp: true}, Protocol: model.ProtocolRA})
}

// slaacAddress is the prefix with the link's token, else with its EUI-64 (RFC 4291, appendix A).
func slaacAddress(prefix netip.Prefix, l *model.Link) netip.Addr {
	b := prefix.Masked().Addr().As16()
	if token, err := netip.ParseAddr(l.Token); err == nil && l.Token != "::" {
		t := token.As16()
		copy(b[8:], t[8:])
		return netip.AddrFrom16(b)
	}
	m, _ := hex.DecodeString(strings.ReplaceAll(string(l.MAC), ":", ""))
	if len(m) == 6 {
		copy(b[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	}
	return netip.AddrFrom16(b)
}

// answerSolicitation lets every router that was heard of answer; the stand-ins of those
// that the kernel has a default route of its own for since are deleted.
func (k *Kernel) answerSolicitation(link string) {
	_ = k.alter(func() error {
		ns := k.snap.Here()
		for _, ra := range k.routers {
			k.hear(ra)
		}
		ns.Routes = slices.DeleteFunc(ns.Routes, func(r model.Route) bool {
			return r.IsInterimRA() && r.Link() == link && k.own[way{link, r.Gateway()}]
		})
		k.snap.Settle()
		return nil
	})
}
