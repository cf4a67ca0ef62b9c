package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
)

func port(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func host() model.Snapshot {
	return model.Snapshot{Namespaces: []model.Namespace{{
		Links: []model.Link{{Name: "lo", Index: 1, Kind: model.Loopback}, {Name: "eth0", Index: 2, Kind: model.Physical}},
		Addresses: []model.Address{
			{Link: "eth0", Prefix: netip.MustParsePrefix("198.18.0.5/24")},
			{Link: "eth0", Prefix: netip.MustParsePrefix("fe80::5/64"), Origin: model.LinkLocal},
		},
		Routes: []model.Route{
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1")}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("198.19.0.0/16"), NextHops: []model.NextHop{{Link: "eth1"}}},
		},
		Settings: map[string]string{"bridge/bridge-nf-call-iptables": "1"},
	}}}
}

var move = model.Move{From: "eth0", To: "br0", Plug: true, Host: true}

// after is the host with its addresses on br0.
func after() model.Snapshot {
	s := host()
	for i := range s.Here().Addresses {
		s.Here().Addresses[i].Link = "br0"
	}
	return s
}

func bound(protocol, state, local, remote string) model.Socket {
	return model.Socket{Protocol: protocol, State: state, Local: port(local), Remote: port(remote), Bound: "eth0", Inode: 7}
}

// managed gives eth0 a manager.
func managed(ms ...model.Manager) func(*Input) {
	return func(in *Input) { in.Before.Here().Link("eth0").Managers = ms }
}

func TestCheck(t *testing.T) {
	ssh := bound("tcp", "established", "[fe80::5]:22", "[fe80::1]:50000")
	odd := bound("tcp", "established", "198.18.0.5:2222", "198.18.0.9:50000")
	own, _ := ParseSession("fe80::1%eth0 50000 fe80::5%eth0 2222")
	byGlobal, _ := ParseSession("198.18.0.9 50000 198.18.0.5 22")
	gone := after()
	gone.Here().Addresses = nil
	for _, c := range []struct {
		name  string
		facts Facts
		set   func(*Input)
		want  string // of the gravest finding; "" for none at all
		hint  string
	}{
		{name: "nothing", want: ""},
		{name: "an SSH session by a link-local address", facts: Facts{Sockets: []model.Socket{ssh}}, want: "refuse: eth0: a login is bound to it (tcp [fe80::5]:22 - [fe80::1]:50000)", hint: "log in by 198.18.0.5, which moves along"},
		{name: "one that does not move", facts: Facts{Sockets: []model.Socket{ssh}}, set: func(in *Input) { in.Moves[0].Host = false }, want: "refuse: eth0", hint: "from the console"},
		{name: "sshd at another port", facts: Facts{Sockets: []model.Socket{odd}, Holders: map[uint64]model.Holder{7: {PID: 9, Command: "sshd-session"}}}, want: "refuse: eth0: a login is bound to it (sshd-session (pid 9"},
		{name: "no login at another port", facts: Facts{Sockets: []model.Socket{odd}, Holders: map[uint64]model.Holder{7: {PID: 9, Command: "httpd"}}}, want: "warn: eth0: httpd (pid 9", hint: "start that program anew afterwards, bound to br0"},
		{name: "our own, by the environment alone", facts: Facts{Session: own}, want: "refuse: eth0: your own SSH session came by its link-local address"},
		{name: "our own, once", facts: Facts{Session: own, Sockets: []model.Socket{bound("tcp", "established", "[fe80::5]:2222", "[fe80::1]:50000")}}, want: "refuse: eth0: your own SSH session is bound to it"},
		{name: "our own by an address that moves along", facts: Facts{Session: byGlobal}, want: ""},
		{name: "our own by an address that goes", facts: Facts{Session: byGlobal}, set: func(in *Input) { in.After = gone }, want: "refuse: 198.18.0.5: your own SSH session goes to this address"},
		{name: "another's by an address that goes", facts: Facts{Sockets: []model.Socket{{Protocol: "tcp", State: "established", Local: port("198.18.0.5:22"), Remote: port("198.18.0.9:1")}}}, set: func(in *Input) { in.After = gone }, want: "warn: 198.18.0.5: a login goes to this address"},
		{name: "a server that listens", facts: Facts{Sockets: []model.Socket{bound("tcp", "listen", "0.0.0.0:22", "0.0.0.0:0")}}, want: "warn: eth0: tcp 0.0.0.0:22 is bound to it"},
		{name: "bound elsewhere", facts: Facts{Sockets: []model.Socket{{Protocol: "udp", Local: port("0.0.0.0:5353"), Bound: "eth1"}}}, want: ""},
		{name: "the way back, bound to the bridge", facts: Facts{Sockets: []model.Socket{{Protocol: "tcp", State: "established", Local: port("[fe80::5]:22"), Remote: port("[fe80::1]:5"), Bound: "br0"}}}, set: func(in *Input) { in.Moves = []model.Move{{From: "br0", To: "eth0", Host: true}} }, want: "refuse: br0: a login is bound to it"},
		{name: "multicast", facts: Facts{Memberships: []Membership{{"eth0", netip.MustParseAddr("224.0.0.251")}}}, want: "warn: eth0: a program has joined the multicast group 224.0.0.251", hint: "start that program anew afterwards"},
		{name: "multicast that is seen to", facts: Facts{Memberships: []Membership{{"eth0", netip.MustParseAddr("224.0.0.251")}, {"eth0", netip.MustParseAddr("ff02::fb")}}}, set: func(in *Input) {
			in.Groups = []model.JoinGroups{{From: "eth0", To: "br0", Groups: []netip.Addr{netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")}}}
		}, want: "note: eth0: programs have joined multicast groups on it (224.0.0.251, for one)", hint: "start such a program anew"},
		{name: "IPv6 multicast that is seen to", facts: Facts{Memberships: []Membership{{"eth0", netip.MustParseAddr("ff02::fb")}}}, set: func(in *Input) {
			in.Groups = []model.JoinGroups{{From: "eth0", To: "br0", Groups: []netip.Addr{netip.MustParseAddr("ff02::fb")}}}
		}, want: ""},
		{name: "multicast on the way back, ours and another's", facts: Facts{Memberships: []Membership{{"br0", netip.MustParseAddr("224.0.0.251")}, {"br0", netip.MustParseAddr("224.0.0.252")}}}, set: func(in *Input) {
			in.Moves = []model.Move{{From: "br0", To: "eth0", Host: true}}
			in.Groups = []model.JoinGroups{{From: "eth0", To: "br0", Groups: []netip.Addr{netip.MustParseAddr("224.0.0.251")}}}
		}, want: "warn: br0: a program has joined the multicast group 224.0.0.252"},
		{name: "groups of the kernel's own", facts: Facts{Memberships: []Membership{{"eth0", netip.MustParseAddr("224.0.0.1")}, {"eth0", netip.MustParseAddr("ff02::1:ff00:5")}, {"eth1", netip.MustParseAddr("224.0.0.251")}}}, want: ""},
		{name: "temporary", set: func(in *Input) {
			ns := in.Before.Here()
			ns.Addresses = append(ns.Addresses, model.Address{Link: "eth0", Prefix: netip.MustParsePrefix("2001:db8::77/64"), Flags: model.AddressFlags{Temporary: true}})
		}, want: "note: eth0: 2001:db8::77/64 is a temporary address"},
		{name: "rule", set: func(in *Input) {
			in.Before.Here().Rules = []model.Rule{{Family: 6, Priority: 100, Selector: "not from all iif eth0", Action: "lookup 7", IIF: "eth0"}}
		}, want: "warn: eth0: the routing rule also matches", hint: "ip -6 rule add priority 100 not from all iif br0 lookup 7"},
		{name: "rule of another", set: func(in *Input) { in.Before.Here().Rules = []model.Rule{{Priority: 100, IIF: "eth1"}} }, want: ""},
		{name: "firewall", facts: Facts{Firewall: Firewall{Rules: []Rule{{"iptables filter INPUT", "-A INPUT -i eth0 -j ACCEPT"}}}}, want: "warn: iptables filter INPUT: a rule names eth0", hint: "--fail-on-firewall"},
		{name: "firewall is an error", facts: Facts{Firewall: Firewall{Rules: []Rule{{"iptables filter INPUT", "-A INPUT -i eth+ -j ACCEPT"}}}}, set: func(in *Input) { in.FailOnFirewall = true }, want: "refuse: iptables filter INPUT"},
		{name: "firewall of another", facts: Facts{Firewall: Firewall{Rules: []Rule{{"nft", `iifname "eth01" accept`}, {"iptables", "-A INPUT -i eth1 -j ACCEPT"}, {"iptables", "-A INPUT -s 198.18.0.1/32 -j eth0"}}}}, set: func(in *Input) { in.FailOnFirewall = true }, want: ""},
		{name: "forward drop", facts: Facts{Firewall: Firewall{ForwardDrop: []string{"iptables filter FORWARD"}}}, want: "warn: br0: frames between its ports pass through the firewall", hint: "bridge-nf-call-iptables=0"},
		{name: "forward drop without br_netfilter", facts: Facts{Firewall: Firewall{ForwardDrop: []string{"iptables filter FORWARD"}}}, set: func(in *Input) { in.Before.Here().Settings = nil }, want: ""},
		{name: "nfs root", facts: Facts{Mounts: []Mount{{"198.18.0.1:/srv", "/", "nfs4", "rw,addr=198.18.0.1"}}}, want: "warn: eth0: the root file system may come by it (nfs4 from 198.18.0.1)"},
		{name: "nfs root by another link", facts: Facts{Mounts: []Mount{{"198.19.0.1:/srv", "/", "nfs4", "rw,addr=198.19.0.1"}}}, want: ""},
		{name: "nfs elsewhere", facts: Facts{Mounts: []Mount{{"198.18.0.1:/srv", "/srv", "nfs4", "rw,addr=198.18.0.1"}}}, want: ""},
		{name: "nbd root", facts: Facts{Mounts: []Mount{{"/dev/nbd0", "/", "ext4", "rw"}}}, want: "warn: eth0: the root file system may come by it (a network block device"},
		{name: "a disk", facts: Facts{Mounts: []Mount{{"/dev/sda1", "/", "ext4", "rw"}}}, want: ""},
		{name: "iscsi", facts: Facts{ISCSI: true, Mounts: []Mount{{"/dev/sda1", "/", "ext4", "rw"}}}, want: "warn: eth0: the root file system may come by it (a disk that may be iSCSI's"},
		{name: "802.1X", facts: Facts{Processes: []manager.Process{{PID: 4, Command: "wpa_supplicant", Args: []string{"-Dwired", "-i", "eth0"}}}}, want: "warn: eth0: this host authenticates itself to the switch (802.1X"},
		{name: "wpa for Wi-Fi", facts: Facts{Processes: []manager.Process{{PID: 4, Command: "wpa_supplicant", Args: []string{"-Dnl80211", "-ieth0"}}}}, want: ""},
		{name: "NetworkManager", set: managed(model.Manager{Name: "NetworkManager", File: "/run/x", Profile: "lan", Acts: true, WouldDo: "it may"}), want: "note: eth0: NetworkManager manages it (lan, in /run/x): it may; it is told to leave it alone until the next boot", hint: "persist write"},
		{name: "networkd", set: managed(model.Manager{Name: "systemd-networkd", File: "/run/x", Acts: true, Silent: "no answer within 2s"}), want: "warn: eth0: systemd-networkd manages it (/run/x): ; it is told to leave it alone until the next boot (it could not be asked: no answer within 2s)", hint: "persist write"},
		{name: "ifupdown", set: managed(model.Manager{Name: "ifupdown", File: "/run/x", WouldDo: "nothing by itself"}), want: "note: eth0: ifupdown manages it (/run/x): nothing by itself"},
		{name: "a stranger", set: managed(model.Manager{Name: "acme-dhcp", PID: 7, Acts: true, WouldDo: "it is not known here"}), want: "warn: eth0: acme-dhcp manages it (process 7): it is not known here"},
		{name: "netplan", set: managed(model.Manager{Name: "systemd-networkd", File: "/run/x", Writer: "netplan", Acts: true}), want: "note: eth0: systemd-networkd manages it (/run/x, written by netplan)", hint: "persist write"},
		{name: "cloud-init", set: managed(model.Manager{Name: "ifupdown", File: "/run/x", Writer: "cloud-init"}), want: "note: eth0: ifupdown manages it (/run/x, written by cloud-init)", hint: "network: {config: disabled}"},
		{name: "stp", facts: Facts{Heard: []Heard{{"eth0", "stp", "02:00:00:00:00:01", "RSTP"}}}, want: "warn: eth0: the switch there speaks the spanning tree protocol", hint: "nft add table bridge"},
		{name: "lldp", facts: Facts{Heard: []Heard{{"eth0", "lldp", "02:00:00:00:00:01", "sw1 port 7"}}}, want: "note: eth0: is plugged into sw1 port 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Before: host(), After: after(), Moves: []model.Move{move}, Facts: c.facts}
			if c.set != nil {
				c.set(&in)
			}
			found := Check(in)
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("found %v", found)
			case c.want == "":
			case len(found) != 1:
				t.Errorf("%d findings: %v", len(found), found)
			case !strings.HasPrefix(found[0].String(), c.want) || !strings.Contains(found[0].Hint, c.hint):
				t.Errorf("%s\nnot %s", found[0], c.want)
			}
			if (len(Refused(found)) > 0) != strings.HasPrefix(c.want, "refuse") {
				t.Errorf("refused: %v", Refused(found))
			}
		})
	}
}

func TestTwoManagers(t *testing.T) {
	in := Input{Before: host(), After: after(), Moves: []model.Move{move}}
	managed(model.Manager{Name: "NetworkManager", Acts: true}, model.Manager{Name: "ifupdown"}, model.Manager{Name: "dhclient", PID: 7, Acts: true})(&in)
	found := Check(in)
	if len(found) != 4 || !strings.Contains(found[1].String(), "NetworkManager and dhclient all manage it") || found[3].Severity != Note {
		t.Errorf("%v", found)
	}
}

func TestGravestFirst(t *testing.T) {
	found := Check(Input{Before: host(), After: after(), Moves: []model.Move{move}, Facts: Facts{
		Heard:       []Heard{{"eth0", "lldp", "", "sw1"}},
		Memberships: []Membership{{"eth0", netip.MustParseAddr("224.0.0.251")}},
		Sockets:     []model.Socket{bound("tcp", "established", "[fe80::5]:22", "[fe80::1]:50000")},
	}})
	if len(found) != 3 || found[0].Severity != Refuse || found[1].Severity != Warn || found[2].Severity != Note {
		t.Errorf("%v", found)
	}
}

// pageSystem is a host in files.
func pageSystem() System {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	link := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: 0o777 | fs.ModeSymlink} }
	return System{
		Root: fstest.MapFS{
			"proc/self/stat":             file("30 (db) x) S 20 0"),
			"proc/self/environ":          file("HOME=/root\x00"),
			"proc/20/stat":               file("20 (sudo) S 10 0"),
			"proc/20/environ":            file(""),
			"proc/10/stat":               file("10 (bash) S 1 0"),
			"proc/10/environ":            file("A=b\x00SSH_CONNECTION=198.18.0.9 50000 198.18.0.5 22\x00"),
			"proc/self/mounts":           file("/dev/sda1 / ext4 rw 0 0\nbad\n"),
			"proc/thread-self/ns/net":    link("net:[1]"),
			"proc/thread-self/net/igmp":  file("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n2\teth0      :     2      V3\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n\t\t\t\tnonsense\n"),
			"proc/thread-self/net/igmp6": file("2    eth0            ff0200000000000000000000000000fb     1 00000004 0\n2 eth0 zz 1\n9 gone ff0200000000000000000000000000fb 1 0 0\n"),
			"proc/40/comm":               file("NetworkManager\n"),
			"proc/40/cmdline":            file("/usr/sbin/NetworkManager\x00--no-daemon\x00"),
			"proc/40/ns/net":             link("net:[1]"),
			"proc/41/comm":               file("dhclient\n"),
			"proc/41/cmdline":            file("dhclient\x00eth0\x00"),
			"proc/41/ns/net":             link("net:[2]"),
		},
		Inside: func(fn func() error) error { return fn() },
		Sockets: func(context.Context) ([]model.Socket, error) {
			return []model.Socket{{Bound: "eth0", Inode: 7}, {Bound: "eth1", Inode: 8}}, nil
		},
		Holders: func(inodes map[uint64]bool) (map[uint64]model.Holder, error) {
			if len(inodes) != 1 || !inodes[7] {
				return nil, fmt.Errorf("asked for %v", inodes)
			}
			return map[uint64]model.Holder{7: {PID: 3, Command: "lldpd"}}, nil
		},
		Run: func(_ context.Context, name string, _ ...string) ([]byte, error) {
			switch name {
			case "nft":
				return nil, errors.New("Operation not permitted\n (you must be root)")
			case "iptables-save":
				return []byte("# Generated by iptables-save v1.8.9 (nf_tables)\n*filter\n:FORWARD DROP [0:0]\n-A INPUT -i eth0 -j ACCEPT\nCOMMIT\n"), nil
			}
			return nil, exec.ErrNotFound
		},
	}
}

