package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Origin says where an address came from.
type Origin string

// The origins of an address.
const (
	Static    Origin = "static"
	DHCP      Origin = "dhcp"       // a finite lifetime, not from an RA
	RA        Origin = "ra"         // SLAAC, RFC 4862
	LinkLocal Origin = "link-local" // made by the kernel
)

// Lifetime in seconds left when it was observed; IFA_CACHEINFO. An address or
// route without one lasts for ever.
type Lifetime struct {
	Valid     uint32 `json:"valid"`
	Preferred uint32 `json:"preferred"`
}

// Address is an IP address on a link.
type Address struct {
	Link string `json:"link"`
	// Prefix is the local address with its prefix length (not masked).
	Prefix netip.Prefix `json:"prefix"`
	// Peer is the other side of a point-to-point address, else invalid.
	Peer      netip.Prefix `json:"peer,omitzero"`
	Broadcast netip.Addr   `json:"broadcast,omitzero"`
	Label     string       `json:"label,omitempty"`
	Scope     string       `json:"scope,omitempty"` // global, link, host, site
	Origin    Origin       `json:"origin"`
	Metric    uint32       `json:"metric,omitempty"` // IFA_RT_PRIORITY
	// Protocol is IFA_PROTO: 0 unspecified, 1 kernel lo, 2 kernel RA, 3 kernel link-local.
	Protocol uint8 `json:"protocol,omitempty"`
	// Server is the DHCP server that leased it, where that is known.
	Server   netip.Addr   `json:"server,omitzero"`
	Flags    AddressFlags `json:"flags,omitzero"`
	Lifetime *Lifetime    `json:"lifetime,omitempty"`
}

// AddressFlags are the IFA_F_* bits that have a meaning here.
type AddressFlags struct {
	Secondary     bool `json:"secondary,omitempty"`
	Temporary     bool `json:"temporary,omitempty"`
	Tentative     bool `json:"tentative,omitempty"`
	Deprecated    bool `json:"deprecated,omitempty"`
	DADFailed     bool `json:"dad_failed,omitempty"`
	NoDAD         bool `json:"nodad,omitempty"`
	NoPrefixRoute bool `json:"noprefixroute,omitempty"`
	ManageTemp    bool `json:"mngtmpaddr,omitempty"`
	HomeAddress   bool `json:"home,omitempty"`
	Autojoin      bool `json:"autojoin,omitempty"`
}

// The values of IFA_PROTO that the kernel itself sets (IFAPROT_*).
const (
	ProtocolRA        = 2
	ProtocolLinkLocal = 3
)

// OriginOf tells where an address came from. IFA_PROTO says so since Linux 5.18; before,
// and for user-space daemons that do not set it, its flags and lifetime tell.
func OriginOf(a Address) Origin {
	is6 := a.Prefix.Addr().Is6()
	switch {
	case a.Protocol == ProtocolLinkLocal:
		return LinkLocal
	case a.Protocol == ProtocolRA, is6 && (a.Flags.ManageTemp || a.Flags.Temporary):
		return RA
	case is6 && a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix.Bits() == 64 && a.Protocol == 0 && isInterfaceID(a.Prefix.Addr()):
		return LinkLocal
	case a.Lifetime != nil && a.Lifetime.Valid != ^uint32(0): // INFINITY_LIFE_TIME
		return DHCP
	default:
		return Static
	}
}

// isInterfaceID: the kernel's own link-local addresses are EUI-64 (ff:fe in the middle,
// RFC 4291 appendix A), on tunnels ISATAP; one that a person chose seldom is.
func isInterfaceID(a netip.Addr) bool {
	b := a.As16()
	isatap := (b[8]&^2) == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe // RFC 5214, of GRE and IPIP
	// Of SIT, the IPv4 address alone (addrconf_add_addr of net/ipv6/addrconf.c); "fe80::1" is no such.
	sit := b[8]|b[9]|b[10]|b[11] == 0 && b[12] != 0
	return b[11] == 0xff && b[12] == 0xfe || isatap || sit
}

// Status is ok, tentative or deprecated; "misplaced" is added by the wiring, which
// knows whether the link is a port.
func (a Address) Status() string {
	switch {
	case a.Flags.Tentative, a.Flags.DADFailed:
		return "tentative"
	case a.Flags.Deprecated:
		return "deprecated"
	default:
		return "ok"
	}
}

// The routing tables with a name of their own, rt_tables(5).
const (
	TableDefault uint32 = 253
	TableMain    uint32 = 254
	TableLocal   uint32 = 255
)

