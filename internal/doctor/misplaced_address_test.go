package doctor

import (
	"slices"
	"testing"

	"drawbridge/internal/model"
)

// byPort lets the host's routes leave by eth0.
func byPort(h *Host) {
	for i := range h.Snapshot.Here().Routes {
		r := &h.Snapshot.Here().Routes[i]
		r.NextHops = slices.Clone(r.NextHops)
		r.NextHops[0].Link = "eth0"
	}
}

func onPort(h *Host) {
	for i := range h.Snapshot.Here().Addresses {
		h.Snapshot.Here().Addresses[i].Link = "eth0"
	}
}

func TestMisplacedAddress(t *testing.T) {
	run(t, []sick{
		{"with its routes", func(h *Host) { onPort(h); byPort(h) }, "broken certain address-on-port:eth0", "ip addr del 198.18.0.5/24 dev eth0"},
		{"also on the bridge", func(h *Host) {
			h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, static("eth0", "198.18.0.5/24"))
		}, "broken certain address-on-port:eth0", "198.18.0.5/24 is on eth0, which is a port of br0"},
		{"link-local only", func(h *Host) {
			h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, model.Address{Link: "eth0", Prefix: prefix("fe80::5/64"), Origin: model.LinkLocal})
		}, "", ""},
		{"on an interface that is no port", func(h *Host) {
			h.Snapshot.Here().Links = append(h.Snapshot.Here().Links, model.Link{Name: "eth1", Kind: model.Physical, MTU: 1500, Up: true})
			h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, static("eth1", "198.18.3.5/24"))
		}, "", ""},
	})
}

func TestPortRoute(t *testing.T) {
	run(t, []sick{
		{"the default route", func(h *Host) { h.Snapshot.Here().Routes[0].NextHops[0].Link = "eth0" }, "broken certain route-by-port:eth0", "default via 198.18.0.1 dev eth0"},
		{"the kernel's own", func(h *Host) {
			h.Snapshot.Here().Routes = append(h.Snapshot.Here().Routes,
				model.Route{Table: model.TableMain, Type: "unicast", Destination: prefix("fe80::/64"), Protocol: "kernel", NextHops: []model.NextHop{{Link: "eth0"}}},
				model.Route{Table: model.TableLocal, Type: "multicast", Destination: prefix("ff00::/8"), Protocol: "kernel", NextHops: []model.NextHop{{Link: "eth0"}}})
		}, "", ""},
	})
}
