package trace_test

import (
	"net/netip"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/trace"
)

// guest is a namespace with one address of 198.18.1.0/24 on eth0, whose other end is a port.
func guest(name, port, address string, mac model.MAC) model.Namespace {
	prefix := netip.MustParsePrefix(address + "/24")
	return model.Namespace{
		Name:      name,
		Links:     []model.Link{{Name: "eth0", Kind: model.Veth, MAC: mac, MTU: 1500, Up: true, Carrier: true, Peer: &model.Ref{Name: port}}},
		Addresses: []model.Address{{Link: "eth0", Prefix: prefix, Scope: "global"}},
		Routes: []model.Route{{Table: model.TableMain, Type: "unicast", Destination: prefix.Masked(), Protocol: "kernel", Scope: "link",
			Source: prefix.Addr(), NextHops: []model.NextHop{{Link: "eth0"}}}},
		Settings: map[string]string{"ipv4/conf/all/rp_filter": "0", "ipv4/conf/eth0/rp_filter": "0"},
		Ruleset:  &model.Ruleset{},
	}
}

func port(name, namespace string, vlan uint16) model.Link {
	return model.Link{Name: name, Kind: model.Veth, MAC: "fe:00:00:00:00:01", MTU: 1500, Up: true, Carrier: true, Master: "br0",
		Peer: &model.Ref{Namespace: namespace, Name: "eth0"},
		Port: &model.BridgePort{State: "forwarding", Flood: true, Learning: true, VLANs: []model.PortVLAN{{ID: vlan, PVID: true, Untagged: true}}}}
}

// A bridge that keeps VLANs apart lets a frame out of the ports of its VLAN only. (A pure test:
// not every kernel has such bridges.)
func TestVLANsAreKeptApart(t *testing.T) {
	for _, c := range []struct {
		name string
		b    uint16
		dies bool
	}{{"the same VLAN", 10, false}, {"another VLAN", 20, true}} {
		t.Run(c.name, func(t *testing.T) {
			s := model.Snapshot{Host: "host", Namespaces: []model.Namespace{
				{
					Links: []model.Link{
						{Name: "br0", Kind: model.Bridged, MAC: "02:00:00:00:00:01", MTU: 1500, Up: true, Carrier: true, Bridge: &model.Bridge{VLANFiltering: true}},
						port("pa", "a", 10), port("pb", "b", c.b),
					},
					Ruleset: &model.Ruleset{},
				},
				guest("a", "pa", "198.18.1.1", "02:00:00:00:00:0a"), guest("b", "pb", "198.18.1.2", "02:00:00:00:00:0b"),
			}}
			s.Sort()
			tr, err := trace.Compute(&s, trace.Query{From: "a", To: "b"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			hop, d := tr.Cross()
			if (d != nil) != c.dies || c.dies && (d.By != trace.ByVLAN || hop.Name != "pb") {
				t.Errorf("%s\n%+v %+v", tr.Summary, hop, d)
			}
		})
	}
}
