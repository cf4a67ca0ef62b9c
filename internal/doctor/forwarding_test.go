package doctor

import (
	"net/netip"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
)

// natted is the host with a network behind NAT beside br0, as 'up' leaves it.
func natted(h *Host) {
	f := model.Forwarding{Network: "private", Link: "br1", Subnets: []netip.Prefix{prefix("198.18.7.0/24")}, Out: true, Masquerade: []netip.Prefix{prefix("198.18.7.0/24")}}
	add(h, model.Link{Name: "br1", Kind: model.Bridged, MAC: "02:00:00:00:00:b1", Up: true, Bridge: &model.Bridge{}})
	h.Snapshot.Here().Forwarding = []model.Forwarding{f}
	h.Facts.Owned.Forwarding = []model.Forwarding{f}
	h.Facts.Owned.Settings = map[string]string{"ipv4/conf/br1/forwarding": "0", "ipv4/conf/br0/forwarding": "0", "ipv4/conf/br0/rp_filter": "1"}
	h.Snapshot.Here().Settings["ipv4/conf/br1/forwarding"], h.Snapshot.Here().Settings["ipv4/conf/br0/forwarding"] = "1", "1"
}

// passed is natted beside a firewall that it passes.
func passed(h *Host) {
	natted(h)
	p := model.Passage{Network: "private", Firewall: "iptables-nft", Crossings: []model.Crossing{{In: "br1", Out: "eth0"}}}
	h.Facts.Owned.Passages = []model.Passage{p}
	h.Snapshot.Here().Firewalls = []model.Firewall{{Name: "iptables-nft", IPv4: true, Drops: "the policy of its FORWARD is DROP", Ours: []model.Passage{p}}}
}

func TestRulesLost(t *testing.T) {
	secured := func(h *Host) {
		h.Facts.Owned.Links = []plan.OwnedLink{{Name: "tap0", Kind: model.TapKind}}
		h.Facts.Owned.Secured = []model.PortSecurity{{Link: "tap0", Level: model.SecurityMAC, MACs: []model.MAC{webMAC}}}
		h.Snapshot.Here().Secured = h.Facts.Owned.Secured
	}
	run(t, []sick{
		{"as it should be", func(h *Host) { natted(h); secured(h) }, "", ""},
		{"flushed", func(h *Host) { natted(h); h.Snapshot.Here().Forwarding = nil }, "broken certain rules-lost:private", "nothing for network private"},
		{"changed", func(h *Host) {
			natted(h)
			h.Snapshot.Here().Forwarding = []model.Forwarding{{Network: "private", Link: "br1", Altered: true}}
		}, "broken certain rules-lost:private", "changed by somebody"},
		{"a passage", func(h *Host) { passed(h) }, "", ""},
		{"a passage that is gone", func(h *Host) {
			passed(h)
			h.Snapshot.Here().Firewalls[0].Ours = nil
		}, "broken certain rules-lost:private", "iptables-nft -A FORWARD -i br1 -o eth0 -m comment --comment drawbridge:private -j ACCEPT"},
		{"a passage with others behind it", func(h *Host) {
			passed(h)
			h.Snapshot.Here().Firewalls[0].Ours[0].Misplaced = true
		}, "broken certain rules-lost:private", "others behind them"},
		{"a zone that was reloaded", func(h *Host) {
			passed(h)
			h.Facts.Owned.Passages = []model.Passage{{Network: "private", Firewall: model.Firewalld, Zone: "trusted", Crossings: []model.Crossing{{In: "br1"}}}}
			h.Snapshot.Here().Firewalls = []model.Firewall{{Name: model.Firewalld, Drops: "its zones reject", Zones: map[string]string{"": "public"}}}
		}, "broken certain rules-lost:private", "firewall-cmd --zone=trusted --add-interface=br1"},
		{"a port's", func(h *Host) { secured(h); h.Snapshot.Here().Secured = nil }, "broken certain rules-lost:tap0", "may send what it likes"},
		{"of a stranger's tap", func(h *Host) { secured(h); h.Snapshot.Here().Secured, h.Facts.Owned.Links = nil, nil }, "", ""},
		{"not seen", func(h *Host) {
			natted(h)
			h.Snapshot.Here().Forwarding, h.Snapshot.Here().SecurityUnseen = nil, true
		}, "", ""},
	})
}

func TestForwarding(t *testing.T) {
	rules := func(text string) func(*Host) {
		return func(h *Host) { natted(h); h.Facts.Firewall = preflight.ParseNft(text) }
	}
	run(t, []sick{
		{"on", natted, "", ""},
		{"off at the uplink", func(h *Host) { natted(h); h.Snapshot.Here().Settings["ipv4/conf/br0/forwarding"] = "0" }, "broken certain forwarding-off:forwarding", "sysctl -w net.ipv4.conf.br0.forwarding=1"},
		{"off at the network", func(h *Host) { natted(h); h.Snapshot.Here().Settings["ipv4/conf/br1/forwarding"] = "0" }, "broken certain forwarding-off:forwarding", "net/ipv4/conf/br1/forwarding = 0"},
		{"nobody needs it", func(h *Host) {
			natted(h)
			h.Snapshot.Here().Settings["ipv4/conf/br1/forwarding"] = "0"
			h.Facts.Owned.Forwarding, h.Snapshot.Here().Forwarding = nil, nil
		}, "", ""},
		{"Docker drops", rules(forwardDrop), "broken likely forward-blocked:private", `nft insert rule ip filter FORWARD iifname "br1" accept`},
		{"iptables drops", func(h *Host) {
			natted(h)
			h.Facts.Firewall, _ = preflight.ParseIptables("iptables", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i docker0 -j ACCEPT\nCOMMIT\n")
		}, "broken likely forward-blocked:private", "iptables -I FORWARD -i br1 -j ACCEPT"},
		{"in no zone of firewalld", func(h *Host) {
			natted(h)
			h.Snapshot.Here().Firewalls = []model.Firewall{{Name: model.Firewalld, Drops: "its zones reject", Zones: map[string]string{"": "public"}}}
		}, "broken certain forward-blocked:private", "firewall-cmd --zone=trusted --add-interface=br1"},
		{"in a zone of firewalld", func(h *Host) {
			natted(h)
			h.Snapshot.Here().Firewalls = []model.Firewall{{Name: model.Firewalld, Drops: "its zones reject", Zones: map[string]string{"": "public", "br1": "work"}}}
		}, "", ""},
		{"the other family drops", rules("table ip6 filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n}\n"), "", ""},
		{"it lets us through", rules("table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority 0; policy drop;\n\t\tiifname \"br1\" accept\n\t}\n}\n"), "", ""},
		{"ours", rules("table inet drawbridge {\n\tchain private {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n}\n"), "", ""},
	})
}
