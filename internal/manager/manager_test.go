package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"drawbridge/internal/model"

	"github.com/godbus/dbus/v5"
)

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func symlink(s string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(s), Mode: 0o777 | fs.ModeSymlink}
}

// page is a host in files, with processes: name, then arguments.
func page(files fstest.MapFS, processes ...[]string) System {
	all := fstest.MapFS{"proc/thread-self/ns/net": symlink("net:[1]")}
	for name, f := range files {
		all[name] = f
	}
	for i, p := range processes {
		dir := fmt.Sprintf("proc/%d/", 40+i)
		all[dir+"comm"], all[dir+"cmdline"] = file(p[0]+"\n"), file(strings.Join(p, "\x00")+"\x00")
		all[dir+"ns/net"] = symlink("net:[1]")
	}
	return System{Root: all, Inside: func(fn func() error) error { return fn() }}
}

func host() *model.Namespace {
	return &model.Namespace{
		Links: []model.Link{
			{Name: "lo", Index: 1, Kind: model.Loopback},
			{Name: "eth0", Index: 2, Kind: model.Physical},
			{Name: "tap0", Index: 3, Kind: model.TapKind},
		},
		Addresses: []model.Address{{Link: "eth0", Prefix: netip.MustParsePrefix("198.18.0.5/24")}},
	}
}

func told(t *testing.T, s System) string {
	t.Helper()
	f, err := s.Find(t.Context(), host())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, link := range []string{"lo", "eth0", "tap0"} {
		for _, m := range f.Of(link) {
			words := fmt.Sprintf("%s %s %s", link, m.Name, m.How)
			if where := m.Where(); where != "" {
				words += " " + where
			}
			if m.WriterFile != "" {
				words += " from " + m.WriterFile
			}
			if m.WouldDo == "" {
				words += " does nothing?"
			}
			out = append(out, words)
		}
	}
	return strings.Join(out, "; ")
}