// Route is one route of any table.
type Route struct {
	Table uint32 `json:"table"`
	// Type in ip-route's words: unicast, local, broadcast, multicast, blackhole,
	// unreachable, prohibit, throw, anycast.
	Type string `json:"type"`
	// Destination is masked; 0.0.0.0/0 and ::/0 are the default routes.
	Destination netip.Prefix `json:"destination"`
	// From is the source prefix of an IPv6 source-specific route, else invalid.
	From     netip.Prefix `json:"from,omitzero"`
	TOS      uint8        `json:"tos,omitempty"`
	Protocol string       `json:"protocol"` // kernel, boot, static, ra, dhcp ... or a number
	Scope    string       `json:"scope"`    // global, link, host, nowhere
	Metric   uint32       `json:"metric,omitempty"`
	// Source is the preferred source address, RTA_PREFSRC.
	Source   netip.Addr `json:"source,omitzero"`
	NextHops []NextHop  `json:"next_hops,omitempty"`
	// NextHopID is the id of a nexthop object (ip nexthop), 0 for none.
	NextHopID uint32 `json:"next_hop_id,omitempty"`
	// Metrics are RTAX_* values by ip-route's word: mtu, advmss, initcwnd, hoplimit ...
	Metrics map[string]uint32 `json:"metrics,omitempty"`
	Pref    string            `json:"pref,omitempty"` // RFC 4191: low, high; "" is medium
	// Expires is the time left in seconds, 0 for never.
	Expires uint32 `json:"expires,omitempty"`
}

// NextHop is one way out of a route.
type NextHop struct {
	Link    string     `json:"link,omitempty"`
	Gateway netip.Addr `json:"gateway,omitzero"`
	Weight  int        `json:"weight,omitempty"` // 1 and up; 0 where there is one next hop only
	OnLink  bool       `json:"on_link,omitempty"`
}

// Is4 tells an IPv4 route from an IPv6 one.
func (r Route) Is4() bool { return r.Destination.Addr().Is4() }

// IsDefault tells whether the destination is everything.
func (r Route) IsDefault() bool { return r.Destination.Bits() == 0 }

// Link is the device of the first next hop, "" if there is none.
func (r Route) Link() string {
	if len(r.NextHops) == 0 {
		return ""
	}
	return r.NextHops[0].Link
}

// Gateway is the gateway of the first next hop, invalid if there is none.
func (r Route) Gateway() netip.Addr {
	if len(r.NextHops) == 0 {
		return netip.Addr{}
	}
	return r.NextHops[0].Gateway
}

func (r Route) uses(link string) bool {
	return slices.ContainsFunc(r.NextHops, func(h NextHop) bool { return h.Link == link })
}

func compareRoutes(a, b Route) int {
	return cmp.Or(
		cmpFamily(a.Destination.Addr(), b.Destination.Addr()),
		cmp.Compare(tableRank(a.Table), tableRank(b.Table)),
		cmp.Compare(a.Destination.Bits(), b.Destination.Bits()),
		a.Destination.Addr().Compare(b.Destination.Addr()),
		cmp.Compare(a.TOS, b.TOS),
		cmp.Compare(a.Metric, b.Metric),
		cmp.Compare(a.Type, b.Type),
		cmp.Compare(a.Protocol, b.Protocol),
		slices.CompareFunc(a.NextHops, b.NextHops, func(x, y NextHop) int {
			return cmp.Or(NaturalCompare(x.Link, y.Link), x.Gateway.Compare(y.Gateway))
		}),
		a.Source.Compare(b.Source),
	)
}

// tableRank puts main first and local last, as a reader wants them.
func tableRank(t uint32) uint32 {
	switch t {
	case TableMain:
		return 0
	case TableLocal:
		return ^uint32(0)
	default:
		return t
	}
}

// Rule is one routing policy rule.
type Rule struct {
	Family   int    `json:"family"` // 4 or 6
	Priority uint32 `json:"priority"`
	// Selector and Action in ip-rule's words: "from all iif eth0", "lookup main".
	Selector string `json:"selector"`
	Action   string `json:"action"`
	IIF      string `json:"iif,omitempty"`
	OIF      string `json:"oif,omitempty"`
}

// Neighbour is one entry of the ARP or NDP table.
type Neighbour struct {
	Link    string     `json:"link"`
	Address netip.Addr `json:"address"`
	MAC     MAC        `json:"mac,omitempty"`
	// State in ip-neighbour's words: reachable, stale, permanent, noarp, failed ...
	State  string `json:"state"`
	Router bool   `json:"router,omitempty"`
	Proxy  bool   `json:"proxy,omitempty"`
	// Protocol is who made it, as of a route, "" for nobody in particular (NDA_PROTOCOL).
	Protocol string `json:"protocol,omitempty"`
}

// FDBEntry is one entry of a forwarding database: behind which port a MAC lives.
type FDBEntry struct {
	Link   string     `json:"link"` // the port, or the bridge or vxlan itself
	MAC    MAC        `json:"mac"`
	Master string     `json:"master,omitempty"` // the bridge; "" for the link's own table
	VLAN   uint16     `json:"vlan,omitempty"`
	State  string     `json:"state,omitempty"` // permanent, static, "" for learned
	Remote netip.Addr `json:"remote,omitzero"` // vxlan destination
}

// SplitAddresses is a helper for messages: "198.18.0.5/24, 2001:db8::5/64".
func SplitAddresses(as []Address) string {
	var parts []string
	for _, a := range as {
		parts = append(parts, a.Prefix.String())
	}
	return strings.Join(parts, ", ")
}
