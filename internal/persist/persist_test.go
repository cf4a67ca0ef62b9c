package persist_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/persist"
	"drawbridge/internal/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func static(link string, prefixes ...string) (out []model.Address) {
	for _, p := range prefixes {
		out = append(out, model.Address{Link: link, Prefix: prefix(p), Origin: model.Static, Scope: "global"})
	}
	return out
}

func via(link, to, gateway string) model.Route {
	return model.Route{Table: model.TableMain, Type: "unicast", Destination: prefix(to), Protocol: "static", Scope: "global", NextHops: []model.NextHop{{Link: link, Gateway: netip.MustParseAddr(gateway)}}}
}

func number(n uint32) *uint32 { return &n }

// bridged is a host after 'up': the uplink and two taps in br0, the host's place moved.
func bridged() (model.Snapshot, plan.Owned) {
	const mac = "02:00:00:00:00:05"
	port := func(name string, l model.Link) model.Link {
		l.Name, l.Master, l.Port, l.Up, l.MTU = name, "br0", &model.BridgePort{State: "forwarding", Learning: true, Flood: true}, true, 1500
		return l
	}
	s := model.Snapshot{Namespaces: []model.Namespace{{
		Links: []model.Link{
			{Name: "br0", Index: 7, Kind: model.Bridged, MAC: mac, MTU: 1500, Up: true, Bridge: &model.Bridge{McastSnooping: true}},
			port("eth0", model.Link{Index: 2, Kind: model.Physical, MAC: mac}),
			port("tap0", model.Link{Index: 8, Kind: model.TapKind, MAC: "fe:00:00:00:00:01", Tap: &model.Tap{Persistent: true, Owner: number(1000), OwnerName: "alice", VnetHeader: true}}),
			port("tap1", model.Link{Index: 9, Kind: model.TapKind, MAC: "fe:00:00:00:00:02", Tap: &model.Tap{Persistent: true, Group: number(108), MultiQueue: true, VnetHeader: true}}),
		},
		Addresses: static("br0", "198.18.0.5/24", "2001:db8::5/64"),
		Routes: []model.Route{
			via("br0", "0.0.0.0/0", "198.18.0.1"),
			{Table: model.TableMain, Type: "unicast", Destination: prefix("198.18.0.0/24"), Protocol: "kernel", Scope: "link", NextHops: []model.NextHop{{Link: "br0"}}},
			via("br0", "::/0", "2001:db8::1"),
		},
	}}}
	s.Here().Link("tap1").Port.Isolated = true
	own := plan.Owned{
		Links:    []plan.OwnedLink{{Name: "br0", Index: 7, Kind: model.Bridged}, {Name: "tap0", Index: 8, Kind: model.TapKind}, {Name: "tap1", Index: 9, Kind: model.TapKind}},
		Uplinks:  []plan.OwnedUplink{{Name: "eth0", Bridge: "br0", Host: "move"}},
		Networks: []plan.OwnedNetwork{{Name: "lan", Bridge: "br0"}},
	}
	return s, own
}

func source() persist.Source {
	return persist.Source{Path: "/root/lan.yaml", Content: "networks:\n  lan: {mode: bridged}\n", Uplink: "eth0", Program: "/usr/local/bin/drawbridge"}
}

// leased is the same host with a lease and RAs.
func leased() (model.Snapshot, plan.Owned) {
	s, own := bridged()
	here := s.Here()
	here.Addresses = []model.Address{
		{Link: "br0", Prefix: prefix("198.18.0.100/24"), Origin: model.DHCP, Lifetime: &model.Lifetime{Valid: 600, Preferred: 600}},
		{Link: "br0", Prefix: prefix("2001:db8::100:5/64"), Origin: model.RA, Lifetime: &model.Lifetime{Valid: 600, Preferred: 600}},
	}
	here.Routes[0].Protocol, here.Routes[2].Protocol = "dhcp", "ra"
	return s, own
}

// dhcpcdFiles are dhcpcd.conf and the unit of Debian, enabled.
func dhcpcdFiles(conf string) persist.Existing {
	const unit = "[Service]\nType=forking\nPIDFile=/run/dhcpcd/pid\nExecStart=/usr/sbin/dhcpcd -q -b\n"
	return persist.Existing{"/etc/dhcpcd.conf": conf, "/lib/systemd/system/dhcpcd.service": unit, "/etc/systemd/system/multi-user.target.wants/dhcpcd.service": unit}
}

type golden struct {
	name    string
	state   func() (model.Snapshot, plan.Owned)
	change  func(*model.Snapshot, *plan.Owned)
	leases  []persist.Lease
	have    persist.Existing
	manager []string
}

