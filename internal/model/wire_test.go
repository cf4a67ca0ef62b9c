package model

import (
	"net/netip"
	"slices"
	"testing"
)

func snapshotWith(links ...Link) Snapshot {
	s := Snapshot{Host: "host", Namespaces: []Namespace{{Links: append([]Link{{Name: "lo", Kind: Loopback, Up: true}}, links...)}}}
	s.Sort()
	return s
}

func TestEachKindHasItsTwoEnds(t *testing.T) {
	s := snapshotWith(
		Link{Name: "eth0", Kind: Physical, Up: true, Carrier: true},
		Link{Name: "eth1", Kind: Physical, Up: true},
		Link{Name: "br0", Kind: Bridged, Up: true},
		Link{Name: "tap0", Kind: TapKind, Master: "br0", Tap: &Tap{}},
		Link{Name: "tap1", Kind: TapKind, Carrier: true, Tap: &Tap{Holders: []Holder{{PID: 9, Command: "qemu-system-x86"}}}},
		Link{Name: "eth0.7", Kind: VLANKind, Parent: &Ref{Name: "eth0"}, VLAN: &VLAN{ID: 7}},
		Link{Name: "bond0", Kind: Bond, Carrier: true},
		Link{Name: "eth2", Kind: Physical, Carrier: true, Master: "bond0"},
		Link{Name: "red", Kind: VRF},
		Link{Name: "eth3", Kind: Physical, Carrier: true, Master: "red"},
		Link{Name: "vx0", Kind: VXLAN, Tunnel: &Tunnel{Remote: "198.18.0.9", ID: 42}},
		Link{Name: "ve0", Kind: Veth, Carrier: true, Peer: &Ref{Name: "ve1"}},
		Link{Name: "ve1", Kind: Veth, Carrier: true, Peer: &Ref{Name: "ve0"}},
		Link{Name: "odd0", Kind: "hsr"},
	)
	w := Wire(s)
	for _, tc := range []struct {
		id         string
		host, wire End
	}{
		{"host/eth0", End{InStack, "host"}, End{InSegment, "lan:eth0"}},
		{"host/eth1", End{InStack, "host"}, End{In: InNothing}},
		{"host/br0", End{InStack, "host"}, End{InSegment, "bridge:br0"}},
		{"host/tap0", End{InSegment, "bridge:br0"}, End{In: InNothing}},
		{"host/tap1", End{InStack, "host"}, End{InSegment, "cable:tap1"}},
		{"vm:qemu-system-x86/nic0", End{InStack, "vm:qemu-system-x86"}, End{InSegment, "cable:tap1"}},
		{"host/eth0.7", End{InStack, "host"}, End{InInterface, "host/eth0"}},
		{"host/bond0", End{InStack, "host"}, End{InSegment, "lan:bond0"}},
		{"host/eth2", End{InInterface, "host/bond0"}, End{InSegment, "lan:bond0"}},
		{"host/eth3", End{InStack, "vrf:red"}, End{InSegment, "lan:eth3"}},
		{"host/vx0", End{InStack, "host"}, End{InTunnel, "198.18.0.9"}},
		{"host/ve0", End{InStack, "host"}, End{InSegment, "cable:ve0"}},
		{"host/ve1", End{InStack, "host"}, End{InSegment, "cable:ve0"}},
		{"host/odd0", End{InStack, "host"}, End{In: InNothing}},
	} {
		itf := w.Interface(tc.id)
		if itf == nil {
			t.Errorf("%s is not in the wiring", tc.id)
			continue
		}
		if itf.HostEnd != tc.host || itf.WireEnd != tc.wire {
			t.Errorf("%s: ends %v %v, want %v %v", tc.id, itf.HostEnd, itf.WireEnd, tc.host, tc.wire)
		}
	}
	if vm := w.Stack("vm:qemu-system-x86"); vm == nil || vm.Kind != "qemu" {
		t.Errorf("the holder of tap1 is no stack of its own: %+v", vm)
	}
	if vrf := w.Stack("vrf:red"); vrf == nil || vrf.Parent != "host" {
		t.Errorf("the VRF is no stack in the host: %+v", vrf)
	}
	if w.Interface("host/lo") != nil {
		t.Error("lo is to be left out")
	}
}

