package kernel_test

import "drawbridge/internal/model"

// bridgeBeside is the state in which routes are moved: eth0 with its addresses is a port
// of br0, which has the same addresses in transit.
func bridgeBeside(as ...model.Address) []model.Operation {
	return concat(withAddresses(as...), ops(
		model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:01", MTU: 1500},
		model.AddAddresses{Link: "br0", Addresses: inTransit(as)},
		model.SetMaster{Link: "eth0", Master: "br0"},
		model.WaitUp{Link: "br0", Timeout: 3000}))
}

// inTransit: see the head of routes.go.
func inTransit(as []model.Address) []model.Address {
	out := make([]model.Address, len(as))
	for i, a := range as {
		if a.Prefix.Addr().Is6() {
			transit(&a)
		}
		out[i] = a
	}
	return out
}

func move(rs ...model.Route) model.Operation {
	return model.MoveRoutes{From: "eth0", To: "br0", Routes: rs}
}

var (
	connected4 = connectedRoute("198.18.0.0/24", "198.18.0.5", "eth0")
	connected6 = connectedRoute("2001:db8::/64", "", "eth0")
	tabled     = route("198.18.7.0/24", "198.18.0.1", "eth0", metric(50), table(100), source("198.18.0.5"))
	sized      = route("2001:db8:7::/64", "2001:db8::1", "eth0", func(r *model.Route) { r.Metrics = map[string]uint32{"mtu": 1400} })
)

var moveScenarios = []scenario{
	{name: "move connected routes", start: bridgeBeside(first, six), do: move(connected4, connected6)},
	{name: "move all routes", start: concat(bridgeBeside(first, six), ops(addRoutes(default4, default6, tabled, sized))), do: move(default4, connected4, default6, connected6, tabled, sized)},
	{name: "move what was moved", start: concat(bridgeBeside(first, six), ops(addRoutes(default4, default6), move(connected4, connected6, default4, default6))), do: move(connected4, connected6, default4, default6)},
	{name: "move beside a stranger with equal prefixes", start: concat(bridgeBeside(first, six), cable2, ops(
		model.AddAddresses{Link: "eth1", Addresses: []model.Address{address("198.18.0.50/24"), address("2001:db8::50/64", nodad)}})), do: move(connected4, connected6)},
	{name: "move a default beside a stranger's of another metric", start: concat(bridgeBeside(first, six), ops(addRoutes(default4, default6)), cable2, ops(
		model.AddAddresses{Link: "eth1", Addresses: []model.Address{other}}, addRoutes(route("0.0.0.0/0", "198.18.1.1", "eth1", metric(100))))), do: move(default4, connected4, connected6, default6)},
	{name: "move a leg of a multipath route", start: concat(bridgeBeside(first), cable2, ops(
		model.AddAddresses{Link: "eth1", Addresses: []model.Address{other}}, addRoutes(multipath))), do: move(connected4, multipath)},
	{name: "move to a link that is down", start: concat(bridgeBeside(first, six), ops(model.SetUp{Link: "br0"})), do: move(connected4, connected6), refused: model.ErrInvalid},
	{name: "move from nothing", start: cable("eth0"), do: model.MoveRoutes{From: "eth7", To: "eth0"}, refused: model.ErrNotFound},
	{name: "take the addresses off", start: concat(bridgeBeside(first, second, other, six, six2), ops(move(connected4, connected6, connectedRoute("198.18.1.0/24", "198.18.1.5", "eth0")))), do: dropAddresses(first, second, other, six, six2)},
	{name: "the whole cutover", start: concat(bridgeBeside(first, second, other, six, six2), ops(addRoutes(default4, default6, tabled, sized),
		move(default4, default6, tabled, sized, connected4, connected6, connectedRoute("198.18.1.0/24", "198.18.1.5", "eth0")),
		dropAddresses(first, second, other, six, six2))),
		do: model.SettleAddresses{Link: "br0", Addresses: []model.Address{first, second, other, six, six2}}},
	{name: "the bridge goes down and up after a cutover", start: concat(bridgeBeside(first, second, six), ops(move(connected4, connected6), dropAddresses(first, second, six),
		model.SettleAddresses{Link: "br0", Addresses: []model.Address{first, second, six}}, model.SetUp{Link: "br0"})), do: model.SetUp{Link: "br0", Up: true}},
}