var duid = []byte{0xff, 0xb6, 0x22, 0x0f, 0xeb, 0, 2, 0, 0, 0xab, 0x11, 1, 2, 3, 4, 5, 6, 7, 8}

var goldens = []golden{
	{name: "static", state: bridged, manager: []string{persist.Networkd, persist.NetworkManager}},
	{name: "unmanaged", state: bridged, manager: []string{persist.Netplan, persist.Ifupdown, persist.Ifupdown2, persist.OwnUnit}, have: persist.Existing{"/etc/network/interfaces": "source-directory interfaces.d\n"}},
	{name: "leased-unmanaged", state: leased, manager: []string{persist.Netplan, persist.Ifupdown}, leases: []persist.Lease{{Address: netip.MustParseAddr("198.18.0.100"), Identity: persist.Identity{ClientID: duid}}}, have: persist.Existing{"/etc/network/interfaces": "source /etc/network/interfaces.d/*\n"}},
	{name: "carried", state: bridged, manager: []string{persist.Netplan, persist.Ifupdown, persist.Ifupdown2}, have: persist.Existing{
		"/etc/netplan/10-a.yaml":  "network:\n  version: 2\n  ethernets:\n    lan:\n      match: {name: 'eth*'}\n      mtu: 1400\n      addresses: [198.18.0.5/24]\n      nameservers: {addresses: [198.18.0.53], search: [lab.invalid]}\n  vlans:\n    vlan7: {id: 7, link: lan}\n",
		"/etc/netplan/20-b.yaml":  "network:\n  ethernets:\n    lan:\n      addresses: ['2001:db8::5/64']\n      routes:\n      - to: default # by the router\n        via: 198.18.0.1\n",
		"/etc/network/interfaces": "# mine\nauto lo eth0\niface lo inet loopback\nsource /etc/network/interfaces.d/*\niface eth0 inet static\n  address 198.18.0.5/24\n  gateway 198.18.0.1\n  dns-nameservers 198.18.0.53\n  up ip route add 198.18.9.0/24 \\\n    via 198.18.0.9 dev eth0\n  up ethtool -K eth0 tso off\niface eth0 inet6 static\n  address 2001:db8::5/64\n",
	}},
	{name: "leased", state: leased, manager: []string{persist.Networkd, persist.NetworkManager}, leases: []persist.Lease{{Address: netip.MustParseAddr("198.18.0.100"), Identity: persist.Identity{ClientID: duid, Hostname: "host"}}}},
	{name: "dhcpcd-conf", state: leased, manager: []string{persist.Dhcpcd}, leases: []persist.Lease{{Address: netip.MustParseAddr("198.18.0.100"), Identity: persist.Identity{ClientID: duid}}}, change: func(s *model.Snapshot, _ *plan.Owned) {
		for i := range s.Here().Routes {
			s.Here().Routes[i].Metric = 1002
		}
	}, have: dhcpcdFiles("# mine\nduid\nallowinterfaces eth* wlan0\nslaac private\ninterface wlan0\n static ip_address=198.18.9.9/24\ninterface eth0 \nhostname host\n")},
	{name: "dhcpcd-host-only", state: bridged, manager: []string{persist.Dhcpcd}, have: dhcpcdFiles(""), change: func(_ *model.Snapshot, own *plan.Owned) { own.Uplinks = nil }},
	{name: "with-a-machine", state: bridged, manager: []string{persist.Networkd}, change: func(_ *model.Snapshot, own *plan.Owned) {
		own.Machines, own.Secured = []string{"web"}, []model.PortSecurity{{Link: "tap0"}}
	}},
	{name: "unreachable-host", state: bridged, manager: []string{persist.Networkd, persist.NetworkManager}, change: func(s *model.Snapshot, own *plan.Owned) {
		s.Here().Addresses, s.Here().Routes, own.Uplinks[0].Host = nil, nil, "none"
	}},
	{name: "profile", state: leased, manager: []string{persist.NetworkManager}, leases: []persist.Lease{{Address: netip.MustParseAddr("198.18.0.100"), Identity: persist.Identity{ClientID: duid}}}, have: persist.Existing{
		"/etc/NetworkManager/system-connections/Home.nmconnection":         "[connection]\nid=Home\nuuid=1\ntype=ethernet\ninterface-name=eth0\nautoconnect-priority=200\nzone=home\nlldp=1\n\n[ethernet]\ncloned-mac-address=stable\nwake-on-lan=64\n\n[802-1x]\neap=tls;\n\n[ipv4]\nmethod=auto\ndns=198.18.0.53;\ndns-search=lab.invalid;\ndhcp-client-id=duid\ndhcp-iaid=7\ndhcp-hostname=host\n\n[ipv6]\nmethod=auto\naddr-gen-mode=stable-privacy\nip6-privacy=2\n\n[proxy]\nmethod=1\n",
		"/run/NetworkManager/system-connections/Wired 1.nmconnection":      "[connection]\nid=Wired 1\nuuid=2\ntype=ethernet\nautoconnect-priority=-999\n",
		"/etc/NetworkManager/system-connections/WLAN.nmconnection":         "[connection]\nid=WLAN\nuuid=3\ntype=wifi\nautoconnect-priority=300\n",
		"/etc/NetworkManager/system-connections/drawbridge-x.nmconnection": "[connection]\nid=x\ntype=ethernet\ninterface-name=eth0\nautoconnect-priority=500\n",
	}},
	{name: "anothers-words", state: leased, manager: []string{persist.Networkd}, leases: []persist.Lease{{Address: netip.MustParseAddr("198.18.0.100"), Identity: persist.Identity{ClientID: duid}}}, have: persist.Existing{
		"/etc/systemd/network/10-lan.network":                 "# mine\n[Match]\nName=eth*\n\n[Link]\nMTUBytes=1400\nRequiredForOnline=routable\n[Network]\nDHCP=yes\nDNS=198.18.0.53\nDomains=lab.invalid\nVLAN=eth0.7\n[DHCPv4]\nIAID=1\nUseDNS=no\n[FairQueueing]\nPacketLimit=100\n",
		"/etc/systemd/network/10-lan.network.d/20-more.conf":  "[Network]\r\nNTP=198.18.0.123\r\n",
		"/run/systemd/network/10-lan.network":                 "[Match]\nName=eth0\n[Network]\nAddress=198.18.9.9/24\n",
		"/usr/lib/systemd/network/80-container-host0.network": "[Match]\nKind=veth\nName=host0\n",
	}},
}

