package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// filed is a file as spec reads it.
func filed(t *testing.T, text string) spec.Desired {
	t.Helper()
	want, found := spec.Parse("drawbridge.yaml", []byte(text))
	if found.HasErrors() {
		t.Fatal(found)
	}
	return want
}

const natFile = `
networks:
  private: {mode: nat, bridge: br1, subnet: 198.18.7.0/24, subnet6: "2001:db8:7::/64"}
machines:
  web: {vmm: namespace, nics: {eth1: {network: private, publish: ["8080:80"]}}}
  db: {vmm: namespace, nics: {eth1: {network: private, address: 198.18.7.10/24}}}
`

// forwarder is a host with an uplink whose settings are known, as a kernel of today has them.
func forwarder() model.Snapshot {
	s := host()
	n := s.Here()
	if n.Settings == nil {
		n.Settings = map[string]string{}
	}
	for _, link := range []string{"all", "default", "eth0"} {
		n.Settings["ipv4/conf/"+link+"/forwarding"], n.Settings["ipv6/conf/"+link+"/forwarding"] = "0", "0"
		n.Settings["ipv6/conf/"+link+"/accept_ra"], n.Settings["ipv6/conf/"+link+"/disable_ipv6"] = "1", "0"
		n.Settings["ipv4/conf/"+link+"/route_localnet"] = "0"
	}
	n.Settings["ipv4/ip_forward"] = "0"
	return s
}

// modern has the switch of Linux 6.17 for IPv6.
func modern() model.Snapshot {
	s := forwarder()
	for _, link := range []string{"all", "default", "eth0"} {
		s.Here().Settings["ipv6/conf/"+link+"/force_forwarding"] = "0"
	}
	return s
}

// The rules are there before anything is forwarded, what is forwarded is only what must be,
// and all of it goes again.
func TestNATIsForwardedByLinkAndBack(t *testing.T) {
	for name, before := range map[string]model.Snapshot{"Linux 6.17": modern(), "before": forwarder()} {
		up, after := mustDiff(t, before, filed(t, natFile), Owned{})
		rules := step(t, up, "Make the rules of network private")
		var forwarding []string
		for i, s := range up.Steps {
			set, is := s.Do.(model.SetSetting)
			if !is {
				continue
			}
			forwarding = append(forwarding, set.Path)
			if i < rules {
				t.Errorf("%s: %s comes before the rules", name, set.Path)
			}
		}
		want := []string{"ipv4/conf/br1/route_localnet", "ipv6/conf/br1/force_forwarding", "ipv6/conf/eth0/force_forwarding", "ipv4/conf/br1/forwarding", "ipv4/conf/eth0/forwarding", "ipv6/conf/br1/forwarding"}
		if name == "before" {
			want = []string{"ipv4/conf/br1/route_localnet", "ipv6/conf/eth0/accept_ra", "ipv4/conf/br1/forwarding", "ipv4/conf/eth0/forwarding", "ipv6/conf/all/forwarding"}
		}
		if !slices.Equal(forwarding, want) {
			t.Errorf("%s: %q", name, forwarding)
		}
		f := after.Here().ForwardingOf("private")
		if f == nil || len(f.Publish) != 2 || !slices.Equal(f.Guard4, []string{"eth0"}) || !slices.Equal(f.Guard6, []string{"eth0"}) || len(f.Masquerade) != 2 {
			t.Errorf("%s: %+v", name, f)
		}
		again, _ := mustDiff(t, after, filed(t, natFile), up.Owned)
		if len(again.Steps) != 0 {
			t.Errorf("%s: again: %q", name, titles(again))
		}
		down, end := mustDiff(t, after, spec.Desired{}, up.Owned)
		if last := down.Steps[len(down.Steps)-1]; last.Do.Op() != "drop-forwarding" {
			t.Errorf("%s: the rules go before what they guard: %q", name, titles(down))
		}
		if !sameButIndexes(before, end) || !down.Owned.Empty() {
			t.Errorf("%s: %s\n%+v", name, difference(before, end), down.Owned)
		}
	}
}

