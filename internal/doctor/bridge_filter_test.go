package doctor

import (
	"testing"

	"drawbridge/internal/preflight"
)

const forwardDrop = `table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		ct state related,established accept
		iifname "docker0" oifname "docker0" accept
	}
}
`

// filtered is a host with br_netfilter and rules.
func filtered(rules string) func(*Host) {
	return func(h *Host) {
		h.Snapshot.Here().Settings["bridge/bridge-nf-call-iptables"] = "1"
		h.Facts.Firewall = preflight.ParseNft(rules)
	}
}

func TestBridgeFilter(t *testing.T) {
	iptables := func(rules string) func(*Host) {
		return func(h *Host) {
			filtered("")(h)
			h.Facts.Firewall, _ = preflight.ParseIptables("iptables", "*filter\n:FORWARD DROP [0:0]\n"+rules+"COMMIT\n")
		}
	}
	run(t, []sick{
		{"beside Docker", filtered(forwardDrop), "broken likely bridge-filter:br0", "sysctl -w net.bridge.bridge-nf-call-iptables=0"},
		{"iptables", iptables("-A FORWARD -i docker0 -o docker0 -j ACCEPT\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"), "broken likely bridge-filter:br0", "iptables filter FORWARD: policy drop"},
		{"a rule for the bridge", filtered(`table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		jump ours
	}
	chain ours {
		iifname "br0" oifname "br0" accept
	}
}
`), "", ""},
		{"a rule for what is bridged", iptables("-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT\n"), "", ""},
		{"a rule for all", iptables("-A FORWARD -j ACCEPT\n"), "", ""},
		{"all but the bridge", iptables("-A FORWARD ! -i br0 -j ACCEPT\n"), "broken likely bridge-filter:br0", ""},
		{"not called", func(h *Host) {
			filtered(forwardDrop)(h)
			h.Snapshot.Here().Settings["bridge/bridge-nf-call-iptables"] = "0"
		}, "", ""},
		{"the other family", func(h *Host) {
			filtered(forwardDrop)(h)
			h.Snapshot.Here().Settings["bridge/bridge-nf-call-iptables"] = "0"
			h.Snapshot.Here().Settings["bridge/bridge-nf-call-ip6tables"] = "1"
		}, "", ""},
		{"one port", func(h *Host) { filtered(forwardDrop)(h); link(h, "tap0").Master, link(h, "tap0").Port = "", nil }, "", ""},
	})
}