// Each case is written down as each manager is told, and compared with what a person has
// looked at.
func TestGolden(t *testing.T) {
	for _, c := range goldens {
		for _, name := range c.manager {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				s, own := c.state()
				if c.change != nil {
					c.change(&s, &own)
				}
				w := persist.WishOf(s, own, c.leases)
				w.File = source()
				m, err := persist.Find(name)
				if err != nil {
					t.Fatal(err)
				}
				files, err := m.Plan(w, c.have)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, filepath.Join("testdata", c.name+"."+name+".golden"), text(files))
			})
		}
	}
}

func text(f persist.Files) string {
	var b strings.Builder
	for _, n := range f.Notes {
		fmt.Fprintln(&b, "note:", n)
	}
	for _, n := range f.Left {
		fmt.Fprintln(&b, "left:", n)
	}
	for _, x := range f.Files {
		if x.Link != "" {
			fmt.Fprintf(&b, "\n== %s -> %s\n", x.Path, x.Link)
			continue
		}
		fmt.Fprintf(&b, "\n== %s %04o\n%s", x.Path, x.Mode, x.Content)
	}
	return strings.TrimPrefix(b.String(), "\n")
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs:\n%s", file, got)
	}
}

// Ours come before every file that could match the same links.
func TestOursComeFirst(t *testing.T) {
	s, own := bridged()
	m, _ := persist.Find(persist.Networkd)
	for _, other := range []string{"10-uplink.network", "00-all.network", "05-a.network", "00-drawbridg.network"} {
		files, err := m.Plan(persist.WishOf(s, own, nil), persist.Existing{"/etc/systemd/network/" + other: "[Match]\nName=*\n"})
		if err != nil {
			t.Fatal(err)
		}
		names := []string{other}
		for _, f := range files.Files {
			names = append(names, filepath.Base(f.Path))
		}
		slices.Sort(names)
		if names[len(names)-1] != other {
			t.Errorf("%s comes before some of ours: %v", other, names)
		}
	}
	_, err := m.Plan(persist.WishOf(s, own, nil), persist.Existing{"/etc/systemd/network/!a.network": "[Match]\nName=*\n"})
	var refusal *persist.Refusal
	if !errors.As(err, &refusal) || refusal.Hint == "" {
		t.Errorf("a name that comes first of all: %v", err)
	}
}

func TestAFileWithAMistake(t *testing.T) {
	s, own := bridged()
	m, _ := persist.Find(persist.Networkd)
	_, err := m.Plan(persist.WishOf(s, own, nil), persist.Existing{"/etc/systemd/network/10-a.network": "[Match]\nName=eth0\n[Network]\nDHCP yes\n"})
	if err == nil || !strings.Contains(err.Error(), "10-a.network: line 4") {
		t.Errorf("it says: %v", err)
	}
}

