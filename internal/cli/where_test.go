package cli

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/doctor"
	"drawbridge/internal/model"
	"drawbridge/internal/snoop"
)

const webMAC, otherMAC, farMAC = model.MAC("02:00:00:00:00:02"), model.MAC("02:00:00:00:00:03"), model.MAC("02:00:00:00:00:99")

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// lanWith is a host with a bridge, and a machine on it that has an address.
func lanWith(change func(*model.Snapshot)) model.Snapshot {
	snap := model.Snapshot{Namespaces: []model.Namespace{{
		Links: []model.Link{
			{Name: "br0", Kind: model.Bridged, MAC: "02:00:00:00:00:01", Up: true, Bridge: &model.Bridge{}},
			{Name: "tap0", Kind: model.TapKind, Master: "br0", Port: &model.BridgePort{State: "forwarding"}, Tap: &model.Tap{}},
			{Name: "tap1", Kind: model.TapKind, Master: "br0", Port: &model.BridgePort{State: "forwarding"}, Tap: &model.Tap{}},
		},
		Addresses:  []model.Address{{Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.1/24"), Origin: model.Static}},
		Neighbours: []model.Neighbour{{Link: "br0", Address: ip("198.18.0.9"), MAC: farMAC, State: "reachable"}, {Link: "br0", Address: ip("198.18.0.2"), MAC: webMAC, State: "stale"}, {Link: "br0", Address: ip("198.18.0.8"), State: "failed"}},
		Secured: []model.PortSecurity{{Link: "tap0", Level: model.SecurityStrict, Dropped: map[string]uint64{"another MAC address": 3},
			Seen: []model.SeenAddress{{Address: ip("198.18.0.2"), By: model.SeenByDHCP}, {Address: ip("198.18.0.2"), By: model.SeenByARP, SecondsAgo: 5}, {Address: ip("198.18.0.7"), By: model.SeenByARP, SecondsAgo: 4000}}}},
	}}, Machines: []model.Machine{
		{Name: "web", VMM: "uml", State: "running", PID: os.Getpid(), NICs: []model.MachineNIC{{Name: "eth1", MAC: webMAC, Link: model.Ref{Name: "tap0"}}},
			Inside: &model.Namespace{Addresses: []model.Address{{Link: "eth1", Prefix: netip.MustParsePrefix("198.18.0.2/24")}}}},
		{Name: "db", VMM: "uml", State: "running", NICs: []model.MachineNIC{{Name: "eth1", MAC: otherMAC, Link: model.Ref{Name: "tap1"}}}},
	}}
	if change != nil {
		change(&snap)
	}
	snap.Sort()
	return snap
}

// statusWith is its status.
func statusWith(snap model.Snapshot) status {
	var st status
	for _, l := range snap.Here().Links {
		if l.Kind == model.Bridged {
			st.Bridges = append(st.Bridges, bridgeStatus{Name: l.Name, MAC: l.MAC, Addresses: globalAddresses(snap.Here(), l.Name),
				Ports: []portStatus{{Name: "tap0"}, {Name: "tap1"}}})
		}
	}
	for _, m := range snap.Machines {
		ms := machineStatus{Name: m.Name, PID: m.PID, State: m.State, VMM: m.VMM}
		for _, n := range m.NICs {
			ms.NICs = append(ms.NICs, nicStatus{Name: n.Name, MAC: n.MAC, Link: n.Link.Name, Addresses: []netip.Prefix{}})
		}
		st.Machines = append(st.Machines, ms)
	}
	st.addFacts(snap, map[string]model.Counters{"tap0": {ReceivedFrames: 2, ReceivedBytes: 1_234_000, SentFrames: 1, SentBytes: 60}})
	st.Neighbours = neighbours(st, snap, heardFrom(farMAC, "198.18.0.9", model.SeenByARP))
	return st
}

func heardFrom(mac model.MAC, a, by string) []sighted {
	return []sighted{{hearing{snoop.Sighting{MAC: mac, Address: ip(a), By: by}, "br0"}, 7}}
}

func TestWhoIsWhere(t *testing.T) {
	st := statusWith(lanWith(nil))
	web := st.Machines[slices.IndexFunc(st.Machines, func(m machineStatus) bool { return m.Name == "web" })]
	nic := web.NICs[0]
	if web.Uptime < 1 || nic.Traffic == nil || nic.Traffic.SentBytes != 1_234_000 || nic.Security != model.SecurityStrict {
		t.Errorf("%+v %+v", web, nic.Traffic)
	}
	if len(nic.Used) != 2 || nic.Used[0].words() != "198.18.0.2: guest, dhcp, arp 5s ago" {
		t.Errorf("%+v", nic.Used)
	}
	if len(st.Neighbours) != 1 || st.Neighbours[0].Address != ip("198.18.0.9") || st.Neighbours[0].words() != "neighbour table, arp 7s ago" {
		t.Errorf("%+v", st.Neighbours)
	}
	var out bytes.Buffer
	a := &app{out: &out}
	a.printStatus(st)
	for _, want := range []string{"seen 198.18.0.2: guest, dhcp, arp 5s ago\n", "seen 198.18.0.7: arp 1h6m40s ago\n", "sent 1.23 MB, received 60 B", "dropped: another MAC address (3)", "up "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestAlarms(t *testing.T) {
	machine := func(s *model.Snapshot, name string) *model.Machine { return s.Machine(name) }
	for name, c := range map[string]struct {
		change func(*model.Snapshot)
		heard  []sighted
		want   string // "" for none
	}{
		"all is well":            {nil, heardFrom(webMAC, "198.18.0.2", model.SeenByARP), ""},
		"the host itself":        {nil, heardFrom("02:00:00:00:00:01", "198.18.0.1", model.SeenByARP), ""},
		"one MAC at two":         {func(s *model.Snapshot) { machine(s, "db").NICs[0].MAC = webMAC }, nil, "web/eth1 and db/eth1 have one MAC address|db/eth1 and web/eth1 have one MAC address"},
		"an address elsewhere":   {nil, heardFrom(farMAC, "198.18.0.2", model.SeenByARP), "198.18.0.2 on br0 is used by 02:00:00:00:00:99 and by web/eth1 (02:00:00:00:00:02)"},
		"the host's elsewhere":   {nil, heardFrom(farMAC, "198.18.0.1", model.SeenByARP), "198.18.0.1 on br0 is used by 02:00:00:00:00:99 and by this host"},
		"an old address":         {nil, heardFrom(farMAC, "198.18.0.7", model.SeenByARP), ""},
		"one DHCP server":        {nil, heardFrom(farMAC, "198.18.0.254", snoop.ByDHCPServer), ""},
		"two DHCP servers":       {nil, append(heardFrom(farMAC, "198.18.0.254", snoop.ByDHCPServer), heardFrom(otherMAC, "198.18.0.253", snoop.ByDHCPServer)...), "more than one DHCP server is on the LAN of br0: 198.18.0.253 (02:00:00:00:00:03), 198.18.0.254 (02:00:00:00:00:99)"},
		"two with one address":   {func(s *model.Snapshot) { machine(s, "db").Inside = machine(s, "web").Inside }, nil, "198.18.0.2 on br0 is used by db/eth1 (02:00:00:00:00:03) and by web/eth1"},
		"a lease that is old":    {nil, heardFrom(farMAC, "198.18.0.5", model.SeenByDHCP), ""},
		"a lease of a machine's": {nil, heardFrom(webMAC, "198.18.0.2", model.SeenByDHCP), ""},
	} {
		got := strings.Join(doctor.Alarms(lanWith(c.change), facts(c.heard)), "\n")
		fits := c.want == "" && got == ""
		for want := range strings.SplitSeq(c.want, "|") {
			fits = fits || want != "" && strings.Contains(got, want)
		}
		if !fits {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestBytesWord(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1_234_000: "1.23 MB", 999_999: "1 MB", 12_300_000_000: "12.3 GB"} {
		if got := bytesWord(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
