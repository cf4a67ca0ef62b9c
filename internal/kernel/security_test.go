package kernel_test

import (
	"net/netip"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func strict(link string, change ...func(*model.PortSecurity)) model.PortSecurity {
	p := model.PortSecurity{Link: link, Level: model.SecurityStrict, MACs: []model.MAC{"02:00:00:00:00:02"},
		IPv4: model.SourceList, IPv6: model.SourceList, Sources: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/32"), netip.MustParsePrefix("2001:db8::2/128"), netip.MustParsePrefix("198.18.4.0/24")}}
	for _, c := range change {
		c(&p)
	}
	return p
}

func leased(p *model.PortSecurity) {
	p.IPv4, p.IPv6, p.Sources = model.SourceLease, model.SourceAny, nil
}

func generous(p *model.PortSecurity) {
	p.Allow = []string{model.AllowDHCPServer, model.AllowRouter, model.AllowSTP, model.AllowVLAN}
	p.Rate, p.Storm = 100e6, 50
}

func secure(ports ...model.PortSecurity) model.Operation { return model.SecurePorts{Ports: ports} }

var onlyMAC = model.PortSecurity{Link: "eth0", Level: model.SecurityMAC, MACs: []model.MAC{"02:00:00:00:00:02", "02:00:00:00:00:03"}}
var onlyLimits = model.PortSecurity{Link: "eth0", Level: model.SecurityOff, Rate: 1e9}

var securityScenarios = []scenario{
	{name: "secure a port", start: cable("eth0"), do: secure(strict("eth0"))},
	{name: "secure a port that has a lease", start: cable("eth0"), do: secure(strict("eth0", leased))},
	{name: "secure a port with all that may be allowed", start: cable("eth0"), do: secure(strict("eth0", leased, generous))},
	{name: "secure the MAC address only", start: cable("eth0"), do: secure(onlyMAC)},
	{name: "limits only", start: cable("eth0"), do: secure(onlyLimits)},
	{name: "secure two ports", start: concat(cable("eth0"), cable2), do: secure(strict("eth0"), strict("eth1", leased))},
	{name: "secure it again", start: concat(cable("eth0"), ops(secure(strict("eth0", leased)))), do: secure(strict("eth0", leased))},
	{name: "secure it otherwise", start: concat(cable("eth0"), ops(secure(strict("eth0", leased)))), do: secure(strict("eth0", generous))},
	{name: "secure what is not there", do: secure(strict("eth0")), refused: model.ErrNotFound},
	{name: "secure with nonsense", start: cable("eth0"), do: secure(model.PortSecurity{Link: "eth0", Level: "tight"}), refused: model.ErrInvalid},
	{name: "free a port", start: concat(cable("eth0"), ops(secure(strict("eth0", leased)))), do: model.FreePorts{Links: []string{"eth0"}}},
	{name: "free one of two ports", start: concat(cable("eth0"), cable2, ops(secure(strict("eth0"), strict("eth1", leased)))), do: model.FreePorts{Links: []string{"eth1"}}},
	{name: "free what is not secured", start: cable("eth0"), do: model.FreePorts{Links: []string{"eth0", "nowhere"}}},
	{name: "delete a secured link", start: concat(cable("eth0"), ops(secure(strict("eth0", leased)))), do: model.DeleteLink{Name: "eth0"}},
	{name: "isolate a port", start: concat(cable("eth0"), withBridge, ops(model.SetMaster{Link: "eth0", Master: "br0"})), do: model.SetIsolated{Links: []string{"eth0"}, Isolated: true}},
	{name: "isolate it no longer", start: concat(cable("eth0"), withBridge, ops(model.SetMaster{Link: "eth0", Master: "br0"}, model.SetIsolated{Links: []string{"eth0"}, Isolated: true})), do: model.SetIsolated{Links: []string{"eth0"}}},
	{name: "isolate what is no port", start: cable("eth0"), do: model.SetIsolated{Links: []string{"eth0"}, Isolated: true}, refused: model.ErrInvalid},
}

func TestContractOfSecurity(t *testing.T) {
	testnet.RequireSecurity(t)
	for _, s := range securityScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}
