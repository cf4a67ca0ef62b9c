package kernel_test

import (
	"net/netip"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// alice owns taps. In a user namespace only its own root is somebody.
var alice = testnet.Somebody()

var linkScenarios = []scenario{
	{name: "bridge with MAC and MTU", do: model.CreateBridge{Name: "br0", MAC: "02:11:22:33:44:55", MTU: 1500}},
	{name: "bridge as the kernel would", do: model.CreateBridge{Name: "br0"}},
	{name: "bridge under a name that is taken", start: cable("eth0"), do: model.CreateBridge{Name: "eth0"}, refused: model.ErrExists},
	{name: "bridge with a name too long", do: model.CreateBridge{Name: "a-name-of-sixteen"}, refused: model.ErrInvalid},
	{name: "tap with owner", do: model.CreateTap{Name: "tap0", Owner: &alice, VnetHeader: true}},
	{name: "tap with queues, group and MTU", do: model.CreateTap{Name: "tap0", Group: &alice, MultiQueue: true, MTU: 1400}},
	{name: "tap that exists", start: ops(model.CreateTap{Name: "tap0"}), do: model.CreateTap{Name: "tap0"}, refused: model.ErrExists},
	{name: "tap up without holder", start: ops(model.CreateTap{Name: "tap0"}), do: model.SetUp{Link: "tap0", Up: true}},
	{name: "veth", do: model.CreateVeth{Name: "v0", Peer: model.Ref{Name: "v1"}, MTU: 1400}},
	{name: "veth that exists", start: cable("eth0"), do: model.CreateVeth{Name: "v0", Peer: model.Ref{Name: "eth0"}}, refused: model.ErrExists},
	{name: "veth with one end up", start: ops(model.CreateVeth{Name: "v0", Peer: model.Ref{Name: "v1"}}), do: model.SetUp{Link: "v0", Up: true}},
	{name: "delete", start: cable("eth0"), do: model.DeleteLink{Name: "eth0"}},
	{name: "delete what is gone", do: model.DeleteLink{Name: "eth0"}},
	{name: "delete a stranger's", start: cable("eth0"), do: model.DeleteLink{Name: "eth0", Index: 4711}, refused: model.ErrNotOurs},
	{name: "delete a bridge with ports", start: concat(cable("eth0"), ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}, model.SetMaster{Link: "eth0", Master: "br0"})), do: model.DeleteLink{Name: "br0"}},
	{name: "up a missing link", do: model.SetUp{Link: "eth0", Up: true}, refused: model.ErrNotFound},
	{name: "plug in", start: concat(cable("eth0"), ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"})), do: model.SetMaster{Link: "eth0", Master: "br0"}},
	{name: "plug in twice", start: concat(cable("eth0"), ops(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "eth0", Master: "br0"})), do: model.SetMaster{Link: "eth0", Master: "br0"}},
	{name: "plug over to another bridge", start: concat(cable("eth0"), ops(model.CreateBridge{Name: "br0"}, model.CreateBridge{Name: "br1"}, model.SetMaster{Link: "eth0", Master: "br0"})), do: model.SetMaster{Link: "eth0", Master: "br1"}},
	{name: "plug out", start: concat(cable("eth0"), ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}, model.SetMaster{Link: "eth0", Master: "br0"})), do: model.SetMaster{Link: "eth0"}},
	{name: "plug into nothing", start: cable("eth0"), do: model.SetMaster{Link: "eth0", Master: "br0"}, refused: model.ErrNotFound},
	{name: "plug into no bridge", start: concat(cable("eth0"), ops(model.CreateTap{Name: "tap0"})), do: model.SetMaster{Link: "eth0", Master: "tap0"}, refused: model.ErrInvalid},
	{name: "plug the loopback in", start: ops(model.CreateBridge{Name: "br0"}), do: model.SetMaster{Link: "lo", Master: "br0"}, refused: model.ErrInvalid},
	{name: "plug a bridge into a bridge", start: ops(model.CreateBridge{Name: "br0"}, model.CreateBridge{Name: "br1"}), do: model.SetMaster{Link: "br1", Master: "br0"}, refused: model.ErrInvalid},
	{name: "port that is down", start: ops(model.CreateBridge{Name: "br0"}, model.CreateTap{Name: "tap0"}), do: model.SetMaster{Link: "tap0", Master: "br0"}},
	{name: "a bridge keeps the MTU that it was given", start: ops(model.CreateBridge{Name: "br0", MTU: 1500}, model.CreateTap{Name: "tap0", MTU: 1400}), do: model.SetMaster{Link: "tap0", Master: "br0"}},
	{name: "MAC of a bridge that is up", start: ops(model.CreateBridge{Name: "br0", MAC: "02:11:22:33:44:55"}), do: model.SetMAC{Link: "br0", MAC: "02:11:22:33:44:66"}},
	{name: "MAC that is none", start: cable("eth0"), do: model.SetMAC{Link: "eth0", MAC: "nonsense"}, refused: model.ErrInvalid},
	{name: "MTU", start: cable("eth0"), do: model.SetMTU{Link: "eth0", MTU: 1300}},
	{name: "MTU too small", start: cable("eth0"), do: model.SetMTU{Link: "eth0", MTU: 10}, refused: model.ErrInvalid},
	{name: "wait for what stays down", start: ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:09"}), do: model.WaitUp{Link: "br0", Timeout: 50}, refused: model.ErrBusy},
	{name: "wait for a bridge", start: concat(cable("eth0"), ops(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "eth0", Master: "br0"})), do: model.WaitUp{Link: "br0", Timeout: 3000}},
	{name: "setting", start: cable("eth0"), do: model.SetSetting{Path: "ipv4/conf/eth0/rp_filter", Value: "2"}},
	{name: "setting of its neighbours", start: cable("eth0"), do: model.SetSetting{Path: "ipv4/neigh/eth0/proxy_delay", Value: "0"}},
	{name: "setting of its neighbours as it was", start: concat(cable("eth0"), ops(model.SetSetting{Path: "ipv6/neigh/eth0/proxy_delay", Value: "40"})), do: model.SetSetting{Path: "ipv6/neigh/eth0/proxy_delay", Value: "80"}},
	{name: "setting of the neighbours of nothing", do: model.SetSetting{Path: "ipv4/neigh/eth0/proxy_delay", Value: "0"}, refused: model.ErrNotFound},
	{name: "setting of nothing", do: model.SetSetting{Path: "ipv4/conf/eth0/rp_filter", Value: "2"}, refused: model.ErrNotFound},
	{name: "setting outside", do: model.SetSetting{Path: "../kernel/hostname", Value: "x"}, refused: model.ErrInvalid},
	{name: "spanning tree on", start: ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}), do: model.SetBridge{Bridge: "br0", STP: ref(true)}},
	{name: "spanning tree with its delay", start: ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}), do: model.SetBridge{Bridge: "br0", STP: ref(true), ForwardDelay: ref(uint32(1500))}},
	{name: "spanning tree off again", start: ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}, model.SetBridge{Bridge: "br0", STP: ref(true), ForwardDelay: ref(uint32(1500))}), do: model.SetBridge{Bridge: "br0", STP: ref(false), ForwardDelay: ref(uint32(0))}},
	{name: "spanning tree with no delay", start: ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}, model.SetBridge{Bridge: "br0", STP: ref(true)}), do: model.SetBridge{Bridge: "br0", ForwardDelay: ref(uint32(100))}, refused: model.ErrInvalid},
	{name: "multicast querier", start: ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}), do: model.SetBridge{Bridge: "br0", McastQuerier: ref(true)}},
	{name: "no multicast snooping", start: ops(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01"}), do: model.SetBridge{Bridge: "br0", McastSnooping: ref(false)}},
	{name: "bridge settings of no bridge", start: cable("eth0"), do: model.SetBridge{Bridge: "eth0", STP: ref(true)}, refused: model.ErrInvalid},
	{name: "offloads of a tap", start: ops(model.CreateTap{Name: "tap0"}), do: model.ResetOffloads{Link: "tap0"}},
	{name: "offloads of no tap", start: cable("eth0"), do: model.ResetOffloads{Link: "eth0"}, refused: model.ErrInvalid},
	{name: "forwarding", start: cable("eth0"), do: model.SetSetting{Path: "ipv4/ip_forward", Value: "1"}},
}

func ref[T any](v T) *T { return &v }

func withAddresses(as ...model.Address) []model.Operation {
	return concat(cable("eth0"), ops(model.AddAddresses{Link: "eth0", Addresses: as}))
}

var (
	first  = address("198.18.0.5/24")
	second = address("198.18.0.6/24")
	other  = address("198.18.1.5/24")
	six    = address("2001:db8::5/64", nodad)
	six2   = address("2001:db8::6/64", nodad)
)

func dropAddresses(as ...model.Address) model.Operation {
	return model.DeleteAddresses{Link: "eth0", Addresses: as}
}

var addressScenarios = []scenario{
	{name: "addresses, secondary and IPv6", start: cable("eth0"), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{first, other, second, six, six2}}},
	{name: "addresses again", start: withAddresses(first, second, six), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{first, second, six}}},
	{name: "addresses on a link that is down", start: ops(model.CreateTap{Name: "tap0"}), do: model.AddAddresses{Link: "tap0", Addresses: []model.Address{first}}},
	{name: "IPv6 addresses on a link that is down", start: ops(model.CreateTap{Name: "tap0"}), do: model.AddAddresses{Link: "tap0", Addresses: []model.Address{six}}},
	{name: "IPv6 addresses that were there before their link was up go when it goes down", start: ops(model.CreateTap{Name: "tap0"}, model.AddAddresses{Link: "tap0", Addresses: []model.Address{six}}, model.SetUp{Link: "tap0", Up: true}), do: model.SetUp{Link: "tap0"}},
	{name: "addresses come to life with their link", start: ops(model.CreateTap{Name: "tap0"}, model.AddAddresses{Link: "tap0", Addresses: []model.Address{first, other}}), do: model.SetUp{Link: "tap0", Up: true}},
	{name: "address on nothing", do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{first}}, refused: model.ErrNotFound},
	{name: "address with label, broadcast and metric", start: cable("eth0"), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{
		address("198.18.0.5/24", func(a *model.Address) {
			a.Label, a.Broadcast, a.Metric = "eth0:1", netip.MustParseAddr("198.18.0.255"), 77
		}), address("2001:db8::5/64", nodad, func(a *model.Address) { a.Metric = 78 })}}},
	{name: "address with peer", start: cable("eth0"), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{
		address("198.18.0.5/32", func(a *model.Address) { a.Peer = netip.MustParsePrefix("198.18.9.1/32") }),
		address("2001:db8::5/128", nodad, func(a *model.Address) { a.Peer = netip.MustParsePrefix("2001:db8:9::1/128") })}}},
	{name: "host addresses", start: cable("eth0"), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{address("198.18.0.5/32"), address("2001:db8::5/128", nodad)}}},
	{name: "address with a lifetime", start: cable("eth0"), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{
		address("198.18.0.5/24", func(a *model.Address) {
			a.Lifetime, a.Origin = &model.Lifetime{Valid: 1000, Preferred: 500}, model.DHCP
		})}}},
	{name: "deprecated address", start: cable("eth0"), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{
		address("2001:db8::5/64", nodad, func(a *model.Address) {
			a.Lifetime, a.Flags.Deprecated = &model.Lifetime{Valid: ^uint32(0), Preferred: 0}, true
		})}}},
	{name: "address without its route", start: cable("eth0"), do: model.AddAddresses{Link: "eth0", Addresses: []model.Address{
		address("198.18.0.5/24", transit), address("2001:db8::5/64", transit)}}},
	{name: "delete the primary", start: withAddresses(first, second, other), do: dropAddresses(first)},
	{name: "delete the primary with promotion", start: concat(withAddresses(first, second, other), ops(model.SetSetting{Path: "ipv4/conf/eth0/promote_secondaries", Value: "1"})), do: dropAddresses(first)},
	{name: "delete a secondary", start: withAddresses(first, second), do: dropAddresses(second)},
	{name: "delete all", start: withAddresses(first, second, other, six, six2), do: dropAddresses(first, second, other, six, six2)},
	{name: "delete what is gone already", start: withAddresses(first), do: dropAddresses(second, six)},
	{name: "delete one of two IPv6", start: withAddresses(six, six2), do: dropAddresses(six)},
	{name: "the address that routes prefer", start: concat(withAddresses(first, other), ops(model.AddRoutes{Routes: []model.Route{route("0.0.0.0/0", "198.18.1.1", "eth0", source("198.18.0.5"))}})), do: dropAddresses(first)},
	{name: "down", start: withAddresses(first, second, six), do: model.SetUp{Link: "eth0"}},
	{name: "down and up", start: concat(withAddresses(first, second, six), ops(model.SetUp{Link: "eth0"})), do: model.SetUp{Link: "eth0", Up: true}},
	{name: "settle", start: withAddresses(address("2001:db8::5/64", transit)), do: model.SettleAddresses{Link: "eth0", Addresses: []model.Address{address("2001:db8::5/64")}}},
	{name: "settle beside a moved route", start: concat(withAddresses(address("2001:db8::5/64", transit)), ops(model.AddRoutes{Routes: []model.Route{connectedRoute("2001:db8::/64", "", "eth0")}})), do: model.SettleAddresses{Link: "eth0", Addresses: []model.Address{address("2001:db8::5/64")}}},
	{name: "settle IPv4 changes nothing", start: withAddresses(first), do: model.SettleAddresses{Link: "eth0", Addresses: []model.Address{first}}},
	{name: "settle what is not there", start: cable("eth0"), do: model.SettleAddresses{Link: "eth0", Addresses: []model.Address{six}}, refused: model.ErrNotFound},
}

