package doctor

import (
	"fmt"
	"net/netip"
	"testing"

	"drawbridge/internal/model"
)

func forwarding() *model.BridgePort { return &model.BridgePort{State: "forwarding"} }

// add adds links.
func add(h *Host, ls ...model.Link) {
	for _, l := range ls {
		if l.MTU == 0 {
			l.MTU = 1500
		}
		if l.Master != "" && l.Port == nil {
			l.Port = forwarding()
		}
		h.Snapshot.Here().Links = append(h.Snapshot.Here().Links, l)
	}
}

func veth(name, peer, master string) model.Link {
	return model.Link{Name: name, Kind: model.Veth, MAC: "fe:00:00:00:01:01", Up: true, Carrier: true, OperState: "up", Master: master, Peer: &model.Ref{Name: peer}}
}

func TestBridgeLoop(t *testing.T) {
	second := model.Link{Name: "br1", Kind: model.Bridged, MAC: "02:00:00:00:00:0b", Up: true, Bridge: &model.Bridge{}}
	run(t, []sick{
		{"one pair", func(h *Host) { add(h, veth("v0", "v1", "br0"), veth("v1", "v0", "br0")) }, "broken certain bridge-loop:br0", "v0 and v1 are one cable"},
		{"with spanning tree", func(h *Host) {
			add(h, veth("v0", "v1", "br0"), veth("v1", "v0", "br0"))
			stp(h, 200)
		}, "", ""},
		{"one half down", func(h *Host) {
			down := veth("v1", "v0", "br0")
			down.Up, down.Carrier = false, false
			add(h, veth("v0", "v1", "br0"), down)
		}, "", ""},
		{"to another bridge, once", func(h *Host) { add(h, second, veth("v0", "v1", "br0"), veth("v1", "v0", "br1")) }, "", ""},
		{"a guest's", func(h *Host) {
			v := veth("v0", "", "br0")
			v.Peer = &model.Ref{Namespace: "docker:web", Name: "v0"}
			add(h, v)
		}, "", ""},
	})
	h := healthy()
	add(&h, second, veth("v0", "v1", "br0"), veth("v1", "v0", "br1"), veth("w0", "w1", "br0"), veth("w1", "w0", "br1"))
	h.Snapshot.Sort()
	if got := Examine(h).Findings; len(got) != 2 || got[0].Name() != "bridge-loop:br0" || got[1].Name() != "bridge-loop:br1" {
		t.Errorf("two ways between two bridges: %+v", got)
	}
}

func TestBridgeMAC(t *testing.T) {
	run(t, []sick{
		{"of a tap, with an uplink", func(h *Host) { link(h, "br0").MAC = tapMAC }, "risk likely bridge-mac:br0", "ip link set br0 address " + string(uplinkMAC)},
		{"of a tap, without", func(h *Host) {
			link(h, "br0").MAC, link(h, "eth0").Master, link(h, "eth0").Port = tapMAC, "", nil
			h.Facts.Owned.Uplinks = nil
		}, "risk likely bridge-mac:br0", "ip link set br0 address 02:"},
		{"no address to lose", func(h *Host) {
			link(h, "br0").MAC = tapMAC
			h.Snapshot.Here().Addresses, h.Snapshot.Here().Routes = nil, nil
		}, "", ""},
		{"its own", func(h *Host) { link(h, "br0").MAC = "02:42:00:00:00:01" }, "", ""},
	})
}

