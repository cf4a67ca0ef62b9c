package doctor

import (
	"net/netip"
	"testing"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
)

// second gives the host a second interface on the same LAN, whose answers leave by br0.
func second(h *Host) {
	add(h, model.Link{Name: "eth1", Kind: model.Physical, Up: true, Carrier: true})
	h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, static("eth1", "198.18.0.6/24"))
	h.Snapshot.Here().Settings["ipv4/conf/eth1/rp_filter"] = "1"
}

func TestRPFilter(t *testing.T) {
	run(t, []sick{
		{"strict", second, "broken certain rp-filter:eth1", "sysctl -w net.ipv4.conf.eth1.rp_filter=2"},
		{"by all", func(h *Host) {
			second(h)
			h.Snapshot.Here().Settings["ipv4/conf/eth1/rp_filter"], h.Snapshot.Here().Settings["ipv4/conf/all/rp_filter"] = "0", "1"
			h.Facts.Counters = map[string]uint64{"TcpExt IPReversePathFilter": 12}
		}, "broken certain rp-filter:eth1", "12 packets"},
		{"loose by all", func(h *Host) { second(h); h.Snapshot.Here().Settings["ipv4/conf/all/rp_filter"] = "2" }, "", ""},
		{"a rule decides", func(h *Host) {
			second(h)
			h.Snapshot.Here().Rules = []model.Rule{{Family: 4, Priority: 100, Selector: "from 198.18.0.6", Action: "lookup 100"}}
		}, "", ""},
		{"strict, and symmetric", func(h *Host) { h.Snapshot.Here().Settings["ipv4/conf/all/rp_filter"] = "1" }, "", ""},
	})
}

func TestRouterAdvert(t *testing.T) {
	forward := func(h *Host) { h.Snapshot.Here().Settings["ipv6/conf/br0/forwarding"] = "1" }
	run(t, []sick{
		{"an address that runs out", func(h *Host) {
			forward(h)
			h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, model.Address{Link: "br0", Prefix: prefix("2001:db8::a/64"), Origin: model.RA, Lifetime: &model.Lifetime{Valid: 1800}})
		}, "risk certain ra-forwarding:br0", "runs out in 1800 s"},
		{"a router", func(h *Host) {
			forward(h)
			h.Snapshot.Here().Neighbours = []model.Neighbour{{Link: "br0", Address: ip("fe80::1"), MAC: farMAC, State: "stale", Router: true}}
		}, "risk likely ra-forwarding:br0", "fe80::1 is a router"},
		{"nothing from a router", forward, "", ""},
		{"accepted all the same", func(h *Host) {
			forward(h)
			h.Snapshot.Here().Settings["ipv6/conf/br0/accept_ra"] = "2"
			h.Snapshot.Here().Neighbours = []model.Neighbour{{Link: "br0", Address: ip("fe80::1"), MAC: farMAC, State: "stale", Router: true}}
		}, "", ""},
	})
}

func TestLease(t *testing.T) {
	leased := func(h *Host) {
		h.Snapshot.Here().Addresses[0].Origin, h.Snapshot.Here().Addresses[0].Lifetime = model.DHCP, &model.Lifetime{Valid: 600, Preferred: 600}
	}
	kept := func(alive bool, failing string) func(*Host) {
		return func(h *Host) {
			leased(h)
			h.Facts.Leases = []Lease{{Link: "br0", Address: prefix("198.18.0.5/24"), Alive: alive, Failing: failing}}
		}
	}
	run(t, []sick{
		{"nobody", leased, "risk certain lease-unrenewed:br0", "dhclient br0"},
		{"a client", func(h *Host) { leased(h); h.Facts.Clients = map[string][]string{"br0": {"dhclient (process 9)"}} }, "", ""},
		{"a keeper", kept(true, ""), "", ""},
		{"a dead keeper", kept(false, ""), "risk certain lease-unrenewed:br0", "drawbridge recover"},
		{"a keeper that is refused", func(h *Host) {
			kept(true, "198.18.0.5: the DHCP server refuses the address")(h)
			h.Facts.Leases[0].Refused = true
		}, "risk certain lease-unrenewed:br0", "drawbridge down"},
		{"a keeper that fails", kept(true, "the server is silent"), "risk likely lease-unrenewed:br0", "the server is silent"},
	})
}

