package doctor

import (
	"net/netip"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

func TestWayElsewhere(t *testing.T) {
	way := func(w Way) func(*Host) {
		return func(h *Host) {
			w.Network, w.Link = "lan", "br0"
			h.Facts.Ways = []Way{w}
			h.Snapshot.Here().Settings["ipv4/conf/wg0/forwarding"] = "0"
			h.Snapshot.Here().Settings["ipv4/conf/eth0/forwarding"] = "1"
		}
	}
	a, b := netip.MustParseAddr("198.18.0.100"), netip.MustParseAddr("2001:db8::100")
	run(t, []sick{
		{"routed, by a VPN", way(Way{Uplink: "eth0", From: a, Out: "wg0", Gateway: netip.MustParseAddr("198.18.0.1")}), "broken certain way-elsewhere:lan", "ip route add default via 198.18.0.1 dev eth0 table 19700"},
		{"IPv6", way(Way{Uplink: "eth0", From: b, Out: "wg0"}), "broken certain way-elsewhere:lan", "ip -6 rule add pref 5101 iif br0 lookup 19700"},
		{"routed, by the LAN", way(Way{Uplink: "eth0", From: a, Out: "eth0"}), "", ""},
		{"behind NAT, by a new link", way(Way{From: a, Out: "wg0"}), "broken certain way-elsewhere:lan", "drawbridge up"},
		{"behind NAT", way(Way{From: a, Out: "eth0"}), "", ""},
	})
}

func TestSubnetTaken(t *testing.T) {
	network := func(p string, more func(*model.Namespace)) func(*Host) {
		return func(h *Host) {
			h.Facts.Owned.Networks = []plan.OwnedNetwork{{Name: "private", Bridge: "br0", Subnets: []netip.Prefix{netip.MustParsePrefix(p)}}}
			more(h.Snapshot.Here())
		}
	}
	run(t, []sick{
		{"the LAN's", network("198.19.7.0/24", func(ns *model.Namespace) {
			ns.Addresses = append(ns.Addresses, model.Address{Link: "wlan0", Prefix: netip.MustParsePrefix("198.19.7.77/16"), Origin: model.Static})
		}), "broken certain subnet-taken:private", "wlan0 has 198.19.7.77/16"},
		{"a VPN's", network("198.19.7.0/24", func(ns *model.Namespace) {
			ns.Routes = append(ns.Routes, model.Route{Table: 51820, Type: "unicast", Destination: netip.MustParsePrefix("198.19.7.128/25"), NextHops: []model.NextHop{{Link: "wg0"}}})
		}), "broken likely subnet-taken:private", "a route to 198.19.7.128/25 goes by wg0"},
		{"a part of a VPN's", network("198.19.7.0/24", func(ns *model.Namespace) {
			ns.Routes = append(ns.Routes, model.Route{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("198.19.0.0/16"), NextHops: []model.NextHop{{Link: "wg0"}}})
		}), "", ""},
	})
}
