package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

func tells(p Plan, words string) bool {
	return slices.ContainsFunc(p.Notes, func(n string) bool { return strings.Contains(n, words) })
}

// A subnet that was chosen is left when the LAN has it by now, and it is told; one that the
// file gives is refused.
func TestTheLANTakesTheSubnet(t *testing.T) {
	const chosen = "networks: {private: {mode: nat, bridge: br1}}\n"
	up, now := mustDiff(t, modern(), filed(t, chosen), Owned{})
	four := up.Owned.Networks[0].Subnets[0]
	now.Here().Addresses = append(now.Here().Addresses, model.Address{Link: "eth0", Prefix: netip.PrefixFrom(four.Addr().Next().Next(), four.Bits()), Origin: model.DHCP})
	again, after := mustDiff(t, now, filed(t, chosen), up.Owned)
	if got := again.Owned.Networks[0].Subnets[0]; got.Overlaps(four) || !tells(again, "network private leaves "+four.String()+" for another subnet: eth0 has ") {
		t.Errorf("it is in %s, and tells %q", got, again.Notes)
	}
	if quiet, _ := mustDiff(t, after, filed(t, chosen), again.Owned); len(quiet.Steps) > 0 {
		t.Errorf("again: %q", titles(quiet))
	}
	if _, err := Diff(now, filed(t, "networks: {private: {mode: nat, bridge: br1, subnet: "+four.String()+"}}\n"), up.Owned, options); err == nil || !strings.Contains(err.Error(), "is used already: eth0 has") {
		t.Errorf("%v", err)
	}
}

// IPv6 is off in one way or another: a network does without, and what needs it is refused.
func TestWithoutIPv6(t *testing.T) {
	off := func(path string) model.Snapshot {
		s := modern()
		s.Here().Settings[path] = "1"
		return s
	}
	gone := modern()
	for path := range gone.Here().Settings {
		if strings.HasPrefix(path, "ipv6/") {
			delete(gone.Here().Settings, path)
		}
	}
	for why, now := range map[string]model.Snapshot{"this kernel has no IPv6": gone, "for links that are made": off("ipv6/conf/default/disable_ipv6"), "on this host": off("ipv6/conf/all/disable_ipv6")} {
		p, err := Diff(now, filed(t, "networks: {private: {mode: nat, bridge: br1}}\n"), Owned{}, options)
		if err != nil || len(p.Owned.Networks[0].Subnets) != 1 || !tells(p, why) {
			t.Errorf("%s: %v %q", why, err, p.Notes)
		}
		for _, file := range []string{"networks: {private: {mode: nat, bridge: br1, subnet6: \"2001:db8:7::/64\"}}\n", "networks: {own: {mode: host-only, bridge: br1, host: [\"2001:db8:7::1/64\"]}}\n"} {
			if _, err := Diff(now, filed(t, file), Owned{}, options); err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %s: %v", why, file, err)
			}
		}
	}
	long, err := Diff(modern(), filed(t, "networks: {private: {mode: nat, bridge: br1, subnet6: \"2001:db8:7::/112\"}}\n"), Owned{}, options)
	if err != nil || !tells(long, "it is no /64") {
		t.Errorf("%v %q", err, long.Notes)
	}
}

// A VPN that has the default route is no LAN; the uplink is where the LAN is, before and after
// it came.
func TestAutoIsNoTunnel(t *testing.T) {
	now := modern()
	n := now.Here()
	n.Links = append(n.Links, model.Link{Name: "wg0", Index: 90, Kind: model.Wireguard, Up: true, Carrier: true})
	n.Addresses = append(n.Addresses, model.Address{Link: "wg0", Prefix: netip.MustParsePrefix("198.19.0.2/32"), Origin: model.Static})
	vpn := model.Route{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"), Protocol: "static", Scope: "link", NextHops: []model.NextHop{{Link: "wg0"}}}
	n.Routes = append([]model.Route{vpn}, n.Routes...)
	for i := range n.Routes[1:] {
		n.Routes[i+1].Metric += 50
	}
	const file = "networks: {lan: {mode: routed, bridge: br0}}\n"
	up, after := mustDiff(t, now, filed(t, file), Owned{})
	if len(up.Owned.Routed) != 1 || up.Owned.Routed[0].Uplink != "eth0" {
		t.Fatalf("%+v", up.Owned.Routed)
	}
	// It has even taken the LAN's away.
	ns := after.Here()
	ns.Routes = slices.DeleteFunc(ns.Routes, func(r model.Route) bool { return r.Destination.Bits() == 0 && r.Link() == "eth0" })
	again, _ := mustDiff(t, after, filed(t, file), up.Owned)
	if len(again.Steps) > 0 || again.Owned.Routed[0].Uplink != "eth0" {
		t.Errorf("%q, %+v", titles(again), again.Owned.Routed)
	}
	if _, err := Diff(now, filed(t, "networks: {lan: {mode: routed, bridge: br0, uplink: wg0}}\n"), Owned{}, options); err == nil || !strings.Contains(err.Error(), "is a wireguard: at its end is no LAN") {
		t.Errorf("%v", err)
	}
}

// While a relay runs it is the one who knows what the uplink should answer for: neither what it
// has forgotten, nor what was learned, is planned anew.
func TestTheRelayKnows(t *testing.T) {
	const file = "networks: {lan: {mode: routed, bridge: br0, uplink: eth0}}\nmachines: {web: {vmm: namespace, nics: {eth1: {network: lan, tap: tap0, address: 198.18.0.10/24}}}}\n"
	up, now := mustDiff(t, modern(), filed(t, file), Owned{})
	n := now.Here()
	if len(n.Proxies("eth0")) != 1 {
		t.Fatalf("%+v", n.Neighbours)
	}
	n.Neighbours = slices.DeleteFunc(n.Neighbours, func(nb model.Neighbour) bool { return nb.Proxy })
	if again, _ := mustDiff(t, now, filed(t, file), up.Owned); len(again.Steps) > 0 {
		t.Errorf("%q", titles(again))
	}
	now.Service("lan").State = model.ServiceFailed
	again, _ := mustDiff(t, now, filed(t, file), up.Owned)
	step(t, again, "Let eth0 answer for 198.18.0.10")
	if down, _ := mustDiff(t, now, spec.Desired{}, up.Owned); !down.Owned.Empty() {
		t.Errorf("%+v", down.Owned)
	}
}