func TestWifi(t *testing.T) {
	radio := func(h *Host) {
		link(h, "eth0").Kind = model.Wireless
	}
	run(t, []sick{
		{"a port", radio, "broken possible wifi-bridged:eth0", "iw dev eth0 info"},
		{"an access point", func(h *Host) {
			radio(h)
			h.Facts.Processes = []manager.Process{{PID: 7, Command: "hostapd"}}
		}, "", ""},
		{"a macvlan on it", func(h *Host) {
			add(h, model.Link{Name: "wlan0", Kind: model.Wireless, MAC: "02:00:00:00:00:0c", Up: true, Carrier: true},
				model.Link{Name: "mv0", Kind: model.Macvlan, MAC: "02:00:00:00:00:0d", Up: true, Parent: &model.Ref{Name: "wlan0"}})
		}, "broken likely wifi-bridged:mv0", "ipvlan"},
	})
}

func TestMacvtapHost(t *testing.T) {
	macvtap := func(h *Host) {
		add(h, model.Link{Name: "eth1", Kind: model.Physical, MAC: farMAC, Up: true, Carrier: true},
			model.Link{Name: "macvtap0", Kind: model.Macvtap, MAC: webMAC, Up: true, Parent: &model.Ref{Name: "eth1"}})
		h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, static("eth1", "198.18.3.5/24"))
	}
	run(t, []sick{
		{"a machine", macvtap, "note certain macvtap-host:eth1", "who is on macvtap0 does not reach this host at 198.18.3.5/24"},
		{"the host has a brother of it", func(h *Host) {
			macvtap(h)
			add(h, model.Link{Name: "host0", Kind: model.Macvlan, MAC: "02:00:00:00:00:0e", Up: true, Parent: &model.Ref{Name: "eth1"}})
			h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, static("host0", "198.18.3.6/24"))
		}, "", ""},
	})
}

func TestManager(t *testing.T) {
	held := func(m model.Manager) func(*Host) {
		return func(h *Host) { m.WouldDo = "it may do something"; link(h, "eth0").Managers = []model.Manager{m} }
	}
	run(t, []sick{
		{"NetworkManager", held(model.Manager{Name: "NetworkManager", Acts: true}), "risk likely manager-takes-back:eth0", "nmcli device set eth0 managed no"},
		{"networkd, by netplan", held(model.Manager{Name: "systemd-networkd", Acts: true, File: "/run/a.network", Writer: "netplan"}), "risk likely manager-takes-back:eth0", "/run/a.network, written by netplan"},
		{"one that does not answer", held(model.Manager{Name: "NetworkManager", Acts: true, Silent: "timeout"}), "risk possible manager-takes-back:eth0", "could not be asked"},
		{"ifupdown", held(model.Manager{Name: "ifupdown"}), "note likely manager-takes-back:eth0", "/etc/network/interfaces.d"},
		{"by a file of ours", held(model.Manager{Name: "systemd-networkd", Acts: true, File: "/etc/systemd/network/05-drawbridge-eth0.network"}), "", ""},
		{"a DHCP client", held(model.Manager{Name: "dhclient", Client: true, Acts: true}), "", ""},
		{"not our doing", func(h *Host) { held(model.Manager{Name: "NetworkManager", Acts: true})(h); h.Facts.Owned.Uplinks = nil }, "", ""},
	})
}

func TestNotPersisted(t *testing.T) {
	made := func(h *Host) {
		h.Facts.Owned.Links = []plan.OwnedLink{{Name: "br0", Kind: model.Bridged}}
		h.Facts.Persisted = ""
	}
	run(t, []sick{
		{"made by us", made, "note certain not-persisted:br0", "drawbridge persist write"},
		{"not by us", func(h *Host) { h.Facts.Persisted = "" }, "", ""},
		{"written", func(h *Host) { made(h); h.Facts.Persisted = "/etc/systemd/network" }, "", ""},
	})
}

