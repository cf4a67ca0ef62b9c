package kernel_test

import (
	"net/netip"

	"drawbridge/internal/model"
)

var (
	fromAll   = model.Rule{Family: 4, Priority: 32766, Selector: "from all", Action: "lookup main"}
	ruleOfNil = model.Rule{Family: 4, Priority: 77, Selector: "from all iif eth0", Action: "lookup main", IIF: "eth0"}
)

func lifetime(valid, preferred uint32) func(*model.Address) {
	return func(a *model.Address) {
		a.Lifetime, a.Origin = &model.Lifetime{Valid: valid, Preferred: preferred}, model.DHCP
	}
}

func renew(as ...model.Address) model.Operation {
	return model.RenewAddresses{Link: "eth0", Addresses: as}
}

// followScenarios are about what follows an address: rules, tokens, lifetimes. That a
// rule's twin has all that the original has is told by rules.txtar of cmd/drawbridge.
var followScenarios = []scenario{
	{name: "twin of a rule that is there", start: cable("eth0"), do: model.CopyRules{From: "eth0", To: "br0", Rules: []model.Rule{fromAll}}},
	{name: "twin of a rule that is gone", start: cable("eth0"), do: model.CopyRules{From: "eth0", To: "br0", Rules: []model.Rule{ruleOfNil}}, refused: model.ErrNotFound},
	{name: "delete a rule that is gone", start: cable("eth0"), do: model.DeleteRules{Link: "eth0", Rules: []model.Rule{ruleOfNil}}},
	{name: "delete a rule", do: model.DeleteRules{Rules: []model.Rule{fromAll}}},
	{name: "token", start: concat(cable("eth0"), ops(model.SetSetting{Path: "ipv6/conf/eth0/accept_ra", Value: "1"})), do: model.SetToken{Link: "eth0", Token: "::5"}},
	{name: "token taken back", start: concat(cable("eth0"), ops(model.SetToken{Link: "eth0", Token: "::5"})), do: model.SetToken{Link: "eth0", Token: "::"}},
	{name: "token of nothing", do: model.SetToken{Link: "eth0", Token: "::5"}, refused: model.ErrNotFound},
	{name: "renew", start: withAddresses(address("198.18.0.5/24", lifetime(100, 50)), second), do: renew(address("198.18.0.5/24", lifetime(1000, 500)))},
	{name: "renew for ever", start: withAddresses(address("198.18.0.5/24", lifetime(100, 50))), do: renew(address("198.18.0.5/24"))},
	{name: "renew IPv6", start: withAddresses(address("2001:db8::5/64", nodad, lifetime(100, 50))), do: renew(address("2001:db8::5/64", nodad, lifetime(1000, 500)))},
	{name: "renew a peer's", start: withAddresses(address("198.18.0.5/32", lifetime(100, 50), peer("198.18.9.1/32"))), do: renew(address("198.18.0.5/32", lifetime(1000, 500), peer("198.18.9.1/32")))},
	{name: "renew what is gone", start: withAddresses(second), do: renew(first), refused: model.ErrNotFound},
	{name: "renew on nothing", do: renew(first), refused: model.ErrNotFound},
	{name: "solicit where no route waits", start: cable("eth0"), do: model.SolicitRouters{Link: "eth0", Timeout: 100}},
	{name: "solicit on nothing", do: model.SolicitRouters{Link: "eth0", Timeout: 100}, refused: model.ErrNotFound},
}

func peer(p string) func(*model.Address) {
	return func(a *model.Address) { a.Peer = netip.MustParsePrefix(p) }
}
