package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// host is the page's machine: eth0 with an address, on a LAN with a router.
func host() model.Snapshot {
	eth0 := model.Link{Name: "eth0", Index: 2, Kind: model.Physical, MAC: "02:11:22:33:44:55", MTU: 1500, Up: true, Carrier: true, OperState: "up"}
	a4 := model.Address{Link: "eth0", Prefix: netip.MustParsePrefix("198.18.0.5/24"), Origin: model.Static, Scope: "global"}
	a6 := model.Address{Link: "eth0", Prefix: netip.MustParsePrefix("2001:db8::5/64"), Origin: model.Static, Scope: "global"}
	s := model.Snapshot{Host: "host", Namespaces: []model.Namespace{{
		Links:     []model.Link{{Name: "lo", Index: 1, Kind: model.Loopback, Up: true, Carrier: true, MTU: 65536}, eth0},
		Addresses: []model.Address{a4, a6},
		Routes: []model.Route{
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"), Protocol: "static", Scope: "global", NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1")}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("198.18.0.0/24"), Protocol: "kernel", Scope: "link", Source: netip.MustParseAddr("198.18.0.5"), NextHops: []model.NextHop{{Link: "eth0"}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("2001:db8::/64"), Protocol: "kernel", Scope: "global", Metric: 256, NextHops: []model.NextHop{{Link: "eth0"}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("::/0"), Protocol: "static", Scope: "global", Metric: 1024, NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("2001:db8::1")}}},
		},
		Neighbours: []model.Neighbour{{Link: "eth0", Address: netip.MustParseAddr("198.18.0.1"), MAC: "02:00:00:00:00:01", State: "reachable"}},
		Settings:   map[string]string{"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0", "ipv4/conf/eth0/rp_filter": "0"},
	}}}
	s.Settle()
	return s
}

func bridgedFile() spec.Desired {
	return spec.Desired{
		Networks: []spec.Network{{Name: "lan", Mode: "bridged", Bridge: "br0", Uplink: "auto", Host: spec.HostAddressing{Mode: "move"}}},
		Machines: []spec.Machine{{Name: "web", VMM: "uml", Memory: 64 << 20, NICs: []spec.NIC{{Name: "eth1", Network: "lan", Tap: "tap0", Owner: "alice", DHCP: true, Cabled: true}}}},
	}
}

var options = Options{Users: map[string]uint32{"alice": 1000}, Seed: "seed"}

func mustDiff(t *testing.T, now model.Snapshot, want spec.Desired, own Owned) (Plan, model.Snapshot) {
	t.Helper()
	p, err := Diff(now, want, own, options)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	after, err := p.After()
	if err != nil {
		t.Fatalf("after: %v", err)
	}
	return p, after
}