func TestByFilesAndProcesses(t *testing.T) {
	networkd := []string{"systemd-network"}
	nm := []string{"NetworkManager", "--no-daemon"}
	for _, c := range []struct {
		name      string
		files     fstest.MapFS
		processes [][]string
		want      string
	}{
		{"nobody", fstest.MapFS{}, [][]string{{"bash"}}, ""},
		{"files of one that does not run", fstest.MapFS{"run/systemd/netif/links/2": file("ADMIN_STATE=configured\n")}, nil, ""},
		{"a person", fstest.MapFS{"run/systemd/netif/links/2": file("NETWORK_FILE=/etc/systemd/network/a.network\n")}, [][]string{networkd}, "eth0 systemd-networkd file /etc/systemd/network/a.network"},
		{"unmanaged", fstest.MapFS{"run/systemd/netif/links/2": file("ADMIN_STATE=unmanaged\n")}, [][]string{networkd}, ""},
		{"Ansible", fstest.MapFS{
			"run/systemd/netif/links/2":     file("NETWORK_FILE=/etc/systemd/network/a.network\n"),
			"etc/systemd/network/a.network": file("# Ansible managed\n[Match]\nName=eth0\n"),
		}, [][]string{networkd}, "eth0 systemd-networkd file /etc/systemd/network/a.network, written by Ansible"},
		{"netplan", fstest.MapFS{
			"run/systemd/netif/links/2": file("NETWORK_FILE=/run/systemd/network/10-netplan-lan.network\n"),
			"etc/netplan/10-x.yaml":     file("network: {ethernets: {lan: {match: {macaddress: ..}}}}\n"),
			"etc/netplan/20-y.yaml":     file("network: {ethernets: {other: {}}}\n"),
		}, [][]string{networkd}, "eth0 systemd-networkd file /run/systemd/network/10-netplan-lan.network, written by netplan from /etc/netplan/10-x.yaml"},
		{"cloud-init's netplan", fstest.MapFS{
			"run/systemd/netif/links/2":      file("NETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n"),
			"etc/netplan/50-cloud-init.yaml": file("network: {ethernets: {eth0: {}}}\n"),
		}, [][]string{networkd}, "eth0 systemd-networkd file /run/systemd/network/10-netplan-eth0.network, written by cloud-init from /etc/netplan/50-cloud-init.yaml"},
		{"Ansible's netplan", fstest.MapFS{
			"run/systemd/netif/links/2": file("NETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n"),
			"etc/netplan/01.yaml":       file("# {{ ansible_managed }}\nnetwork: {ethernets: {eth0: {}}}\n"),
		}, [][]string{networkd}, "eth0 systemd-networkd file /run/systemd/network/10-netplan-eth0.network, written by Ansible from /etc/netplan/01.yaml"},
		{"cloud-init's networkd", fstest.MapFS{"run/systemd/netif/links/2": file("NETWORK_FILE=/etc/systemd/network/10-cloud-init-eth0.network\n")}, [][]string{networkd}, "eth0 systemd-networkd file /etc/systemd/network/10-cloud-init-eth0.network, written by cloud-init"},
		{"NetworkManager, and cloud-init", fstest.MapFS{
			"run/NetworkManager/devices/2":                                       file("managed=true\nconnection-uuid=u-2\n"),
			"etc/NetworkManager/system-connections/a.nmconnection":               file("[connection]\nuuid=u-1\n"),
			"run/NetworkManager/system-connections/cloud-init-eth0.nmconnection": file("[connection]\nuuid=u-2\n"),
		}, [][]string{nm}, "eth0 NetworkManager file /run/NetworkManager/system-connections/cloud-init-eth0.nmconnection, written by cloud-init"},
		{"two at once", fstest.MapFS{
			"run/NetworkManager/devices/2": file("managed=true\n"),
			"run/systemd/netif/links/2":    file("ADMIN_STATE=configured\n"),
		}, [][]string{nm, networkd}, "eth0 NetworkManager file /run/NetworkManager/devices/2; eth0 systemd-networkd file /run/systemd/netif/links/2"},
		{"ifupdown", fstest.MapFS{"run/network/ifstate": file("lo=lo\neth0=eth0\n")}, nil, "lo ifupdown file /run/network/ifstate; eth0 ifupdown file /run/network/ifstate"},
		{"ifupdown, Proxmox", fstest.MapFS{
			"run/network/ifstate":    file("eth0=eth0\n"),
			"etc/network/interfaces": file("# network interface settings; autogenerated\nauto eth0\niface eth0 inet dhcp\n"),
		}, nil, "eth0 ifupdown file /etc/network/interfaces, written by Proxmox VE"},
		{"ifupdown, cloud-init", fstest.MapFS{
			"run/network/ifstate":                    file("eth0=eth0\n"),
			"etc/network/interfaces":                 file("source interfaces.d/*\n"),
			"etc/network/interfaces.d/50-cloud-init": file("auto eth0\niface eth0 inet dhcp\n"),
		}, nil, "eth0 ifupdown file /etc/network/interfaces.d/50-cloud-init, written by cloud-init"},
		{"ifupdown2", fstest.MapFS{"var/tmp/network/ifstatenew": file("\x80\x04\x8c\x04name\x94\x8c\x04eth0\x94")}, nil, "eth0 ifupdown2 file /var/tmp/network/ifstatenew"},
		{"of another link", fstest.MapFS{"var/tmp/network/ifstatenew": file("\x80\x04\x8c\x05eth01\x94"), "run/network/ifstate": file("eth01=eth01\n")}, nil, ""},
		{"dhclient", fstest.MapFS{"run/dhclient.eth0.pid": file("40")}, [][]string{{"dhclient", "-4", "eth0"}}, "eth0 dhclient process /run/dhclient.eth0.pid"},
		{"dhclient of another", fstest.MapFS{}, [][]string{{"dhclient", "eth1"}}, ""},
		{"dhcpcd for all", fstest.MapFS{"run/dhcpcd/sock": file("")}, [][]string{{"dhcpcd: [manager] [ip4] [ip6]"}}, ""},
		{"udhcpc's default", fstest.MapFS{}, [][]string{{"udhcpc", "-b"}}, "eth0 udhcpc process"},
		{"ConnMan and wicked", fstest.MapFS{}, [][]string{{"connmand", "-n"}, {"wickedd", "--systemd"}}, "eth0 ConnMan process; eth0 wicked process"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(t, page(c.files, c.processes...)); got != c.want {
				t.Errorf("%s\nnot\n%s", got, c.want)
			}
		})
	}
}