// What a manager would not take, or would take otherwise, is refused with the reason.
func TestRefusals(t *testing.T) {
	s, own := bridged()
	for says, c := range map[string]struct {
		manager string
		have    persist.Existing
	}{
		"ours must be higher":                 {persist.NetworkManager, profiles("type=ethernet\nautoconnect-priority=999\n")},
		"of the type \"bond\"":                {persist.NetworkManager, profiles("type=bond\ninterface-name=eth0\n")},
		"as a port of br9 already":            {persist.NetworkManager, profiles("type=ethernet\ninterface-name=eth0\ncontroller=br9\n")},
		"both fit eth0":                       {persist.NetworkManager, profiles("type=ethernet\n", "type=ethernet\ninterface-name=eth0\n")},
		"a0.nmconnection: line 5":             {persist.NetworkManager, profiles("type=ethernet\ninterface-name=eth0\n[ipv4]\nmethod auto\n")},
		"takes nothing in":                    {persist.Ifupdown, persist.Existing{"/etc/network/interfaces": "auto eth0\nsource /etc/network/other/*\n"}},
		"maps eth0":                           {persist.Ifupdown, persist.Existing{"/etc/network/interfaces": "source interfaces.d/*\nmapping eth0\n  script x\n"}},
		"hands the network to NetworkManager": {persist.Netplan, persist.Existing{"/etc/netplan/a.yaml": "network:\n  renderer: NetworkManager\n"}},
		"/etc/netplan/a.yaml: yaml":           {persist.Netplan, persist.Existing{"/etc/netplan/a.yaml": "network:\n\tversion: 2\n"}},
		"comes before ours":                   {persist.Netplan, persist.Existing{"/etc/netplan/a.yaml": "network:\n  ethernets:\n    0-a: {match: {name: eth0}}\n"}},
	} {
		m, _ := persist.Find(c.manager)
		_, err := m.Plan(persist.WishOf(s, own, nil), c.have)
		var refusal *persist.Refusal
		if !errors.As(err, &refusal) || !strings.Contains(err.Error(), says) || refusal.Hint == "" {
			t.Errorf("%s, for %q: %v", c.manager, says, err)
		}
	}
}

// profiles are NetworkManager's, each by what is in its [connection] and behind.
func profiles(texts ...string) persist.Existing {
	have := persist.Existing{}
	for i, text := range texts {
		have[fmt.Sprintf("/etc/NetworkManager/system-connections/a%d.nmconnection", i)] = "[connection]\n" + text
	}
	return have
}

// The address that a host has from RAs comes back: by the MAC address where it was made of
// that, else by what it ends with.
func TestInterfaceID(t *testing.T) {
	for end, want := range map[string]string{"::ff:fe00:5": "addr-gen-mode=eui64\nroute-metric", "::9": "addr-gen-mode=eui64\ntoken=::9\n"} {
		s, own := leased()
		id := netip.MustParseAddr(end).As16()
		copy(id[:8], netip.MustParseAddr("2001:db8::").AsSlice())
		s.Here().Addresses[1].Prefix = netip.PrefixFrom(netip.AddrFrom16(id), 64)
		m, _ := persist.Find(persist.NetworkManager)
		w := persist.WishOf(s, own, nil)
		w.File = source()
		files, err := m.Plan(w, profiles("type=ethernet\ninterface-name=eth0\n[ipv6]\nmethod=auto\n"))
		var got string
		for _, f := range files.Files {
			if strings.HasSuffix(f.Path, "br0.nmconnection") {
				_, got, _ = strings.Cut(f.Content, "[ipv6]\n")
			}
		}
		if err != nil || !strings.Contains(got, want) || strings.Contains(got, "token=") != (end == "::9") {
			t.Errorf("%s: %v\n%s", end, err, got)
		}
	}
}

// A delay of nothing and the least that spanning tree allows are the same without it, and
// nothing else is.
func TestForwardDelays(t *testing.T) {
	for _, c := range []struct {
		stp      bool
		was, is  uint32
		differed bool
	}{
		{false, 0, model.MinForwardDelay, false},
		{false, 0, 0, false},
		{false, 0, 1500, true},
		{false, model.MinForwardDelay, 1500, true},
		{false, 1500, 0, true},
		{true, 0, model.MinForwardDelay, true},
		{true, 700, 700, false},
	} {
		host := func(delay uint32) model.Namespace {
			s, _ := bridged()
			*s.Here().Link("br0").Bridge = model.Bridge{STP: c.stp, ForwardDelay: delay}
			return *s.Here()
		}
		s, own := bridged()
		d := persist.WishOf(s, own, nil).Differences(host(c.was), host(c.is))
		if (len(d) == 1 && strings.Contains(d[0], "forward delay")) != c.differed || len(d) > 1 {
			t.Errorf("%+v: %q", c, d)
		}
	}
}

