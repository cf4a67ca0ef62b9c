package model

import (
	"net/netip"
	"reflect"
	"testing"
)

// What a stack does for others is told at the host end where it does it.
func TestRoles(t *testing.T) {
	to, other := netip.MustParseAddr("198.18.7.2"), netip.MustParseAddr("198.18.0.5")
	ports := []Publish{{Protocol: "tcp", Port: 8080, To: to, ToPort: 80}, {Protocol: "tcp", Address: other, Port: 2222, To: to, ToPort: 22}}
	s := natHost()
	s.Here().Forwarding = []Forwarding{{Network: "private", Link: "br1", Out: true, Masquerade: prefixes("198.18.7.0/24"), Publish: ports}}
	s.Services = []Service{{Network: "private", Link: "br1", DHCP4: &DHCP4Config{}, DNS: &DNSConfig{}, State: ServiceFailed}}
	s.Here().Neighbours = []Neighbour{{Link: "eth0", Address: to, Proxy: true}, {Link: "eth0", Address: other}}
	s.Here().Settings["ipv4/conf/br1/proxy_arp"] = "1"
	w := Wire(s)
	for id, want := range map[string]Roles{
		"host/eth0": {Routes: true, NAT: prefixes("198.18.7.0/24"), Publishes: ports, Proxies: []netip.Addr{to}},
		"host/br1":  {Routes: true, Serves: []string{"DHCP", "DNS"}, Failed: true, ProxyARP: true},
	} {
		if got := w.Interface(id).Roles; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
}

// Who routes is told by each link's own switch, and what rules of ours keep in does not.
func TestWhoRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Snapshot)
		behind string
	}{
		"both links":       {func(*Snapshot) {}, BehindRouter},
		"one link only":    {func(s *Snapshot) { s.Here().Settings["ipv4/conf/br1/forwarding"] = "0" }, BehindHost},
		"rules keep it in": {func(s *Snapshot) { s.Here().Forwarding = []Forwarding{{Network: "x", Link: "br1"}} }, BehindHost},
		"by IPv6":          {func(s *Snapshot) { s.Here().Settings = map[string]string{"ipv6/conf/all/forwarding": "1"} }, BehindRouter},
		"relayed, unnumbered": {func(s *Snapshot) {
			s.Here().Addresses = s.Here().Addresses[:1]
			s.Services = []Service{{Network: "x", Link: "br1", Relay: &RelayConfig{Uplink: "eth0"}, State: ServiceRunning}}
		}, BehindRouter},
		"an uplink in it": {func(s *Snapshot) { s.Here().Settings = nil; s.Here().Link("eth0").Master = "br1" }, ""},
		"the host is not on it": {func(s *Snapshot) {
			s.Here().Settings, s.Here().Addresses = nil, s.Here().Addresses[:1]
			s.Here().Secured = []PortSecurity{{Link: "br1", Level: SecurityClosed}}
		}, BehindIsolated},
		"no address on it": {func(s *Snapshot) { s.Here().Settings, s.Here().Addresses = nil, s.Here().Addresses[:1] }, ""},
		"nobody knows who": {func(s *Snapshot) { s.Here().Settings, s.Machines = nil, nil }, ""},
	} {
		s := natHost()
		c.change(&s)
		w := Wire(s)
		if got := w.Segment("bridge:br1").Behind; got != c.behind {
			t.Errorf("%s: br1's LAN is %q, want %q", name, got, c.behind)
		}
		if got := w.Stack("host").Forwards; got != (c.behind == BehindRouter) {
			t.Errorf("%s: it routes: %v", name, got)
		}
	}
}
