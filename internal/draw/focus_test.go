package draw

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"drawbridge/internal/model"
)

// busyHost has two bridges; VMs hang on taps of both, and br0 has the uplink.
func busyHost() model.Wiring {
	n := model.Namespace{Links: []model.Link{
		{Name: "eth0", Kind: model.Physical, Up: true, Carrier: true, Master: "br0"},
		{Name: "br0", Kind: model.Bridged, Up: true, Carrier: true}, {Name: "br1", Kind: model.Bridged, Up: true},
	}, Addresses: []model.Address{{Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.5/24"), Origin: model.Static}}}
	s := model.Snapshot{Host: "host"}
	for i := range 6 {
		tap := fmt.Sprint("tap", i)
		n.Links = append(n.Links, model.Link{Name: tap, Kind: model.TapKind, Up: true, Carrier: true, Master: fmt.Sprint("br", i/3), Tap: &model.Tap{}})
		s.Machines = append(s.Machines, model.Machine{Name: fmt.Sprint("vm", i), VMM: "uml", NICs: []model.MachineNIC{{Name: "eth1", Link: model.Ref{Name: tap}}}})
	}
	s.Namespaces = []model.Namespace{n}
	s.Sort()
	return model.Wire(s)
}

func TestFocus(t *testing.T) {
	for name, want := range map[string]string{
		"vm1":           "host/br0 host/eth0 host/tap1 vm:vm1/eth1",
		"tap1":          "host/br0 host/eth0 host/tap1 vm:vm1/eth1",
		"host/tap4":     "host/br1 host/tap4 vm:vm4/eth1",
		"198.18.0.5":    "host/br0 host/eth0",
		"198.18.0.5/24": "host/br0 host/eth0",
		"br1":           "host/br1 host/tap3 host/tap4 host/tap5 vm:vm3/eth1 vm:vm4/eth1 vm:vm5/eth1",
	} {
		w, err := Focus(busyHost(), name)
		var got []string
		for _, i := range w.Interfaces {
			got = append(got, i.ID)
			if w.Stack(i.Stack) == nil || i.HostEnd.In == model.InSegment && w.Segment(i.HostEnd.ID) == nil {
				t.Errorf("%s: %s is plugged into nothing that is there", name, i.ID)
			}
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v; want %s", name, got, err, want)
		}
		Draw(Options{}, Frame{Now: w})
	}
}

func TestFocusOnNothing(t *testing.T) {
	for name, want := range map[string]string{"tap": "one of tap0, tap1, tap2, tap3, tap4, tap5", "xx": "one of br0, br1, eth0, tap0", "": "one of"} {
		if _, err := Focus(busyHost(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := Focus(model.Wiring{}, "eth0"); err == nil || !strings.Contains(err.Error(), "there is no interface") {
		t.Error(err)
	}
}
