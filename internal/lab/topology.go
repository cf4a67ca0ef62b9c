package lab

import (
	"net/netip"

	"drawbridge/internal/model"
)

// The names that a lab is made of.
const (
	lanNS       = "lan"
	routerNS    = "router"
	farNS       = "far"
	neighbourNS = "neighbour"
	hostNS      = "host"

	switchName = "switch" // the bridge in lan; its ports are named after who is at the other end
	hostPort   = HostPort
	hostUplink = "eth0"
	hostMAC    = "02:db:00:00:00:05"
)

// The addresses of a lab: RFC 2544's 198.18.0.0/15 and RFC 3849's 2001:db8::/32, which
// no real network has.
var (
	routerLAN4 = netip.MustParsePrefix("198.18.0.1/24")
	routerLAN6 = netip.MustParsePrefix("2001:db8::1/64")
	routerFar4 = netip.MustParsePrefix("198.18.1.1/24")
	routerFar6 = netip.MustParsePrefix("2001:db8:1::1/64")
	far4       = netip.MustParsePrefix("198.18.1.2/24")
	far6       = netip.MustParsePrefix("2001:db8:1::2/64")
	neighbour4 = netip.MustParsePrefix("198.18.0.20/24")
	neighbour6 = netip.MustParsePrefix("2001:db8::20/64")
	host4      = netip.MustParsePrefix("198.18.0.5/24")
	host6      = netip.MustParsePrefix("2001:db8::5/64")

	poolFirst = netip.MustParseAddr("198.18.0.100")
	poolLast  = netip.MustParseAddr("198.18.0.199")
)

// Addresses that others ask for: what is where in a lab.
var (
	HostAddress  = host4.Addr()
	HostAddress6 = host6.Addr()
	FarAddress   = far4.Addr()
	FarAddress6  = far6.Addr()
	Neighbour    = neighbour4.Addr()
	Router       = routerLAN4.Addr()
)

// HostPort is the switch's port that the host's cable ends in.
const HostPort = "host"

// InPool tells whether an address is one that the router's DHCP server gives away.
func InPool(a netip.Addr) bool { return a.Compare(poolFirst) >= 0 && a.Compare(poolLast) <= 0 }

// namespaceNames are a lab's namespaces in the order of the picture.
func namespaceNames() []string { return []string{hostNS, neighbourNS, lanNS, routerNS, farNS} }

// act is one operation in one namespace.
type act struct {
	namespace string
	do        model.Operation
}

// topology is all that is made when a lab comes up, in order. MACs are fixed, so that
// a lab looks the same every time; they are locally administered.
func topology(o Options) []act {
	acts := []act{
		{lanNS, model.CreateBridge{Name: switchName, MAC: "02:db:00:00:00:fe"}},
		{lanNS, model.SetSetting{Path: "ipv6/conf/" + switchName + "/disable_ipv6", Value: "1"}}, // a switch has no stack
	}
	acts = append(acts, cable("router", routerNS, "eth0", "02:db:00:00:00:01")...)
	acts = append(acts, cable("neighbour", neighbourNS, "eth0", "02:db:00:00:00:14")...)
	acts = append(acts, cable(hostPort, hostNS, hostUplink, hostMAC)...)
	acts = append(acts,
		act{routerNS, model.CreateVeth{Name: "eth1", MAC: "02:db:00:00:01:01", Peer: model.Ref{Namespace: farNS, Name: "eth0"}, PeerMAC: "02:db:00:00:01:02"}},
		act{routerNS, model.SetSetting{Path: "ipv4/ip_forward", Value: "1"}},
		act{routerNS, model.SetSetting{Path: "ipv6/conf/all/forwarding", Value: "1"}},
	)
	hostRA := "0"
	if o.HostAcceptsRA {
		hostRA = "1"
	}
	acts = append(acts,
		act{hostNS, model.SetSetting{Path: "ipv6/conf/eth0/accept_ra", Value: hostRA}},
		act{neighbourNS, model.SetSetting{Path: "ipv6/conf/eth0/accept_ra", Value: "0"}},
	)
	acts = append(acts, stack(routerNS, "eth0", routerLAN4, routerLAN6)...)
	acts = append(acts, stack(routerNS, "eth1", routerFar4, routerFar6)...)
	acts = append(acts, stack(farNS, "eth0", far4, far6, routerFar4.Addr(), routerFar6.Addr())...)
	acts = append(acts, stack(neighbourNS, "eth0", neighbour4, neighbour6, routerLAN4.Addr(), routerLAN6.Addr())...)
	acts = append(acts, stack(hostNS, hostUplink, host4, host6, routerLAN4.Addr(), routerLAN6.Addr())...)
	if o.AccessPoint {
		acts = append(acts, act{lanNS, model.SecurePorts{Ports: []model.PortSecurity{{
			Link: hostPort, Level: model.SecurityMAC, MACs: []model.MAC{hostMAC}, Allow: []string{model.AllowSTP}}}}})
	}
	if o.Unplugged {
		acts = append(acts, act{lanNS, model.SetUp{Link: hostPort, Up: false}})
	}
	return acts
}

// cable is a veth pair from a port of the switch to a link of a namespace.
func cable(port, namespace, link string, mac model.MAC) []act {
	return []act{
		{lanNS, model.CreateVeth{Name: port, Peer: model.Ref{Namespace: namespace, Name: link}, PeerMAC: mac}},
		{lanNS, model.SetSetting{Path: "ipv6/conf/" + port + "/disable_ipv6", Value: "1"}},
		{lanNS, model.SetMaster{Link: port, Master: switchName}},
		{lanNS, model.SetUp{Link: port, Up: true}},
	}
}

// stack gives a link its addresses and raises it; gateways make default routes.
func stack(namespace, link string, p4, p6 netip.Prefix, gateways ...netip.Addr) []act {
	addresses := []model.Address{
		{Link: link, Prefix: p4, Scope: "global", Origin: model.Static},
		// Without duplicate address detection it can be used from the first second on.
		{Link: link, Prefix: p6, Scope: "global", Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}},
	}
	acts := []act{
		{namespace, acceptDAD(link, "0")}, // until it is up, see settle
		{namespace, model.SetUp{Link: link, Up: true}},
		{namespace, model.AddAddresses{Link: link, Addresses: addresses}},
	}
	var routes []model.Route
	for _, g := range gateways {
		everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if g.Is6() {
			everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, model.Route{
			Table: model.TableMain, Type: "unicast", Destination: everything, Protocol: "static", Scope: "global",
			NextHops: []model.NextHop{{Link: link, Gateway: g}},
		})
	}
	if routes != nil {
		acts = append(acts, act{namespace, model.AddRoutes{Routes: routes}})
	}
	return acts
}

// settled is what is done when the addresses can be used.
func settled() []act {
	return []act{
		{routerNS, acceptDAD("eth0", "1")}, {routerNS, acceptDAD("eth1", "1")}, {farNS, acceptDAD("eth0", "1")},
		{neighbourNS, acceptDAD("eth0", "1")}, {hostNS, acceptDAD(hostUplink, "1")},
	}
}

// acceptDAD switches duplicate address detection of a link on or off. Off, its
// link-local address can be used at once: neighbour discovery and advertisements are
// sent from it, and else wait a random time of up to a second (addrconf_dad_kick).
func acceptDAD(link, value string) model.SetSetting {
	return model.SetSetting{Path: "ipv6/conf/" + link + "/accept_dad", Value: value}
}