func TestGather(t *testing.T) {
	f, err := pageSystem().Gather(t.Context(), []model.Move{move})
	if err != nil {
		t.Fatal(err)
	}
	if f.Session.Client != port("198.18.0.9:50000") {
		t.Errorf("session %v", f.Session)
	}
	if got := fmt.Sprint(f.Memberships); got != "[{lo 224.0.0.1} {eth0 224.0.0.251} {eth0 ff02::fb} {gone ff02::fb}]" {
		t.Errorf("memberships %s", got)
	}
	for _, p := range f.Processes {
		if p.Command == "dhclient" {
			t.Errorf("%v is in another namespace", p)
		}
	}
	if f.Holders[7].Command != "lldpd" || len(f.Mounts) != 1 || f.ISCSI {
		t.Errorf("%v %v", f.Holders, f.Mounts)
	}
	if fmt.Sprint(f.Firewall.Rules) != "[{iptables filter INPUT -A INPUT -i eth0 -j ACCEPT}]" || len(f.Firewall.ForwardDrop) != 1 || len(f.Firewall.Unread) != 1 {
		t.Errorf("%+v", f.Firewall)
	}
}

// A kernel without nf_tables has no rules of it: nothing is unread.
func TestNoNftablesInTheKernel(t *testing.T) {
	s := pageSystem()
	s.Run = func(_ context.Context, name string, _ ...string) ([]byte, error) {
		if name == "nft" {
			return nil, errors.New("mnl.c:60: Unable to initialize Netlink socket: Protocol not supported")
		}
		return nil, exec.ErrNotFound
	}
	f, err := s.Gather(t.Context(), []model.Move{move})
	if err != nil || len(f.Firewall.Unread) != 0 {
		t.Errorf("%v, %v", f.Firewall.Unread, err)
	}
}