func TestMTU(t *testing.T) {
	run(t, []sick{
		{"a small tap", func(h *Host) { link(h, "tap0").MTU = 1400 }, "risk certain mtu-mismatch:br0", "ip link set tap0 mtu 1500"},
		{"a big uplink, and the bridge as small as its tap", func(h *Host) { link(h, "eth0").MTU = 9000 }, "risk likely mtu-mismatch:br0", "eth0, the way out: mtu 9000"},
		{"a small uplink", func(h *Host) { link(h, "eth0").MTU = 1400 }, "risk certain mtu-mismatch:br0", "make them all 1400"},
		{"a bridge that is bigger than its ports", func(h *Host) { link(h, "br0").MTU = 9000 }, "risk certain mtu-mismatch:br0", "ip link set br0 mtu 1500"},
		{"a tunnel among them", func(h *Host) {
			link(h, "eth0").Master, link(h, "eth0").Port, h.Facts.Owned.Uplinks = "", nil, nil
			link(h, "br0").MTU = 1450
			add(h, model.Link{Name: "vxlan1", Kind: model.VXLAN, MTU: 1450, Up: true, Carrier: true, Master: "br0"})
		}, "risk likely mtu-mismatch:br0", "ip link set tap0 mtu 1450"},
		{"one of three machines, and no way out", func(h *Host) {
			link(h, "eth0").Master, link(h, "eth0").Port, h.Facts.Owned.Uplinks = "", nil, nil
			link(h, "br0").MTU, link(h, "tap0").MTU = 1300, 1300
			for _, name := range []string{"tap1", "tap2"} {
				add(h, model.Link{Name: name, Kind: model.TapKind, MAC: "fe:00:00:00:00:09", Up: true, Master: "br0", Tap: &model.Tap{}})
			}
		}, "risk likely mtu-mismatch:br0", "ip link set tap0 mtu 1500"},
		{"a port that is down", func(h *Host) {
			link(h, "tap0").MTU, link(h, "tap0").Up, link(h, "tap0").Carrier = 1400, false, false
			link(h, "tap0").Tap.Holders = nil
			h.Snapshot.Machines = nil
		}, "", ""},
	})
}

func TestBridgeFull(t *testing.T) {
	fill := func(n int) func(*Host) {
		return func(h *Host) {
			for i := len(h.Snapshot.Here().Links); i < n+1; i++ {
				add(h, model.Link{Name: fmt.Sprintf("vnet%d", i), Kind: model.TapKind, MAC: "fe:00:00:00:00:09", Up: true, Master: "br0", Tap: &model.Tap{}})
			}
		}
	}
	run(t, []sick{
		{"all", fill(1023), "risk certain bridge-full:br0", "br0 has 1023 ports, and takes 1023"},
		{"nearly", fill(1000), "risk certain bridge-full:br0", "taps that nobody holds can go: vnet3…vnet1000"},
		{"many", fill(999), "", ""},
	})
}

func TestMulticastQuerier(t *testing.T) {
	silent := func(h *Host) { h.Facts.Queriers = map[string]netip.Addr{"br0": {}} }
	run(t, []sick{
		{"nobody asks", silent, "note possible multicast-querier:br0", "mcast_querier 1"},
		{"not told", func(h *Host) { h.Facts.Queriers = nil }, "", ""},
		{"no snooping", func(h *Host) { silent(h); link(h, "br0").Bridge.McastSnooping = false }, "", ""},
		{"no machines", func(h *Host) { silent(h); link(h, "tap0").Master, link(h, "tap0").Port = "", nil }, "", ""},
	})
}

func TestPorts(t *testing.T) {
	run(t, []sick{
		{"blocked", func(h *Host) { link(h, "tap0").Port.State = "blocking" }, "broken certain port-blocked:tap0", "ip link set tap0 down"},
		{"shut by its guard", func(h *Host) { link(h, "tap0").Port.State, link(h, "tap0").Port.Guard = "disabled", true }, "broken certain port-blocked:tap0", "who behind it sends BPDUs"},
		{"no carrier", func(h *Host) {
			link(h, "tap0").Port.State, link(h, "tap0").Carrier, link(h, "tap0").Tap.Holders = "disabled", false, nil
			h.Snapshot.Machines = nil
		}, "", ""},
		{"bridge down", func(h *Host) {
			link(h, "br0").Up, link(h, "br0").Carrier = false, false
			link(h, "eth0").Port.State, link(h, "tap0").Port.State = "disabled", "disabled"
		}, "broken certain bridge-down:br0", "ip link set br0 up"},
		{"cable out", func(h *Host) { link(h, "eth0").Carrier = false }, "broken certain uplink-down:eth0", "is the cable in"},
		{"uplink down", func(h *Host) { link(h, "eth0").Carrier, link(h, "eth0").Up = false, false }, "broken certain uplink-down:eth0", "ip link set eth0 up"},
	})
}