func withRoutes(rs ...model.Route) []model.Operation {
	return concat(withAddresses(first, six), ops(model.AddRoutes{Routes: rs}))
}

func addRoutes(rs ...model.Route) model.Operation { return model.AddRoutes{Routes: rs} }

var default4 = route("0.0.0.0/0", "198.18.0.1", "eth0")
var default6 = route("::/0", "2001:db8::1", "eth0")

var routeScenarios = []scenario{
	{name: "default routes", start: withAddresses(first, six), do: addRoutes(default4, default6)},
	{name: "routes again", start: withRoutes(default4, default6), do: addRoutes(default4, default6)},
	{name: "routes that need another first", start: withAddresses(first), do: addRoutes(route("198.18.200.0/24", "198.18.100.1", "eth0"), route("198.18.100.0/24", "", "eth0"))},
	{name: "routes with all attributes", start: withAddresses(first, second, six), do: addRoutes(
		route("198.18.7.0/24", "198.18.0.1", "eth0", metric(50), table(100), source("198.18.0.6"), func(r *model.Route) {
			r.TOS, r.Metrics = 8, map[string]uint32{"mtu": 1400, "advmss": 1300, "initcwnd": 20}
		}),
		route("2001:db8:7::/64", "2001:db8::1", "eth0", metric(50), table(100), source("2001:db8::5"), func(r *model.Route) {
			r.Pref, r.Metrics, r.Protocol = "high", map[string]uint32{"mtu": 1400, "hoplimit": 5}, "200"
		}))},
	{name: "onlink", start: withAddresses(first), do: addRoutes(route("198.18.7.0/24", "198.19.0.1", "eth0", func(r *model.Route) { r.NextHops[0].OnLink = true }))},
	{name: "unreachable gateway", start: withAddresses(first), do: addRoutes(route("198.18.7.0/24", "198.19.0.1", "eth0")), refused: model.ErrInvalid},
	{name: "route by a link that is down", start: ops(model.CreateTap{Name: "tap0"}), do: addRoutes(route("198.18.7.0/24", "", "tap0")), refused: model.ErrInvalid},
	{name: "route by nothing", do: addRoutes(route("198.18.7.0/24", "", "eth0")), refused: model.ErrNotFound},
	{name: "another gateway for the same", start: withRoutes(default4), do: addRoutes(route("0.0.0.0/0", "198.18.0.2", "eth0")), refused: model.ErrExists},
	{name: "another metric", start: withRoutes(default4, default6), do: addRoutes(route("0.0.0.0/0", "198.18.0.2", "eth0", metric(9)), route("::/0", "2001:db8::2", "eth0", metric(9)))},
	{name: "blackhole", do: addRoutes(model.Route{Table: model.TableMain, Type: "blackhole", Protocol: "static", Scope: "global", Destination: netip.MustParsePrefix("198.18.66.0/24")})},
	{name: "delete routes", start: withRoutes(default4, default6), do: model.DeleteRoutes{Routes: []model.Route{default4, default6}}},
	{name: "delete routes that are gone", start: withAddresses(first), do: model.DeleteRoutes{Routes: []model.Route{default4, default6}}},
	{name: "multipath", start: concat(withAddresses(first), cable2, ops(model.AddAddresses{Link: "eth1", Addresses: []model.Address{other}})), do: addRoutes(multipath)},
}

// cable2 is a second uplink.
var cable2 = ops(
	model.CreateVeth{Name: "eth1", MAC: "02:00:00:00:01:01", Peer: model.Ref{Name: "eth1-far"}, PeerMAC: "02:00:00:00:01:02"},
	model.SetUp{Link: "eth1", Up: true}, model.SetUp{Link: "eth1-far", Up: true}, model.WaitUp{Link: "eth1", Timeout: 3000})

var multipath = model.Route{Table: model.TableMain, Type: "unicast", Protocol: "static", Scope: "global", Destination: netip.MustParsePrefix("198.18.9.0/24"),
	NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1"), Weight: 2}, {Link: "eth1", Gateway: netip.MustParseAddr("198.18.1.1"), Weight: 1}}}
