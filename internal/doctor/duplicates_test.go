package doctor

import (
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/snoop"
)

const webMAC, farMAC = model.MAC("02:00:00:00:00:07"), model.MAC("02:00:00:00:00:99")

func hears(a string, mac model.MAC, by string) func(*Host) {
	return func(h *Host) {
		h.Facts.Heard = append(h.Facts.Heard, Heard{Bridge: "br0", Address: ip(a), MAC: mac, By: by})
	}
}

func TestAddressDuplicate(t *testing.T) {
	run(t, []sick{
		{"dadfailed", func(h *Host) {
			a := static("br0", "2001:db8::9/64")
			a.Flags.Tentative, a.Flags.DADFailed = true, true
			h.Snapshot.Here().Addresses = append(h.Snapshot.Here().Addresses, a)
		}, "broken certain address-duplicate:br0", "2001:db8::9/64 dev br0: dadfailed"},
		{"the host's own", hears("198.18.0.5", farMAC, model.SeenByARP), "broken likely address-duplicate:198.18.0.5", "is used by 02:00:00:00:00:99 and by this host"},
		{"a machine's", func(h *Host) {
			h.Snapshot.Machines[0].Inside = &model.Namespace{Addresses: []model.Address{static("eth1", "198.18.0.7/24")}}
			hears("198.18.0.7", farMAC, model.SeenByND)(h)
		}, "broken likely address-duplicate:198.18.0.7", "web/eth1 (02:00:00:00:00:07)"},
		{"the host itself", hears("198.18.0.5", uplinkMAC, model.SeenByARP), "", ""},
		{"others", hears("198.18.0.9", farMAC, model.SeenByARP), "", ""},
		{"a DHCP server's word", hears("198.18.0.5", farMAC, snoop.ByDHCPServer), "", ""},
	})
}

func TestMACDuplicate(t *testing.T) {
	fdb := func(e model.FDBEntry) func(*Host) {
		return func(h *Host) { e.Master = "br0"; h.Snapshot.Here().FDB = []model.FDBEntry{e} }
	}
	neighbour := func(n model.Neighbour) func(*Host) {
		return func(h *Host) { n.Link = "br0"; h.Snapshot.Here().Neighbours = []model.Neighbour{n} }
	}
	run(t, []sick{
		{"two machines", func(h *Host) {
			add(h, model.Link{Name: "tap1", Kind: model.TapKind, MAC: "fe:00:00:00:00:08", Up: true, Master: "br0", Tap: &model.Tap{}})
			h.Snapshot.Machines = append(h.Snapshot.Machines, model.Machine{Name: "db", State: model.MachineRunning, NICs: []model.MachineNIC{{Name: "eth1", MAC: webMAC, Link: model.Ref{Name: "tap1"}}}})
		}, "broken certain mac-duplicate:" + string(webMAC), "db/eth1 and web/eth1 have one MAC address"},
		{"a machine's behind the uplink", fdb(model.FDBEntry{Link: "eth0", MAC: webMAC}), "broken likely mac-duplicate:" + string(webMAC), "so has a host behind eth0"},
		{"a machine's where it is", fdb(model.FDBEntry{Link: "tap0", MAC: webMAC}), "", ""},
		{"the host's own", neighbour(model.Neighbour{Address: ip("198.18.0.9"), MAC: uplinkMAC, State: "reachable"}), "broken likely mac-duplicate:" + string(uplinkMAC), "198.18.0.9 has the MAC address of this host's br0"},
		{"set by hand", neighbour(model.Neighbour{Address: ip("198.18.0.9"), MAC: uplinkMAC, State: "permanent"}), "", ""},
		{"another's", neighbour(model.Neighbour{Address: ip("198.18.0.9"), MAC: farMAC, State: "reachable"}), "", ""},
	})
}

func TestDHCPServers(t *testing.T) {
	run(t, []sick{
		{"two", func(h *Host) {
			hears("198.18.0.1", farMAC, snoop.ByDHCPServer)(h)
			hears("198.18.0.2", webMAC, snoop.ByDHCPServer)(h)
		}, "broken likely dhcp-servers:br0", "198.18.0.1 (02:00:00:00:00:99), 198.18.0.2 (02:00:00:00:00:07)"},
		{"one, twice", func(h *Host) {
			hears("198.18.0.1", farMAC, snoop.ByDHCPServer)(h)
			hears("198.18.0.1", farMAC, snoop.ByDHCPServer)(h)
		}, "", ""},
	})
}