// What dhcpcd makes of itself is no difference: a link-local address more, and no second
// default route by the kernel. What was there is missed.
func TestLeftOut(t *testing.T) {
	s, own := leased()
	w := persist.WishOf(s, own, nil)
	live, booted := *s.Here(), s.Here().Clone()
	shadowed := via("br0", "::/0", "2001:db8::1")
	shadowed.Protocol, shadowed.Metric = "ra", 2000
	live.Routes = append(live.Routes, shadowed)
	more := static("br0", "fe80::1234:5678:9abc:def0/64")
	booted.Addresses = append(booted.Addresses, more...)
	if d := w.Differences(live, booted); len(d) > 0 {
		t.Errorf("%q", d)
	}
	if d := w.Differences(booted, live); len(d) != 1 || !strings.Contains(d[0], "fe80::1234:5678:9abc:def0/64, static: is not there") {
		t.Errorf("turned round: %q", d)
	}
	other := shadowed
	other.NextHops = []model.NextHop{{Link: "br0", Gateway: netip.MustParseAddr("2001:db8::2")}}
	live.Routes = append(live.Routes, other)
	if d := w.Differences(live, booted); len(d) != 1 || !strings.Contains(d[0], "via 2001:db8::2") {
		t.Errorf("another router: %q", d)
	}
}

func TestTheUnitNeedsItsFile(t *testing.T) {
	s, own := bridged()
	w := persist.WishOf(s, own, nil)
	m, _ := persist.Find(persist.OwnUnit)
	if _, err := m.Plan(w, nil); err == nil || !strings.Contains(err.Error(), "persist write FILE") {
		t.Errorf("without a file: %v", err)
	}
	w.File = source()
	w.File.Relative = true
	if _, err := m.Plan(w, nil); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("with relative paths: %v", err)
	}
	w.File.Path = "/etc/drawbridge/mine.yaml"
	files, err := m.Plan(w, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files.Files {
		if strings.HasSuffix(f.Path, ".yaml") {
			t.Errorf("the user's own %s is copied to %s", w.File.Path, f.Path)
		}
	}
}

// What a note tells of the uplink is in force while it is in our bridge, and when somebody
// has taken it out; not when it is in another one, or when the bridge is not ours.
func TestAdoptedUplink(t *testing.T) {
	note := persist.Note{MACs: map[string]model.MAC{"br0": "02:00:00:00:00:01"}, Owned: plan.Owned{
		Links:   []plan.OwnedLink{{Name: "br0", Index: 9, Kind: model.Bridged}},
		Uplinks: []plan.OwnedUplink{{Name: "eth0", Bridge: "br0", Host: "move"}},
	}}
	for _, c := range []struct {
		master string
		mac    model.MAC // of br0
		want   int
	}{{"br0", "02:00:00:00:00:01", 1}, {"", "02:00:00:00:00:01", 1}, {"br7", "02:00:00:00:00:01", 0}, {"", "02:00:00:00:00:02", 0}} {
		own := note.Adopt(&model.Namespace{Links: []model.Link{{Name: "br0", Index: 3, Kind: model.Bridged, MAC: c.mac}, {Name: "eth0", Index: 2, Master: c.master}}})
		if len(own.Uplinks) != c.want {
			t.Errorf("eth0 in %q, br0 with %s: %+v", c.master, c.mac, own)
		}
	}
}

// A profile that is there keeps its uuid: NetworkManager has taken the link over by it.
func TestAProfileKeepsItsUUID(t *testing.T) {
	s, own := bridged()
	m, err := persist.Find(persist.NetworkManager)
	if err != nil {
		t.Fatal(err)
	}
	const path, uuid = "/etc/NetworkManager/system-connections/drawbridge-br0.nmconnection", "uuid=0b1c6e0a-5d0e-4f0e-8a52-6d1b8f5a0001\n"
	w := persist.WishOf(s, own, nil)
	w.File = source()
	files, err := m.Plan(w, persist.Existing{path: "[connection]\nid=drawbridge br0\n" + uuid})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files.Files {
		if strings.Contains(f.Content, uuid) != (f.Path == path) {
			t.Errorf("%s:\n%s", f.Path, f.Content)
		}
	}
}
