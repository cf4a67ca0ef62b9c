package kernel_test

import (
	"net/netip"

	"drawbridge/internal/model"
)

var (
	vm4, vm6 = netip.MustParseAddr("198.18.0.77"), netip.MustParseAddr("2001:db8::77")
	both     = []netip.Addr{vm4, vm6}
)

func proxies(protocol string, as ...netip.Addr) model.Operation {
	return model.AddProxies{Link: "eth0", Addresses: as, Protocol: protocol}
}

func hostRoutes(protocol string) model.Operation {
	return addRoutes(model.ProxyRoute("eth0", vm4, protocol), model.ProxyRoute("eth0", vm6, protocol))
}

// proxyScenarios are about addresses that a link answers for in others' stead.
var proxyScenarios = []scenario{
	{name: "proxies", start: cable("eth0"), do: proxies("", both...)},
	{name: "proxies again", start: concat(cable("eth0"), ops(proxies("", both...))), do: proxies("", both...)},
	{name: "proxies that are learned", start: cable("eth0"), do: proxies(model.ProtocolLearned, both...)},
	{name: "proxies on nothing", do: proxies("", both...), refused: model.ErrNotFound},
	{name: "delete a proxy", start: concat(cable("eth0"), ops(proxies("", both...))), do: model.DeleteProxies{Link: "eth0", Addresses: both[:1]}},
	{name: "delete a proxy that is gone", start: cable("eth0"), do: model.DeleteProxies{Link: "eth0", Addresses: both}},
	{name: "routes to single addresses", start: withAddresses(first, six), do: hostRoutes("static")},
	{name: "forget what was learned", start: concat(withAddresses(first, six), ops(proxies(model.ProtocolLearned, vm4), proxies("", vm6), hostRoutes(model.ProtocolLearned))),
		do: model.ForgetLearned{Uplink: "eth0", Link: "eth0"}},
	{name: "forget where nothing was learned", start: concat(withAddresses(first, six), ops(proxies("", both...), hostRoutes("static"))), do: model.ForgetLearned{Uplink: "eth0", Link: "eth0"}},
	{name: "a copy leaves out what is learned", start: concat(cable("eth0"), cable("eth1"), ops(proxies(model.ProtocolLearned, vm4), proxies("", vm6))), do: model.CopyNeighbours{From: "eth0", To: "eth1"}},
}
