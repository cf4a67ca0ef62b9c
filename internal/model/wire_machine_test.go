package model

import "testing"

// A NIC's transport is drawn where it is not the usual one: the old one is ten times slower.
func TestTransportIsToldWhereItMatters(t *testing.T) {
	s := Snapshot{Namespaces: []Namespace{{}}, Machines: []Machine{{Name: "web", VMM: "uml", NICs: []MachineNIC{
		{Name: "eth1", Link: Ref{Name: "tap0"}, Transport: TransportUsual},
		{Name: "eth2", Link: Ref{Name: "tap1"}, Transport: "legacy tuntap"},
	}}}}
	w := Wire(s)
	for id, want := range map[string]string{"vm:web/eth1": "", "vm:web/eth2": "legacy tuntap"} {
		if i := w.Interface(id); i == nil || i.Detail != want {
			t.Errorf("%s: %+v, want detail %q", id, i, want)
		}
	}
}
