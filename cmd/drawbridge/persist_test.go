package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/lab/booted"
	"drawbridge/internal/lab/router"
	"drawbridge/internal/model"
	"drawbridge/internal/persist"
	"drawbridge/internal/testnet"

	"github.com/google/go-cmp/cmp"
)

// persistSite is a booted host whose uplink a manager has, on a LAN with a DHCP server.
type persistSite struct {
	t      *testing.T
	host   *testnet.Net
	lan    *testnet.Net
	booted *booted.Host
	server *router.DHCP
	bin    string
	file   string
	// lossy takes note of lost probes instead of an error, where it is not nil.
	lossy *bool
}

const persistFile = `networks:
  lan: {mode: bridged, bridge: br0, uplink: eth0}
taps:
  tap0: {network: lan, owner: root}
  tap1: {network: lan}
`

func newPersistSite(t *testing.T, m booted.Manager, o booted.Options) *persistSite {
	t.Helper()
	testnet.RequireBooted(t)
	testnet.RequireTap(t)
	testnet.RequirePackage(t, func() error { _, err := m.Folders("."); return err })
	s := &persistSite{t: t, host: testnet.New(t), bin: build(t)}
	lan := testnet.New(t)
	s.lan = lan
	s.host.Veth("eth0", lan, "host0")
	gateway := func(p string) model.Address {
		return model.Address{Prefix: netip.MustParsePrefix(p), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}
	}
	lan.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{gateway("198.18.0.1/24"), gateway("2001:db8::1/64")}})
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	server := netip.MustParsePrefix("198.18.0.1/24")
	s.server = router.NewDHCP(router.DHCPConfig{Server: server, First: netip.MustParseAddr("198.18.0.100"), Last: netip.MustParseAddr("198.18.0.199"), Gateway: server.Addr(), LeaseTime: time.Hour}, log.New(io.Discard, "", 0))
	lan.Inside(func() error { return s.server.Start(ctx, "host0") })
	s.file = filepath.Join(s.bin, "persist-"+strings.NewReplacer("/", "-").Replace(t.Name())+".yaml")
	if err := os.WriteFile(s.file, []byte(persistFile), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Namespace, o.Binds = "/run/netns/"+s.host.Name(), append(o.Binds, s.bin)
	h, err := m.Boot(t.Context(), ".", managedUplink, o)
	if err != nil {
		t.Fatal(err)
	}
	s.booted = h
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := h.Run(context.Background(), "sh", "-c", "networkctl -a --no-pager status 2>&1 | tail -n 40; journalctl -n 60 --no-pager -q; cat /run/drawbridge-dhcpcd/*; grep -r . /etc/systemd/network /etc/netplan /etc/network /etc/NetworkManager/system-connections 2>/dev/null | grep -v '# '")
			t.Logf("%s\n%s", out, h.Console())
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// advertise has the LAN's router tell of itself, and of a prefix, until the test ends.
func (s *persistSite) advertise() {
	s.t.Helper()
	testnet.Eventually(s.t, func() error { // its link-local address may be tentative yet
		return s.lan.Kernel.Inside(func() error {
			return router.Advertise(s.t.Context(), router.AdvertConfig{Link: "host0", Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Interval: time.Second, Lifetime: time.Hour}, log.New(io.Discard, "", 0))
		})
	})
}

func (s *persistSite) run(args ...string) string {
	s.t.Helper()
	out, err := s.booted.Run(s.t.Context(), append([]string{filepath.Join(s.bin, "drawbridge")}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// etc is all of /etc: names, modes, and the sums of contents.
func (s *persistSite) etc() string {
	s.t.Helper()
	out, err := s.booted.Run(s.t.Context(), "sh", "-c", `cd /etc && find . -printf '%p %m %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum`)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// settled waits until a link has an IPv4 and a global IPv6 address, and default routes of
// both kinds.
func (s *persistSite) settled(link string) model.Namespace {
	s.t.Helper()
	var ns model.Namespace
	testnet.Within(s.t, testnet.Patience, func() error {
		ns = *s.host.Look()
		addresses := ns.AddressesOf(link)
		var four, six, defaults int
		for _, a := range addresses {
			switch {
			case a.Flags.Tentative:
				return fmt.Errorf("%s is tentative", a.Prefix)
			case a.Prefix.Addr().Is4():
				four++
			case a.Origin != model.LinkLocal:
				six++
			}
		}
		for _, r := range ns.RoutesOf(link) {
			if r.IsDefault() {
				defaults++
			}
		}
		if four == 0 || six == 0 || defaults < 2 {
			return fmt.Errorf("%s has %s, and %d default routes", link, model.SplitAddresses(addresses), defaults)
		}
		return nil
	})
	return ns
}

// persistCases are the managers, each with an uplink that has static addresses or gets
// them by DHCP.
type persistCase struct {
	name    string
	booted  string // of booted.Managers
	files   map[string]string
	manager string // of internal/persist, as it is found
	leased  bool
	chosen  bool // by --manager
	// advertised: the LAN's router advertises itself and a prefix.
	advertised bool
}

// dhcpcdHost is Debian's, with the user that its package's installation would make. It
// waits for udev to know an interface, and there is none.
var dhcpcdHost = booted.Manager{
	Name: "dhcpcd", Package: "dhcpcd", Program: "dhcpcd", Units: []string{"dhcpcd.service"},
	Manage: func(booted.Uplink) map[string]string {
		return map[string]string{
			"etc/systemd/system/dhcpcd.service.d/user.conf": "[Service]\nExecStartPre=-+/usr/sbin/useradd --system --home-dir /var/lib/dhcpcd --no-create-home dhcpcd\n",
			"etc/dhcpcd.conf": dhcpcdFile,
		}
	},
}

const dhcpcdFile = `nodev
duid
persistent
option domain_name_servers, domain_name, domain_search
option classless_static_routes
option interface_mtu
require dhcp_server_identifier
slaac private
interface eth0
	static ip6_address=2001:db8::5/64
	hostname host
`

var persistCases = []persistCase{
	{name: "networkd-dhcp", booted: "systemd-networkd", manager: persist.Networkd, leased: true, files: map[string]string{
		"etc/systemd/network/10-uplink.network": "[Match]\nName=eth*\n[Network]\nDHCP=ipv4\nDNS=198.18.0.53\nAddress=2001:db8::5/64\nGateway=2001:db8::1\n[DHCPv4]\nIAID=77\n"}},
}

// ifupdown's interfaces are the booted ones, with the line that takes ours in.
const interfacesFile = "source /etc/network/interfaces.d/*\nauto eth0\n"

func init() {
	static := "\taddress 198.18.0.5/24\n\tgateway 198.18.0.1\n\tdns-nameservers 198.18.0.53\n"
	static6 := "\taddress 2001:db8::5/64\n\tgateway 2001:db8::1\n"
	interfaces := func(text string) map[string]string {
		return map[string]string{"etc/network/interfaces": interfacesFile + text}
	}
	netplan := func(text string) map[string]string {
		return map[string]string{"etc/netplan/10-uplink.yaml": "network:\n  version: 2\n  ethernets:\n    eth0:\n" + text + "      nameservers: {addresses: [198.18.0.53]}\n"}
	}
	persistCases = append(persistCases,
		persistCase{name: "netplan-dhcp", booted: "netplan", manager: persist.Netplan, leased: true, files: netplan("      dhcp4: true\n      addresses: [\"2001:db8::5/64\"]\n      routes: [{to: default, via: \"2001:db8::1\"}]\n")},
		persistCase{name: "ifupdown-dhcp", booted: "ifupdown,", manager: persist.Ifupdown, leased: true, files: interfaces("iface eth0 inet dhcp\niface eth0 inet6 static\n" + static6)},
		persistCase{name: "ifupdown2", booted: "ifupdown2", manager: persist.Ifupdown2, files: interfaces("iface eth0\n" + static + static6)},
		persistCase{name: "dhcpcd-dhcp", booted: "dhcpcd", manager: persist.Dhcpcd, leased: true, advertised: true},
		persistCase{name: "NetworkManager-dhcp", booted: "NetworkManager", manager: persist.NetworkManager, leased: true, files: map[string]string{
			"etc/NetworkManager/system-connections/uplink.nmconnection": "[connection]\nid=uplink\nuuid=5a4c1d1e-3f0e-4f7e-9a52-6d1b8f5a0001\ntype=ethernet\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=manual\naddress1=2001:db8::5/64\ngateway=2001:db8::1\n"}},
		persistCase{name: "unit", booted: "systemd-networkd", manager: persist.OwnUnit, chosen: true},
	)
}

// The next boot brings back what 'up' has made, by the manager that has the uplink, and
// by the same DHCP lease; and what was written is taken away again, byte for byte.
func TestPersist(t *testing.T) {
	for _, c := range persistCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testPersist(t, c)
		})
	}
}

func testPersist(t *testing.T, c persistCase) {
	t.Helper()
	s := newPersistSite(t, managerNamed(t, c.booted), booted.Options{Files: c.files, Units: []string{persist.UnitName}})
	if c.advertised {
		s.advertise()
	}
	s.settled("eth0")
	before := s.etc()
	leases := s.leases()
	if (len(leases) == 1) != c.leased {
		t.Fatalf("leases: %v", leases)
	}
	write := []string{"persist", "write", "--yes", s.file}
	var out string
	if c.chosen {
		write = append(write, "--manager", c.manager)
		s.run("up", "--yes", s.file)
		out = s.run(write...)
	} else {
		out = s.run("up", "--yes", "--persist", s.file)
	}
	s.settled("br0")
	live := *s.host.Look()
	if !strings.Contains(out, "by "+c.manager+"\n") {
		t.Errorf("it says:\n%s", out)
	}
	if err := s.booted.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.settled("br0")
	bridge := persist.Bridge{Name: "br0", Uplink: "eth0"}
	if c.leased && (c.manager == persist.Networkd || c.manager == persist.Netplan) {
		bridge.DHCP4 = &persist.Identity{} // it has taken the lease over, without an end
	}
	w := persist.Wish{Bridges: []persist.Bridge{bridge}, Taps: []persist.Tap{{Name: "tap0"}, {Name: "tap1"}}}
	testnet.Within(t, testnet.Patience, func() error {
		if d := w.Differences(live, *s.host.Look()); len(d) > 0 {
			return errors.New(strings.Join(d, "\n"))
		}
		return nil
	})
	if now := s.leases(); !slices.Equal(now, leases) {
		t.Errorf("leases after the boot: %v, before: %v", now, leases)
	}
	if out := s.run(write...); !strings.Contains(out, "nothing to do") {
		t.Errorf("after the boot there is something to write:\n%s", out)
	}
	s.run("persist", "remove", "--yes")
	if after := s.etc(); after != before {
		t.Errorf("/etc before and after:\n%s", cmp.Diff(before, after))
	}
	if c.manager == persist.Dhcpcd {
		// It takes routes away when br0 loses its carrier, also those that are eth0's by then:
		// 'down' may be rolled back for that, and works the next time.
		testnet.Eventually(t, func() error {
			_, err := s.booted.Run(t.Context(), filepath.Join(s.bin, "drawbridge"), "down", "--yes")
			return err
		})
	} else {
		s.run("down", "--yes")
	}
	if ns := s.host.Look(); ns.Link("br0") != nil || ns.Link("tap0") != nil || ns.Link("eth0").Master != "" || len(ns.AddressesOf("eth0")) == 0 {
		t.Errorf("after down: %v", names(*ns))
	}
}

func managerNamed(t *testing.T, name string) booted.Manager {
	t.Helper()
	for _, m := range append(booted.Managers(), dhcpcdHost) {
		if strings.HasPrefix(m.Name, name) {
			return m
		}
	}
	t.Fatalf("no %s", name)
	return booted.Manager{}
}

// leases are the addresses that the server has given, and to whom.
func (s *persistSite) leases() []string {
	var out []string
	for _, l := range s.server.Leases() {
		out = append(out, fmt.Sprintf("%s to %s %s", l.Address, l.MAC, l.ClientID))
	}
	return out
}

// Whatever is wrong with the files, of the user's or of ours: a clear error, and not one
// byte of /etc is another.
func TestPersistBadInput(t *testing.T) {
	t.Parallel()
	s := newPersistSite(t, managerNamed(t, "systemd-networkd"), booted.Options{})
	s.settled("eth0")
	shell := func(script string) {
		t.Helper()
		if _, err := s.booted.Run(t.Context(), "sh", "-ec", script); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(code int, says string, args ...string) {
		t.Helper()
		before := s.etc()
		cmd := s.booted.Command(t.Context(), append([]string{filepath.Join(s.bin, "drawbridge")}, args...)...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), says) {
			t.Errorf("drawbridge %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), code, says, out)
		}
		if after := s.etc(); after != before {
			t.Errorf("drawbridge %s changes /etc:\n%s", strings.Join(args, " "), cmp.Diff(before, after))
		}
	}
	const (
		theirs = "/etc/systemd/network/10-uplink.network"
		ours   = "/etc/systemd/network/05-drawbridge-br0.netdev"
	)
	write := []string{"persist", "write", "--yes", s.file}
	fails(1, "comes first", write...)
	fails(2, "standard input", "persist", "show", "-")
	fails(2, "no such file", "persist", "write", "/nowhere.yaml")
	fails(2, "--manager with one of", "persist", "show", "--manager", "systemd", s.file)
	fails(2, "leave --netns out", "persist", "show", "--netns", "x", s.file)
	fails(0, "nothing was written", "persist", "remove", "--yes")
	shell("cp -a " + theirs + " /tmp/kept; echo 'Gateway 198.18.0.1' >>" + theirs)
	fails(1, theirs+": line 8", "up", "--yes", "--persist", s.file)
	if s.host.Look().Link("br0") != nil {
		t.Error("'up --persist' has begun what it cannot end")
	}
	shell("cp -a /tmp/kept " + theirs)

	s.run("up", "--yes", s.file)
	fails(0, "note, certain: not-persisted:br0", "doctor")
	fails(2, "give --yes", "persist", "write", s.file)
	shell("mount --bind /etc /etc && mount -o remount,bind,ro /etc")
	fails(1, "read-only file system", write...)
	shell("umount /etc; mv /etc/systemd/network /etc/systemd/elsewhere; ln -s elsewhere /etc/systemd/network")
	fails(1, "is a symbolic link to elsewhere", write...)
	shell("rm /etc/systemd/network; mv /etc/systemd/elsewhere /etc/systemd/network; echo theirs >" + ours)
	fails(1, ours+": is there already, and was not written by drawbridge", append(write, "--overwrite")...)
	shell("rm " + ours)
	fails(0, "for unit", "persist", "show", "--manager", "unit", s.file)

	s.run(write...)
	if out := s.run("doctor"); strings.Contains(out, "not-persisted") {
		t.Errorf("it is written, and the doctor says\n%s", out)
	}
	shell("sed -i 's/$/\\r/' " + ours) // as an editor from elsewhere would
	fails(1, ours+": was changed by hand", write...)
	fails(0, "Name=br0^M", "persist", "show", s.file)
	out := s.run("down", "--yes")
	if !strings.Contains(out, "7 files stay") {
		t.Errorf("down says:\n%s", out)
	}
	out = s.run("persist", "remove", "--yes")
	if !strings.Contains(out, "kept: "+ours) || !strings.Contains(out, "removed: 6 files") {
		t.Errorf("remove says:\n%s", out)
	}
	shell("grep -q 'Name=br0' " + ours + "; rm " + ours)
	if out := s.run("down", "--yes"); !strings.Contains(out, "back to systemd-networkd") {
		t.Errorf("with the last file gone, down says:\n%s", out)
	}

	// Whose file is not told, for nobody runs: the network is kept all the same.
	shell("systemctl stop systemd-networkd.socket systemd-networkd")
	fails(0, "for unit", "persist", "show", s.file)
}

// netplan's own checker refuses what it would refuse at boot, and nothing is written.
func TestPersistAsksNetplan(t *testing.T) {
	t.Parallel()
	s := newPersistSite(t, managerNamed(t, "netplan"), booted.Options{})
	s.settled("eth0")
	s.run("up", "--yes", s.file)
	before := s.etc()
	if err := s.booted.Write(t.Context(), "/etc/netplan/20-mistake.yaml", "network:\n  ethernets:\n    eth0: {addresses: [nonsense]}\n"); err != nil {
		t.Fatal(err)
	}
	out, err := s.booted.Run(t.Context(), filepath.Join(s.bin, "drawbridge"), "persist", "write", "--yes", s.file)
	if err == nil || !strings.Contains(out, "netplan refuses the files") || !strings.Contains(out, "/etc/netplan/20-mistake.yaml:3") {
		t.Errorf("it says: %v\n%s", err, out)
	}
	if _, err := s.booted.Run(t.Context(), "rm", "/etc/netplan/20-mistake.yaml"); err != nil {
		t.Fatal(err)
	}
	if after := s.etc(); after != before {
		t.Errorf("/etc before and after:\n%s", cmp.Diff(before, after))
	}
}

// 'persist verify' boots the files with a networkd of its own, and tells what would come
// up otherwise: static addresses, a lease, an advertised prefix.
func TestPersistVerify(t *testing.T) {
	testnet.RequireBooted(t)
	testnet.RequireTap(t)
	t.Parallel()
	bin := build(t)
	host, lan := testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "host0")
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	quiet := log.New(io.Discard, "", 0)
	server := netip.MustParsePrefix("198.18.0.1/24")
	lan.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{{Prefix: server, Origin: model.Static}}})
	lan.Inside(func() error {
		d := router.NewDHCP(router.DHCPConfig{Server: server, First: leased.Addr(), Last: leased.Addr(), Gateway: server.Addr(), LeaseTime: time.Hour}, quiet)
		return d.Start(ctx, "host0")
	})
	testnet.Eventually(t, func() error { // its link-local address may be tentative yet
		return lan.Kernel.Inside(func() error {
			return router.Advertise(ctx, router.AdvertConfig{Link: "host0", Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Interval: time.Second, Lifetime: time.Hour}, quiet)
		})
	})
	host.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{
		{Prefix: netip.MustParsePrefix("198.18.0.5/24"), Origin: model.Static},
		{Prefix: leased, Origin: model.DHCP, Lifetime: &model.Lifetime{Valid: 3600, Preferred: 3600}},
		{Prefix: netip.MustParsePrefix("2001:db8::5/64"), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}},
	}})
	route := func(protocol, to, scope string, metric uint32, source, gateway netip.Addr) model.Route {
		return model.Route{Table: model.TableMain, Type: "unicast", Protocol: protocol, Destination: netip.MustParsePrefix(to), Scope: scope, Metric: metric, Source: source, NextHops: []model.NextHop{{Link: "eth0", Gateway: gateway}}}
	}
	host.Must(model.AddRoutes{Routes: []model.Route{
		route("static", "0.0.0.0/0", "global", 0, netip.Addr{}, server.Addr()),
		// As networkd has them of a lease.
		route("dhcp", "198.18.0.1/32", "link", 1024, leased.Addr(), netip.Addr{}),
		route("dhcp", "0.0.0.0/0", "global", 1024, leased.Addr(), server.Addr()),
	}})
	dir := t.TempDir()
	file := filepath.Join(dir, "lan.yaml")
	if err := os.WriteFile(file, []byte(persistFile), 0o600); err != nil {
		t.Fatal(err)
	}
	// The namespace is the program's own, and so is its /etc/systemd/network.
	drawbridge := func(code int, says, networkFile string, args ...string) {
		t.Helper()
		etc := filepath.Join(dir, "etc")
		if err := errors.Join(os.RemoveAll(etc), os.Mkdir(etc, 0o755)); err != nil {
			t.Fatal(err)
		}
		if networkFile != "" {
			if err := os.WriteFile(filepath.Join(etc, "10-lan.network"), []byte(networkFile), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		script := `mount --bind "$1" /etc/systemd/network && shift && exec "$@"`
		cmd := exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=/run/netns/" + host.Name(), "unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", etc, filepath.Join(bin, "drawbridge")}, args...)...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), says) {
			t.Errorf("drawbridge %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), code, says, out)
		}
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Join("/run/drawbridge", strconv.FormatUint(host.Cookie(), 10))) })
	testnet.Eventually(t, func() error {
		for _, a := range host.Look().AddressesOf("eth0") {
			if a.Origin == model.RA && !a.Flags.Tentative {
				return nil
			}
		}
		return errors.New("no router was heard")
	})
	verify := []string{"persist", "verify", "--manager", "networkd", file}
	drawbridge(1, "comes first", "", verify...)
	drawbridge(0, "", "", "up", "--yes", file)
	drawbridge(0, "verified: networkd", "", verify...)
	drawbridge(1, "who that is is not known", "", "persist", "verify", "--manager", "unit", file)
	// The user's file has another address than the host: the host's would not come back,
	// however long one waits.
	drawbridge(1, "differs: br0: address 198.18.0.5/24: is not there", "[Match]\nName=eth0\n[Network]\nAddress=198.18.0.9/24\nAddress=2001:db8::5/64\nGateway=198.18.0.1\n", append(verify, "--timeout", "4s")...)
	if left, _ := filepath.Glob("/run/netns/drawbridge-verify-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