func TestFirewallPort(t *testing.T) {
	rules := func(text string) func(*Host) {
		return func(h *Host) { h.Facts.Firewall = preflight.ParseNft(text) }
	}
	table := func(family, rule string) string {
		return "table " + family + " filter {\n\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n\t\t" + rule + "\n\t}\n}\n"
	}
	run(t, []sick{
		{"by name", rules(table("inet", `iifname "eth0" tcp dport 22 accept`)), "risk certain firewall-port:eth0", "1 rule names eth0, which is a port of br0"},
		{"in a set", rules(table("ip", `oifname { "eth0", "eth9" } drop`)), "risk certain firewall-port:eth0", "nft ip filter input"},
		{"iptables", func(h *Host) {
			h.Facts.Firewall, _ = preflight.ParseIptables("iptables", "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
		}, "risk certain firewall-port:eth0", "MASQUERADE"},
		{"all but it", rules(table("inet", `iifname != "eth0" drop`)), "", ""},
		{"a pattern", rules(table("inet", `iifname "eth*" accept`)), "", ""},
		{"at the bridge", rules(table("bridge", `iifname "eth0" drop`)), "", ""},
		{"physdev", func(h *Host) {
			h.Facts.Firewall, _ = preflight.ParseIptables("iptables", "*filter\n-A FORWARD -m physdev --physdev-in eth0 -j DROP\nCOMMIT\n")
		}, "", ""},
		{"the bridge's", rules(table("inet", `iifname "br0" accept`)), "", ""},
	})
}

func first(h *Host) {
	for _, family := range []string{"ipv4", "ipv6"} {
		for _, n := range []string{"1", "2", "3"} {
			h.Snapshot.Here().Settings[family+"/neigh/default/gc_thresh"+n] = "128"
		}
	}
	h.Snapshot.Here().Settings["netfilter/nf_conntrack_max"] = "1000"
}

func TestNeighbourTable(t *testing.T) {
	entries := func(n uint32) func(*Host) {
		return func(h *Host) {
			h.Facts.Neighbours = []model.NeighbourTable{{Family: 4, Entries: n, Soft: 512, Hard: 1024}}
		}
	}
	run(t, []sick{
		{"full", func(h *Host) { first(h); entries(1024)(h) }, "broken certain neighbour-table:IPv4", "has 1024 entries, and takes 1024"},
		{"nearly, in a container", entries(930), "risk certain neighbour-table:IPv4", "in the machine's first namespace"},
		{"room", entries(900), "", ""},
	})
	h := healthy()
	first(&h)
	entries(1024)(&h)
	if f := Examine(h).Findings[0]; len(f.Mend.Steps) != 3 || f.Mend.Steps[0].Do.Object() != "ipv4/neigh/default/gc_thresh3" {
		t.Errorf("%+v", f.Mend)
	}
}

func TestConntrack(t *testing.T) {
	count := func(n uint64) func(*Host) {
		return func(h *Host) { h.Facts.Conntrack = &Conntrack{Count: n, Max: 1000} }
	}
	run(t, []sick{
		{"full, in a container", count(1000), "broken certain conntrack-full:conntrack", "in the machine's first namespace"},
		{"nearly", func(h *Host) {
			count(900)(h)
			h.Snapshot.Here().Settings["bridge/bridge-nf-call-iptables"] = "1"
		}, "risk certain conntrack-full:conntrack", "what bridges forward is tracked too"},
		{"room", count(899), "", ""},
		{"nothing is tracked", func(h *Host) { h.Facts.Conntrack = nil }, "", ""},
	})
}

func TestInterrupted(t *testing.T) {
	run(t, []sick{{"a crash", func(h *Host) { h.Facts.Interrupted = true }, "broken certain change-interrupted:journal", "drawbridge recover"}})
}

func TestSwitchSTP(t *testing.T) {
	bpdu := func(h *Host) {
		h.Facts.Switch = []preflight.Heard{{Link: "eth0", Protocol: "stp", From: farMAC, Detail: "RSTP"}}
	}
	run(t, []sick{
		{"a bridge that speaks it too", func(h *Host) { bpdu(h); stp(h, 200) }, "risk possible switch-stp:eth0", "stp_state 0"},
		{"a machine may", bpdu, "note possible switch-stp:eth0", "ports that may send BPDUs: tap0"},
		{"a secured port", func(h *Host) {
			bpdu(h)
			h.Snapshot.Here().Secured = []model.PortSecurity{{Link: "tap0", Level: model.SecurityStrict, MACs: []model.MAC{webMAC}, IPv4: model.SourceAny, IPv6: model.SourceAny}}
		}, "", ""},
		{"our own BPDUs", func(h *Host) { bpdu(h); h.Facts.Switch[0].From = uplinkMAC }, "", ""},
		{"LLDP", func(h *Host) { bpdu(h); h.Facts.Switch[0].Protocol = "lldp" }, "", ""},
	})
}

func TestHypervisor(t *testing.T) {
	virtual := func(h *Host) { link(h, "eth0").Driver = "vmxnet3" }
	run(t, []sick{
		{"ESXi", virtual, "note possible hypervisor-filter:eth0", "virtual NIC (vmxnet3)"},
		{"machines that were answered", func(h *Host) {
			virtual(h)
			h.Snapshot.Here().Secured = []model.PortSecurity{{Link: "tap0", Level: model.SecurityStrict, MACs: []model.MAC{webMAC}, IPv4: model.SourceLease, IPv6: model.SourceAny, Learned: []netip.Addr{ip("198.18.0.7")}}}
		}, "", ""},
		{"hardware", func(h *Host) { link(h, "eth0").Driver = "igb" }, "", ""},
	})
}