// Who forwards already for everybody is left at that, and guarded from nothing.
func TestNATOnARouter(t *testing.T) {
	now := modern()
	if err := now.Apply(model.SetSetting{Path: "ipv4/ip_forward", Value: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := now.Apply(model.SetSetting{Path: "ipv6/conf/all/forwarding", Value: "1"}); err != nil {
		t.Fatal(err)
	}
	up, after := mustDiff(t, now, filed(t, natFile), Owned{})
	for _, s := range up.Steps {
		if strings.HasPrefix(s.Title, "Forward ") {
			t.Errorf("%s", s.Title)
		}
	}
	if f := after.Here().ForwardingOf("private"); f.Guard4 != nil || f.Guard6 != nil {
		t.Errorf("%+v", f)
	}
}

// A setting for all links is taken back with those of each.
func TestASettingForAllIsTakenBackForEach(t *testing.T) {
	before := forwarder()
	before.Here().Settings["ipv6/conf/eth0/forwarding"] = "1"
	up, after := mustDiff(t, before, filed(t, natFile), Owned{})
	_, end := mustDiff(t, after, spec.Desired{}, up.Owned)
	if got := end.Here().Settings["ipv6/conf/eth0/forwarding"]; got != "1" {
		t.Errorf("eth0 forwards %s, and did before", got)
	}
	op := model.SetSetting{Path: "ipv6/conf/all/forwarding", Value: "1"}
	if undo := inverse(op, &before); len(undo) != 2 {
		t.Errorf("%+v", undo)
	}
}

// A subnet is chosen that nothing else is in, the same one every time.
func TestASubnetIsChosen(t *testing.T) {
	const open = "networks: {private: {mode: nat}, other: {mode: nat}}\n"
	_, after := mustDiff(t, modern(), filed(t, open), Owned{})
	private, other := after.Here().ForwardingOf("private").Subnets, after.Here().ForwardingOf("other").Subnets
	if len(private) != 2 || private[0].Bits() != 24 || !private[0].Addr().IsPrivate() || private[1].Bits() != 64 || !private[1].Addr().IsPrivate() || private[0].Overlaps(other[0]) || private[1].Overlaps(other[1]) {
		t.Fatalf("%v %v", private, other)
	}
	_, again := mustDiff(t, modern(), filed(t, open), Owned{})
	if !slices.Equal(again.Here().ForwardingOf("private").Subnets, private) {
		t.Error("another one the second time")
	}
	// A VPN is where it would be: another one, which then stays when the VPN is gone.
	vpn := modern()
	wide := netip.PrefixFrom(private[0].Addr(), 16).Masked()
	vpn.Here().Routes = append(vpn.Here().Routes, model.Route{Table: 51820, Type: "unicast", Destination: wide, NextHops: []model.NextHop{{Link: "eth0"}}})
	up, after := mustDiff(t, vpn, filed(t, open), Owned{})
	chosen := after.Here().ForwardingOf("private").Subnets
	if chosen[0].Overlaps(wide) {
		t.Errorf("%v is in %v", chosen, wide)
	}
	after.Here().Routes = slices.DeleteFunc(after.Here().Routes, func(r model.Route) bool { return r.Table == 51820 })
	if stays, _ := mustDiff(t, after, filed(t, open), up.Owned); len(stays.Steps) != 0 {
		t.Errorf("%q", titles(stays))
	}
}

func TestNATThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*model.Snapshot, *Options)
		file   string
		want   string
	}{
		"no nftables":   {func(_ *model.Snapshot, o *Options) { o.NoForwarding = "this kernel has no nftables" }, natFile, "mode: nat needs nftables"},
		"no IPv6":       {func(s *model.Snapshot, _ *Options) { delete(s.Here().Settings, "ipv6/conf/all/disable_ipv6") }, natFile, "this kernel has no IPv6"},
		"IPv6 off":      {func(s *model.Snapshot, _ *Options) { s.Here().Settings["ipv6/conf/all/disable_ipv6"] = "1" }, natFile, "switched off"},
		"the LAN's own": {func(*model.Snapshot, *Options) {}, "networks: {private: {mode: nat, subnet: 198.18.0.0/24}}\n", "198.18.0.0/24 is used already: eth0 has"},
		"a port in use": {func(_ *model.Snapshot, o *Options) {
			o.Listening = []model.Socket{{Protocol: "tcp", State: "listen", Local: netip.MustParseAddrPort("127.0.0.1:8080")}}
		}, natFile, "a program of this host listens at 127.0.0.1:8080"},
		"no room": {func(*model.Snapshot, *Options) {}, "networks: {private: {mode: nat, subnet: 198.18.7.0/29}}\nmachines: {web%d: {count: 6, vmm: namespace, nics: {eth1: {network: private}}}}\n", "there is no room for it in 198.18.7.0/29"},
	} {
		now, opt := modern(), options
		c.change(&now, &opt)
		_, err := Diff(now, filed(t, c.file), Owned{}, opt)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "hint:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each machine has an address, a name and a way out; none is given twice, and none changes
// when another machine comes.
func TestAddressesOnANATNetwork(t *testing.T) {
	var machines strings.Builder
	for i := range 40 {
		fmt.Fprintf(&machines, "  m%d: {vmm: namespace, nics: {eth1: {network: private}}}\n", i)
	}
	text := "networks:\n  private: {mode: nat, bridge: br1, subnet: 198.18.7.0/26, dhcp: 198.18.7.50-198.18.7.62}\nmachines:\n" + machines.String()
	up, after := mustDiff(t, modern(), filed(t, text), Owned{})
	service := after.Service("private")
	seen := map[netip.Addr]bool{}
	for _, l := range service.DHCP4.Static {
		if seen[l.Address] || !service.DHCP4.Server.Contains(l.Address) || !l.Address.Less(service.DHCP4.First) || l.Name == "" {
			t.Errorf("%+v", l)
		}
		seen[l.Address] = true
	}
	if len(seen) != 40 || service.RA == nil || service.DNS.Zone != "private.home.arpa" || len(service.DNS.Names) != 40 {
		t.Errorf("%d addresses, %+v", len(seen), service.DNS)
	}
	more, _ := mustDiff(t, after, filed(t, text+"  a-first: {vmm: namespace, nics: {eth1: {network: private}}}\n"), up.Owned)
	for _, s := range more.Steps {
		change, is := s.Do.(model.ChangeService)
		if !is {
			continue
		}
		for _, l := range service.DHCP4.Static {
			if !slices.Contains(change.Service.DHCP4.Static, l) {
				t.Errorf("%+v has another address now", l)
			}
		}
	}
}

// Filters of somebody else's that drop: passed by rules of ours, before anything is
// forwarded, renewed when somebody takes them away or puts others behind them, and closed in
// the end. What cannot be changed is told.
func TestPassagesThroughOtherFirewalls(t *testing.T) {
	now := modern()
	now.Here().Settings["bridge/bridge-nf-call-iptables"] = "1"
	now.Here().Firewalls = []model.Firewall{
		{Name: "iptables-nft", IPv4: true, Drops: "the policy of its FORWARD is DROP"},
		{Name: "iptables-nft", Input: true, IPv4: true, Drops: "the policy of its INPUT is DROP"},
		{Name: "ip6tables-nft", IPv6: true},
		{Name: "nft inet filter forward", IPv4: true, IPv6: true, Drops: "its policy is drop"},
		{Name: "nft inet others forward", IPv4: true, IPv6: true, Drops: "its policy is drop", Locked: true},
	}
	up, err := Diff(now, filed(t, natFile), Owned{}, options)
	if err != nil {
		t.Fatal(err)
	}
	both := []model.Crossing{{In: "br1", Out: "br1"}, {In: "br1", Out: "eth0"}, {In: "eth0", Out: "br1"}}
	for title, want := range map[string]model.Passage{
		"Let network private through the FORWARD of iptables-nft":   {Network: "private", Firewall: "iptables-nft", Crossings: both},
		"Let network private through the INPUT of iptables-nft":     {Network: "private", Firewall: "iptables-nft", Input: true, Crossings: []model.Crossing{{In: "br1", Protocol: "tcp", Port: 53}, {In: "br1", Protocol: "udp", Port: 53}}},
		"Let network private through the chain inet filter forward": {Network: "private", Firewall: "nft inet filter forward", Crossings: both},
	} {
		at := step(t, up, title)
		if at > step(t, up, "Forward IPv4 on br1") {
			t.Errorf("%q", titles(up))
		}
		if p := up.Steps[at].Do.(model.OpenPassage).Passage; !p.Same(want) {
			t.Errorf("%s: %+v", title, p)
		}
		if undo := up.Steps[at].Undo; len(undo) != 1 || undo[0].Op() != "close-passage" || undo[0].Object() != "private" {
			t.Errorf("%s: undone by %+v", title, undo)
		}
	}
	if len(up.Owned.Passages) != 3 || !up.Passes("br1") || up.Passes("br0") {
		t.Errorf("%+v", up.Owned.Passages)
	}
	if notes := strings.Join(up.Notes, "\n"); !strings.Contains(notes, `Only the program that made that table may change it. Let it through: nft add rule inet others forward iifname "br1" oifname "br1" counter accept`) {
		t.Errorf("%q", up.Notes)
	}
	after, err := up.After()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Diff(after, filed(t, natFile), up.Owned, options)
	if err != nil || len(again.Steps) != 0 {
		t.Errorf("%v %q", err, titles(again))
	}
	for what, spoil := range map[string]func(p *model.Passage){
		"a rule is gone": func(p *model.Passage) { p.Crossings = p.Crossings[:1] },
		"one comes late": func(p *model.Passage) { p.Misplaced = true },
	} {
		other := after.Clone()
		spoil(&other.Here().FirewallOf(model.Passage{Firewall: "iptables-nft"}).Ours[0])
		renewed, err := Diff(other, filed(t, natFile), up.Owned, options)
		if err != nil || len(renewed.Steps) != 2 || renewed.Steps[0].Do.Op() != "close-passage" || renewed.Steps[1].Do.Op() != "open-passage" {
			t.Errorf("%s: %v %q", what, err, titles(renewed))
		}
	}
	flushed := after.Clone() // as by a reload
	for i := range flushed.Here().Firewalls {
		flushed.Here().Firewalls[i].Ours = nil
	}
	if renewed, err := Diff(flushed, filed(t, natFile), up.Owned, options); err != nil || len(renewed.Owned.Passages) != 3 || len(renewed.Steps) != 3 {
		t.Errorf("%v %q", err, titles(renewed))
	}
	down, _ := mustDiff(t, after, spec.Desired{}, up.Owned)
	at := step(t, down, "Take network private out of the FORWARD of iptables-nft")
	if undo := down.Steps[at].Undo; len(undo) != 1 || undo[0].Op() != "open-passage" {
		t.Errorf("undone by %+v", undo)
	}
	if !down.Owned.Empty() {
		t.Errorf("%+v", down.Owned)
	}
	// Who may not see the rules plans nothing about them.
	blind := after.Clone()
	blind.Here().SecurityUnseen, blind.Here().Firewalls = true, nil
	if p, err := Diff(blind, filed(t, natFile), up.Owned, options); err != nil || len(p.Steps) != 0 || len(p.Owned.Passages) != 3 {
		t.Errorf("%v %q", err, titles(p))
	}
}

// firewalld's zones: trusted for who is behind this host, the LAN's own for who is on it; what
// somebody put into a zone stays there.
func TestZonesOfFirewalld(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		zones  map[string]string
		filter bool // br_netfilter
		want   *model.Passage
	}{
		"nat":                         {natFile, nil, false, &model.Passage{Zone: "trusted", Crossings: []model.Crossing{{In: "br1"}}}},
		"nat, put somewhere":          {natFile, map[string]string{"br1": "work"}, false, nil},
		"routed":                      {lanFile("routed", ""), nil, false, &model.Passage{Zone: "public", Crossings: []model.Crossing{{In: "br0"}, {In: "eth0"}}}},
		"routed, the uplink has one":  {lanFile("routed", ""), map[string]string{"eth0": "home"}, false, &model.Passage{Zone: "home", Crossings: []model.Crossing{{In: "br0"}}}},
		"bridged":                     {lanFile("bridged", ""), nil, false, nil},
		"bridged, the uplink has one": {lanFile("bridged", ""), map[string]string{"eth0": "home"}, false, &model.Passage{Zone: "home", Crossings: []model.Crossing{{In: "br0"}}}},
		"bridged and filtered":        {lanFile("bridged", ""), nil, true, &model.Passage{Zone: "public", Crossings: []model.Crossing{{In: "br0"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			now := modern()
			zones := map[string]string{"": "public"}
			maps.Copy(zones, c.zones)
			now.Here().Firewalls = []model.Firewall{{Name: model.Firewalld, IPv4: true, IPv6: true, Drops: "its zones reject", Zones: zones}}
			if c.filter {
				now.Here().Settings["bridge/bridge-nf-call-iptables"] = "1"
			}
			up, err := Diff(now, filed(t, c.text), Owned{}, options)
			if err != nil {
				t.Fatal(err)
			}
			var want []model.Passage
			if c.want != nil {
				c.want.Network, c.want.Firewall = up.Owned.Networks[0].Name, model.Firewalld
				want = append(want, *c.want)
			}
			if !slices.EqualFunc(up.Owned.Passages, want, model.Passage.Same) {
				t.Fatalf("%+v", up.Owned.Passages)
			}
			after, err := up.After()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := Diff(after, filed(t, c.text), up.Owned, options); err != nil || len(again.Steps) != 0 {
				t.Errorf("%v %q", err, titles(again))
			}
			down, home := mustDiff(t, after, spec.Desired{}, up.Owned)
			if !down.Owned.Empty() || !maps.Equal(home.Here().Firewalls[0].Zones, zones) {
				t.Errorf("%+v %+v", down.Owned, home.Here().Firewalls)
			}
			// A firewalld that cannot be told anything: its administrator is told.
			opt := options
			opt.NoFirewalld = "firewalld does not answer"
			told, err := Diff(now, filed(t, c.text), Owned{}, opt)
			if notes := strings.Join(told.Notes, "\n"); err != nil || len(told.Owned.Passages) != 0 || strings.Contains(notes, "firewall-cmd --zone") != (c.want != nil) {
				t.Errorf("%v %q", err, told.Notes)
			}
		})
	}
}
