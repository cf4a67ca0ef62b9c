package model

import "testing"

// What a port says of itself: its VLANs, that it stands by, that somebody unknown holds it.
func TestPortsOfBridgesAndBonds(t *testing.T) {
	vlans := []PortVLAN{{ID: 10, PVID: true, Untagged: true}}
	w := Wire(Snapshot{Host: "host", Namespaces: []Namespace{{Links: []Link{
		{Name: "bond0", Kind: Bond, Up: true, Carrier: true, Mode: "active-backup", ActivePort: "eth0", Master: "br0", Port: &BridgePort{}},
		{Name: "br0", Kind: Bridged, Up: true, Bridge: &Bridge{VLANFiltering: true}},
		{Name: "eth0", Kind: Physical, Up: true, Carrier: true, Master: "bond0"}, {Name: "eth1", Kind: Physical, Up: true, Carrier: true, Master: "bond0"},
		{Name: "tap0", Kind: TapKind, Up: true, Carrier: true, Master: "br0", Port: &BridgePort{VLANs: vlans}, Tap: &Tap{}},
		{Name: "tap1", Kind: TapKind, Up: true, Tap: &Tap{}},
	}}}})
	if !w.Segment("bridge:br0").VLANAware {
		t.Error("the bridge is not VLAN-aware")
	}
	if w.Interface("host/eth0").Standby || !w.Interface("host/eth1").Standby || w.Interface("host/bond0").Standby {
		t.Error("the wrong member stands by")
	}
	if tap := w.Interface("host/tap0"); !tap.HolderUnknown || tap.WireEnd.ID != "cable:tap0" || len(tap.VLANs) != 1 {
		t.Errorf("%+v", tap)
	}
	if tap := w.Interface("host/tap1"); tap.HolderUnknown || tap.WireEnd.In != InNothing {
		t.Errorf("%+v", tap)
	}
}
