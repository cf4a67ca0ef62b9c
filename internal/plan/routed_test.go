package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"drawbridge/internal/model"
)

func lanFile(mode, more string) string {
	return fmt.Sprintf("networks: {lan: {mode: %s, bridge: br0, uplink: eth0%s}}\nmachines: {web: {vmm: namespace, nics: {eth1: {network: lan, tap: tap0}}}}\n", mode, more)
}

// modeOf is how a plan leaves the uplink: bridged or routed.
func modeOf(t *testing.T, p Plan) string {
	t.Helper()
	after, err := p.After()
	if err != nil {
		t.Fatal(err)
	}
	if after.Here().Link("eth0").Master == "br0" {
		return "bridged"
	}
	if len(p.Owned.Routed) == 1 && after.Service("lan") != nil {
		return "routed"
	}
	return "neither"
}

// auto is bridged where the LAN takes machines' frames, or where nothing tells that it does
// not; and routed where it was found that it does not.
func TestAutoTakesWhatTheLANLets(t *testing.T) {
	for want, opt := range map[string]Options{"bridged": options, "routed": {Filtered: map[string]bool{"eth0": true}}} {
		p, err := Diff(modern(), filed(t, lanFile("auto", "")), Owned{}, opt)
		if err != nil {
			t.Fatal(err)
		}
		if got := modeOf(t, p); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// A routed network whose machine was learned, to be bridged: the LAN is told where it is,
// once the uplink is plugged in, and though the kernel has forgotten it by then.
func TestSwitchedNetworksAreToldOf(t *testing.T) {
	up, now := mustDiff(t, modern(), filed(t, lanFile("routed", "")), Owned{})
	if got := modeOf(t, up); got != "routed" {
		t.Fatal(got)
	}
	a, b := netip.MustParseAddr("198.18.0.100"), netip.MustParseAddr("198.18.0.101")
	n := now.Here()
	n.Routes = append(n.Routes, model.ProxyRoute("br0", a, model.ProtocolLearned), model.ProxyRoute("br0", b, model.ProtocolLearned))
	n.Neighbours = append(n.Neighbours, model.Neighbour{Link: "br0", Address: a, MAC: "02:d3:00:00:00:01", State: "stale"},
		model.Neighbour{Link: "br0", Address: netip.MustParseAddr("198.18.0.77"), MAC: "02:d3:00:00:00:03", State: "stale"})
	now.Service("lan").Learned = []model.LearnedAddress{{Address: b, MAC: "02:d3:00:00:00:02"}}
	p, err := Diff(now, filed(t, lanFile("bridged", "")), up.Owned, options)
	if err != nil {
		t.Fatal(err)
	}
	plugged, told := step(t, p, "Plug eth0 into br0"), step(t, p, "Forget the addresses that were learned on br0")
	if told < plugged {
		t.Errorf("told in step %d, and plugged in in step %d", told, plugged)
	}
	want := []model.LearnedAddress{{Address: a, MAC: "02:d3:00:00:00:01"}, {Address: b, MAC: "02:d3:00:00:00:02"}}
	if f, ok := p.Steps[told].Do.(model.ForgetLearned); !ok || !slices.Equal(f.Machines, want) {
		t.Errorf("told of %+v", p.Steps[told].Do)
	}
}

// Where somebody's FORWARD drops, what is routed passes between these two links, both ways,
// with a subnet and without; and no longer when the network is gone.
func TestRoutedNetworksPassOthersChains(t *testing.T) {
	for _, more := range []string{"", ", subnet: 198.18.7.0/24"} {
		text := lanFile("routed", more)
		if more != "" {
			text = "networks: {lan: {mode: routed, bridge: br0, uplink: eth0" + more + "}}\n"
		}
		now := modern()
		now.Here().Firewalls = []model.Firewall{{Name: "iptables-nft", IPv4: true, Drops: "the policy is DROP"}}
		p, err := Diff(now, filed(t, text), Owned{}, options)
		if err != nil {
			t.Fatal(err)
		}
		want := []model.Crossing{{In: "br0", Out: "eth0"}, {In: "eth0", Out: "br0"}}
		if len(p.Owned.Passages) != 1 || !slices.Equal(p.Owned.Passages[0].Crossings, want) {
			t.Fatalf("%q: passages %+v", more, p.Owned.Passages)
		}
		after, err := p.After()
		if err != nil {
			t.Fatal(err)
		}
		for content, ends := range map[string]bool{text: false, "networks: {}\n": true} {
			next, err := Diff(after.Clone(), filed(t, content), p.Owned, options)
			if err != nil {
				t.Fatal(err)
			}
			if closed := slices.ContainsFunc(next.Steps, func(st Step) bool { return st.Do.Op() == model.ClosePassage{}.Op() }); closed != ends {
				t.Errorf("%q: closed is %v, then the file is %q", more, closed, content)
			}
		}
	}
}