// dhcpcd writes its own title: what it sees to is told by that.
func TestDhcpcd(t *testing.T) {
	manages := fstest.MapFS{"proc/40/comm": file("dhcpcd\n"), "proc/40/cmdline": file("dhcpcd: [manager] [ip4] [ip6]\x00"), "proc/40/ns/net": symlink("net:[1]"), "run/dhcpcd/sock": file("")}
	if got := told(t, page(manages)); got != "eth0 dhcpcd process /run/dhcpcd/sock" {
		t.Error(got)
	}
	manages["etc/dhcpcd.conf"] = file("# all but\ndenyinterfaces wlan* eth*\n")
	if got := told(t, page(manages)); got != "" {
		t.Error(got)
	}
	manages["proc/40/cmdline"] = file("dhcpcd: eth0 [ip4]\x00")
	if got := told(t, page(manages)); got != "eth0 dhcpcd process /run/dhcpcd/sock" {
		t.Error(got)
	}
}

// Of the processes of one dhcpcd the one that is for all links counts, and makes it more than
// a client.
func TestDhcpcdSeparatesPrivileges(t *testing.T) {
	files := fstest.MapFS{"run/dhcpcd/sock": file("")}
	for pid, title := range map[string]string{"101": "dhcpcd: [privileged proxy]", "102": "dhcpcd: [BPF ARP] eth0 198.18.0.100", "99": "dhcpcd: [manager] [ip4] [ip6]"} {
		files["proc/"+pid+"/comm"], files["proc/"+pid+"/cmdline"], files["proc/"+pid+"/ns/net"] = file("dhcpcd\n"), file(title+"\x00"), symlink("net:[1]")
	}
	ns := &model.Namespace{Links: []model.Link{{Name: "eth0", Index: 2, Kind: model.Physical}}}
	found, err := page(files).Find(t.Context(), ns)
	found.Tell(ns)
	if m := ns.Link("eth0").Managers; err != nil || len(m) != 1 || m[0].PID != 99 || m[0].Client {
		t.Errorf("%v, %+v", err, m)
	}
}

// A namespace that was asked for by name has none of the host's state files.
func TestNamed(t *testing.T) {
	s := page(fstest.MapFS{"run/network/ifstate": file("eth0=eth0\n"), "proc/9/comm": file("dhclient\n"), "proc/9/cmdline": file("dhclient\x00eth0\x00")})
	if got := told(t, s); got != "eth0 dhclient process; eth0 ifupdown file /run/network/ifstate" && got != "eth0 ifupdown file /run/network/ifstate; eth0 dhclient process" {
		t.Error(got)
	}
	s.Named = true
	if got := told(t, s); got != "" {
		t.Error(got)
	}
}