func TestVethJoinsNamespacesInSight(t *testing.T) {
	s := snapshotWith(Link{Name: "eth0", Kind: Veth, Carrier: true, Peer: &Ref{"lan", "host0"}})
	alone := Wire(s)
	if end := alone.Interface("host/eth0").WireEnd; end != (End{InSegment, "lan:eth0"}) {
		t.Errorf("with its peer out of sight eth0 is on a LAN, not %v", end)
	}
	s.Namespaces = append(s.Namespaces, Namespace{Name: "lan", Links: []Link{{Name: "host0", Kind: Veth, Carrier: true, Peer: &Ref{"", "eth0"}}}})
	both := Wire(s)
	a, b := both.Interface("host/eth0"), both.Interface("netns:lan/host0")
	if a.WireEnd != b.WireEnd || a.WireEnd.In != InSegment {
		t.Errorf("a veth pair is one cable: %v and %v", a.WireEnd, b.WireEnd)
	}
}

func TestAddressesOfPortsAreMisplaced(t *testing.T) {
	s := snapshotWith(Link{Name: "eth0", Kind: Physical, Carrier: true, Master: "br0"}, Link{Name: "br0", Kind: Bridged})
	s.Here().Addresses = []Address{
		{Link: "eth0", Prefix: netip.MustParsePrefix("198.18.0.5/24"), Origin: Static},
		{Link: "eth0", Prefix: netip.MustParsePrefix("fe80::1/64"), Origin: LinkLocal},
		{Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.6/24"), Origin: Static},
	}
	w := Wire(s)
	got := w.Interface("host/eth0").Addresses
	if len(got) != 1 || got[0].Status != "misplaced" {
		t.Errorf("addresses of the port: %+v", got)
	}
	if lan := w.Segment("lan:eth0"); !slices.Equal(lan.Subnets, []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24")}) {
		t.Errorf("the LAN is known by the bridge's address: %+v", lan)
	}
}

func TestCompareMarksWhatMoved(t *testing.T) {
	before := snapshotWith(Link{Name: "eth0", Kind: Physical, Up: true, Carrier: true, MAC: "02:11:22:33:44:55"}, Link{Name: "old0", Kind: Dummy})
	after := before.Clone()
	for _, op := range []Operation{CreateBridge{Name: "br0", MAC: "02:11:22:33:44:55"}, SetMaster{Link: "eth0", Master: "br0"}, DeleteLink{Name: "old0"}} {
		if err := after.Apply(op); err != nil {
			t.Fatal(err)
		}
	}
	w := Compare(Wire(before), Wire(after))
	for id, want := range map[string]Change{"host/eth0": Altered, "host/br0": Added, "host/old0": Removed} {
		if itf := w.Interface(id); itf == nil || itf.Change != want {
			t.Errorf("%s: %+v, want %s", id, itf, want)
		}
	}
	if w.Stack("host").Change != "" || w.Segment("lan:eth0").Change != "" {
		t.Error("the host and its LAN are unchanged")
	}
	if Compare(Wire(after), Wire(after)).Changed() {
		t.Error("a wiring differs from itself")
	}
}

func TestNaturalOrder(t *testing.T) {
	names := []string{"tap10", "tap2", "eth0", "tap1", "br0", "tap02"}
	slices.SortFunc(names, NaturalCompare)
	if want := []string{"br0", "eth0", "tap1", "tap2", "tap02", "tap10"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	owner := uint32(1000)
	s := snapshotWith(Link{Name: "tap0", Kind: TapKind, Tap: &Tap{Owner: &owner}})
	s.Here().Settings = map[string]string{"a": "1"}
	c := s.Clone()
	if !c.Equal(s) {
		t.Fatal("a clone differs")
	}
	c.Here().Settings["a"] = "2"
	*c.Here().Link("tap0").Tap.Owner = 0
	c.Here().Link("tap0").Name = "x"
	if s.Here().Settings["a"] != "1" || *s.Here().Link("tap0").Tap.Owner != 1000 || s.Here().Link("tap0") == nil {
		t.Error("a change of the clone is seen in the original")
	}
}