const ruleset = `table inet filter {
	set lans {
		type ifname
		elements = { "eth0",
			     "eth9" }
	}
	chain input {
		type filter hook input priority filter; policy accept;
		iifname "eth0" tcp dport 22 accept comment "of eth0"
		tcp dport 80 accept comment "eth0"
		meta mark 1 oifname { "wan0", "eth0" } drop
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "eth*" accept
	}
}
table netdev wire {
	chain in {
		type filter hook ingress device "eth0" priority 0; policy accept;
		iifname "eth0" drop
	}
}
`

func TestParseNft(t *testing.T) {
	f := ParseNft(ruleset)
	var named []string
	for _, r := range f.Rules {
		if r.names("eth0") {
			named = append(named, r.Where+": "+r.Line)
		}
	}
	want := []string{
		`nft inet filter lans: elements = { "eth0",`,
		`nft inet filter input: iifname "eth0" tcp dport 22 accept comment "of eth0"`,
		`nft inet filter input: meta mark 1 oifname { "wan0", "eth0" } drop`,
		`nft inet filter forward: iifname "eth*" accept`,
	}
	if strings.Join(named, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(named, "\n"))
	}
	if fmt.Sprint(f.ForwardDrop) != "[nft inet filter forward]" {
		t.Errorf("%v", f.ForwardDrop)
	}
}

func TestParseSession(t *testing.T) {
	for _, bad := range []string{"", "a b c d", "198.18.0.9 50000 198.18.0.5", "198.18.0.9 x 198.18.0.5 22", "198.18.0.9 70000 198.18.0.5 22"} {
		if s, ok := ParseSession(bad); ok {
			t.Errorf("%q: %v", bad, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ruleset)
	f.Add("*filter\n:FORWARD DROP\n-A INPUT -i eth0")
	f.Add("2\teth0      :     2      V3\n\t\t\t\tFB0000E0")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, r := range ParseNft(text).Rules {
			r.names("eth0")
		}
		ParseIptables("iptables", text)
		parseIGMP(text)
		parseIGMP6(text)
		ParseSession(text)
		Mount{Source: text, Options: text}.server()
	})
}