// A program that nobody knows is found by a DHCP client's socket.
func TestStranger(t *testing.T) {
	at := func(bound, local string) func(context.Context) ([]model.Socket, error) {
		return func(context.Context) ([]model.Socket, error) {
			return []model.Socket{{Protocol: "udp", Local: netip.MustParseAddrPort(local), Bound: bound, Inode: 7}, {Protocol: "udp", Local: netip.MustParseAddrPort("0.0.0.0:53"), Inode: 8}}, nil
		}
	}
	holders := func(command string) func(map[uint64]bool) (map[uint64]model.Holder, error) {
		return func(inodes map[uint64]bool) (map[uint64]model.Holder, error) {
			if len(inodes) != 1 || !inodes[7] {
				return nil, fmt.Errorf("asked for %v", inodes)
			}
			return map[uint64]model.Holder{7: {PID: 40, Command: command}}, nil
		}
	}
	for _, c := range []struct{ bound, local, command, want string }{
		{"eth0", "0.0.0.0:68", "acme-dhcp", "eth0 acme-dhcp process"},
		{"", "198.18.0.5:68", "acme-dhcp", "eth0 acme-dhcp process"},
		{"", "0.0.0.0:68", "acme-dhcp", ""}, // there is no default route
		{"eth0", "[::]:546", "acme-dhcp", "eth0 acme-dhcp process"},
		{"eth0", "0.0.0.0:68", "drawbridge", ""},
		{"eth0", "0.0.0.0:68", "systemd-network", ""},
	} {
		s := page(fstest.MapFS{}, []string{c.command})
		s.Sockets, s.Holders = at(c.bound, c.local), holders(c.command)
		if got := told(t, s); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	s := page(fstest.MapFS{}, []string{"x"})
	s.Sockets = func(context.Context) ([]model.Socket, error) { return nil, errors.New("denied") }
	s.Holders = holders("x")
	if got := told(t, s); got != "" {
		t.Error(got)
	}
}

// What NetworkManager tells of its objects.
func TestNetworkManagerHolds(t *testing.T) {
	device := func(name string, managed bool, active string) map[string]map[string]dbus.Variant {
		return map[string]map[string]dbus.Variant{nmDevice: {
			"Interface": dbus.MakeVariant(name), "IpInterface": dbus.MakeVariant(""), "Managed": dbus.MakeVariant(managed), "ActiveConnection": dbus.MakeVariant(dbus.ObjectPath(active)),
		}}
	}
	active := func(flags uint32) map[string]map[string]dbus.Variant {
		return map[string]map[string]dbus.Variant{nmActive: {"Id": dbus.MakeVariant("lan"), "StateFlags": dbus.MakeVariant(flags), "Connection": dbus.MakeVariant(dbus.ObjectPath("/s/1"))}}
	}
	all := objects{
		"/d/1": device("eth0", true, "/a/1"), "/d/2": device("tap0", true, "/a/2"), "/d/3": device("lo", false, "/"), "/d/4": device("gone", true, "/"),
		"/a/1": active(4), "/a/2": active(nmExternal),
		"/s/1": {nmConnection: {"Filename": dbus.MakeVariant("/etc/x.nmconnection")}},
		"/odd": {nmActive: {"StateFlags": dbus.MakeVariant("text")}},
	}
	got := networkManagerHolds(all, host())
	if len(got) != 1 || got["eth0"].Profile != "lan" || got["eth0"].File != "/etc/x.nmconnection" {
		t.Errorf("%+v", got)
	}
	all["/d/1"] = device("eth0", true, "/")
	if got := networkManagerHolds(all, host()); len(got) != 1 || got["eth0"].Profile != "" {
		t.Errorf("without a connection: %+v", got)
	}
}

func TestNetworkdHolds(t *testing.T) {
	got, err := networkdHolds([]byte(`{"Interfaces":[{"Index":2,"Name":"eth0","AdministrativeState":"configured","NetworkFile":"/etc/a.network","Extra":[1]},{"Name":"tap0","AdministrativeState":"unmanaged"},{"Name":"gone"}]}`), host())
	if err != nil || len(got) != 1 || got["eth0"].File != "/etc/a.network" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := networkdHolds([]byte("{"), host()); err == nil {
		t.Error("nonsense is understood")
	}
}

func TestForGood(t *testing.T) {
	for want, m := range map[string]model.Manager{
		"unmanaged-devices=interface-name:eth0":                                         {Name: NetworkManager},
		"take eth0 out of the files in /etc/netplan, which are what systemd-networkd's": {Name: Networkd, Writer: "netplan"},
		"tell Ansible, which writes its file anew":                                      {Name: Networkd, Writer: "Ansible"},
		"network: {config: disabled}":                                                   {Name: Ifupdown, Writer: "cloud-init"},
	} {
		if got := ForGood(m, "eth0"); !strings.Contains(got, want) {
			t.Errorf("%q, not %q", got, want)
		}
	}
	if got := ForGood(model.Manager{Name: "acme"}, "eth0"); got != "" {
		t.Error(got)
	}
}