func TestBridgedUpThenNothingThenDown(t *testing.T) {
	before := host()
	up, after := mustDiff(t, before, bridgedFile(), Owned{})
	var titles []string
	for _, s := range up.Steps {
		titles = append(titles, s.Title)
	}
	want := []string{
		"Make the bridge br0", "Make the tap tap0", "Give br0 the addresses of eth0", "Redirect what arrives at eth0 to br0", "Plug eth0 into br0", "Wait until br0 carries traffic",
		"Copy the neighbours of eth0 to br0", "Move the routes from eth0 to br0", "End the redirection at eth0", "Take the addresses off eth0", "Settle the addresses of br0",
		"Plug tap0 into br0", "Bring tap0 up", "Start the machine web",
	}
	if got := strings.Join(titles, "\n"); got != strings.Join(want, "\n") {
		t.Fatalf("steps:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	ns := after.Here()
	if got := model.SplitAddresses(ns.AddressesOf("br0")); got != "198.18.0.5/24, 2001:db8::5/64" {
		t.Errorf("addresses of br0: %s", got)
	}
	if len(ns.AddressesOf("eth0")) != 0 || len(ns.RoutesOf("eth0")) != 0 {
		t.Errorf("eth0 still has addresses or routes: %v %v", ns.AddressesOf("eth0"), ns.RoutesOf("eth0"))
	}
	if r := ns.DefaultRoute(); r == nil || r.Link() != "br0" {
		t.Errorf("default route: %+v", r)
	}
	again, _ := mustDiff(t, after, bridgedFile(), up.Owned)
	if len(again.Steps) != 0 {
		t.Errorf("a second plan has steps: %v", again.Steps)
	}
	down, end := mustDiff(t, after, spec.Desired{}, up.Owned)
	if !down.Owned.Empty() {
		t.Errorf("still owned after down: %+v", down.Owned)
	}
	if !sameButIndexes(before, end) {
		t.Errorf("down does not bring back what was (-want +got)\n%s", difference(before, end))
	}
}

func TestUndoOfEveryStepBringsBackTheStateBefore(t *testing.T) {
	up, _ := mustDiff(t, host(), bridgedFile(), Owned{})
	states, err := up.States()
	if err != nil {
		t.Fatal(err)
	}
	for last := range up.Steps {
		s := states[last+1].Clone()
		for i := last; i >= 0; i-- {
			for _, op := range up.Steps[i].Undo {
				if err := s.Apply(op); err != nil {
					t.Fatalf("undo of %q: %v", up.Steps[i].Title, err)
				}
			}
		}
		if !sameButIndexes(states[0], s) {
			t.Errorf("undone from %q on (-want +got)\n%s", up.Steps[last].Title, difference(states[0], s))
		}
	}
}

func sameButIndexes(a, b model.Snapshot) bool { return settled(a).Equal(settled(b)) }

// settled leaves out what need not come back: indexes, and what is known of
// neighbours. Machines compare by what they run with, less the NICs without a cable.
func settled(s model.Snapshot) model.Snapshot {
	s = s.Clone()
	ns := s.Here()
	ns.Neighbours = nil
	for i := range ns.Links {
		ns.Links[i].Index = 0
	}
	if len(s.Machines) == 0 {
		s.Machines = nil
	}
	for i := range s.Machines {
		m := &s.Machines[i]
		m.Inside = nil
		m.NICs = slices.DeleteFunc(m.NICs, func(n model.MachineNIC) bool { return n.Declared })
		m.Config.NICs = slices.DeleteFunc(m.Config.NICs, func(n model.NICConfig) bool { return n.Link == "" })
		if len(m.NICs) == 0 {
			m.NICs, m.Config.NICs = nil, nil
		}
	}
	s.Settle()
	return s
}

func difference(a, b model.Snapshot) string {
	a, b = settled(a), settled(b)
	equate := cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
	return cmp.Diff(a.Here(), b.Here(), equate) + cmp.Diff(a.Machines, b.Machines, equate)
}

func TestRefusalsAreAllToldAtOnce(t *testing.T) {
	s := host()
	ns := s.Here()
	ns.Links = append(ns.Links, model.Link{Name: "br0", Kind: model.Veth}, model.Link{Name: "tap0", Kind: model.TapKind, Tap: &model.Tap{Holders: []model.Holder{{PID: 7, Command: "qemu-system-x86"}}}})
	want := bridgedFile()
	want.Networks[0].Uplink = "eth7"
	want.Machines[0].NICs[0].Owner = "nobody-here"
	_, err := Diff(s, want, Owned{}, options)
	if err == nil {
		t.Fatal("no refusal")
	}
	for _, part := range []string{"eth7: no such interface", "br0: exists already, and is a veth", "nobody-here: no such user", "tap0: is held by another process, qemu-system-x86"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("refusals lack %q:\n%v", part, err)
		}
	}
}

func TestUplinksThatCannotBeBridged(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*model.Namespace)
		want   string
	}{
		"in another bridge": {func(n *model.Namespace) {
			n.Links = append(n.Links, model.Link{Name: "virbr0", Kind: model.Bridged})
			n.Link("eth0").Master = "virbr0"
		}, "is a port of virbr0 already"},
		"wireless": {func(n *model.Namespace) { n.Link("eth0").Kind = model.Wireless }, "access point"},
		"macvlan on it": {func(n *model.Namespace) {
			n.Links = append(n.Links, model.Link{Name: "mv0", Kind: model.Macvlan, Parent: &model.Ref{Name: "eth0"}})
		}, "carries mv0"},
		"no default": {func(n *model.Namespace) { n.Routes = nil }, "no default route"},
	} {
		t.Run(name, func(t *testing.T) {
			s := host()
			tc.change(s.Here())
			_, err := Diff(s, bridgedFile(), Owned{}, options)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v lacks %q", err, tc.want)
			}
		})
	}
}
