package doctor

import (
	"testing"

	"drawbridge/internal/model"
)

func stp(h *Host, delay uint32) {
	link(h, "br0").Bridge.STP, link(h, "br0").Bridge.ForwardDelay = true, delay
}

func TestSpanningTree(t *testing.T) {
	run(t, []sick{
		{"the kernel's default delay", func(h *Host) { stp(h, 1500) }, "risk certain bridge-stp:br0", "waits 30 s"},
		{"a port waits", func(h *Host) { stp(h, 1500); link(h, "tap0").Port.State = "learning" }, "broken certain bridge-stp:br0", "tap0: learning"},
		{"two ways out", func(h *Host) {
			stp(h, 400*2)
			h.Snapshot.Here().Links = append(h.Snapshot.Here().Links, model.Link{Name: "eth1", Kind: model.Physical, Master: "br0", MTU: 1500, Up: true, Carrier: true, Port: &model.BridgePort{State: "forwarding"}})
		}, "risk certain bridge-stp:br0", "forward_delay 200"},
		{"libvirt's", func(h *Host) { stp(h, 200) }, "", ""},
		{"a delay that is not used", func(h *Host) { link(h, "br0").Bridge.ForwardDelay = 1500 }, "", ""},
		{"no machines", func(h *Host) { stp(h, 1500); link(h, "tap0").Master, link(h, "tap0").Port = "", nil }, "", ""},
	})
}
