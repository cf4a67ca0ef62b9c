package kernel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// TestObserveAgreesWithIP compares with what iproute2 says of the same namespace.
func TestObserveAgreesWithIP(t *testing.T) {
	t.Parallel()
	n, _ := host(t)
	cutover(n)
	ns := n.Look()
	var links []struct {
		Name      string   `json:"ifname"`
		Index     int      `json:"ifindex"`
		MTU       int      `json:"mtu"`
		State     string   `json:"operstate"`
		MAC       string   `json:"address"`
		Master    string   `json:"master"`
		Flags     []string `json:"flags"`
		Group     string   `json:"group"`
		Qdisc     string   `json:"qdisc"`
		Addresses []struct {
			Local     string `json:"local"`
			Len       int    `json:"prefixlen"`
			Secondary bool   `json:"secondary"`
			Label     string `json:"label"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(run(t, n, "ip -j -d addr show")), &links); err != nil {
		t.Fatal(err)
	}
	if len(links) != len(ns.Links) {
		t.Errorf("ip has %d links, Observe %d", len(links), len(ns.Links))
	}
	for _, want := range links {
		got := ns.Link(want.Name)
		if got == nil {
			t.Errorf("%s is missing", want.Name)
			continue
		}
		if got.Index != want.Index || got.MTU != want.MTU || got.OperState != strings.ToLower(want.State) || string(got.MAC) != want.MAC ||
			got.Master != want.Master || got.Qdisc != want.Qdisc || got.Up != slices.Contains(want.Flags, "UP") || got.Carrier != slices.Contains(want.Flags, "LOWER_UP") {
			t.Errorf("%s: got %+v, ip says %+v", want.Name, got, want)
		}
		var says, is []string
		for _, a := range want.Addresses {
			says = append(says, fmt.Sprintf("%s/%d %t", a.Local, a.Len, a.Secondary))
		}
		for _, a := range ns.AddressesOf(want.Name) {
			is = append(is, fmt.Sprintf("%s %t", a.Prefix, a.Flags.Secondary))
		}
		if !slices.Equal(says, is) {
			t.Errorf("%s: addresses %v, ip says %v", want.Name, is, says)
		}
	}
	// The kernel still adds its own here while the links come up: both are asked until
	// they were asked in the same moment.
	testnet.Eventually(t, func() error {
		ns := n.Look()
		for family, table := range map[string][]model.Route{"-4": only(ns.Routes, true), "-6": only(ns.Routes, false)} {
			if lines := strings.Count(run(t, n, "ip "+family+" route show table all"), "\n"); lines != len(table) {
				return fmt.Errorf("ip %s has %d routes, Observe %d", family, lines, len(table))
			}
		}
		if lines := strings.Count(run(t, n, "bridge fdb show"), "\n"); lines != len(ns.FDB) {
			return fmt.Errorf("bridge has %d forwarding entries, Observe %d", lines, len(ns.FDB))
		}
		return nil
	})
}

func only(rs []model.Route, four bool) []model.Route {
	return slices.DeleteFunc(slices.Clone(rs), func(r model.Route) bool { return r.Is4() != four })
}

// TestSettingsAgreeWithSysctl checks the places in the kernel's arrays against its files.
func TestSettingsAgreeWithSysctl(t *testing.T) {
	t.Parallel()
	n, _ := host(t)
	for i, s := range []string{"ipv4/conf/eth0/rp_filter", "ipv4/conf/eth0/arp_ignore", "ipv4/conf/eth0/arp_announce", "ipv4/conf/eth0/proxy_arp",
		"ipv4/conf/eth0/accept_local", "ipv4/conf/eth0/arp_filter", "ipv4/conf/eth0/promote_secondaries", "ipv6/conf/eth0/accept_ra", "ipv6/conf/eth0/use_tempaddr", "ipv6/conf/eth0/accept_dad"} {
		n.Must(model.SetSetting{Path: s, Value: []string{"1", "2"}[i%2*boolInt(strings.Contains(s, "arp_ignore"))]})
	}
	ns := n.Look()
	checked := 0
	n.Inside(func() error {
		for path, got := range ns.Settings {
			want, err := os.ReadFile("/proc/sys/net/" + path)
			// The defaults of the neighbour tables have files in the first namespace only
			// (neigh_sysctl_register), and are told by netlink in all.
			if errors.Is(err, fs.ErrNotExist) && strings.Contains(path, "/neigh/default/") {
				continue
			}
			if err != nil {
				return err
			}
			if got != strings.TrimSpace(string(want)) {
				t.Errorf("%s: got %s, the file says %s", path, got, want)
			}
			checked++
		}
		return nil
	})
	if checked < 40 {
		t.Errorf("only %d settings", checked)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestVethPeersAcrossNamespaces(t *testing.T) {
	a, b := testnet.New(t), testnet.New(t)
	a.Veth("eth0", b, "port")
	peer := a.Look().Link("eth0").Peer
	if peer == nil || *peer != (model.Ref{Namespace: b.Name(), Name: "port"}) {
		t.Errorf("peer of eth0: %v", peer)
	}
	all, _, err := kernel.ObserveAll(t.Context(), a.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	if all[0].Name != "" || all[0].Link("eth0") == nil {
		t.Errorf("first is not the namespace that was asked for: %q", all[0].Name)
	}
	i := slices.IndexFunc(all, func(n model.Namespace) bool { return n.Name == b.Name() })
	if i < 0 {
		t.Fatalf("%s is missing", b.Name())
	}
	if peer := all[i].Link("port").Peer; peer == nil || *peer != (model.Ref{Name: "eth0"}) {
		t.Errorf("peer of port: %v, want eth0 in the namespace that was asked for", peer)
	}
}

func TestTapHolders(t *testing.T) {
	testnet.RequireTap(t)
	n, stranger := testnet.New(t), testnet.New(t)
	for _, k := range []*testnet.Net{n, stranger} {
		k.Must(model.CreateTap{Name: "tap0", Owner: &alice}, model.SetUp{Link: "tap0", Up: true})
	}
	if h := n.Look().Link("tap0").Tap.Holders; h != nil {
		t.Fatalf("holders before anybody has it: %v", h)
	}
	fd := hold(t, n, "tap0")
	tap := n.Look().Link("tap0")
	if len(tap.Tap.Holders) != 1 || tap.Tap.Holders[0].PID != os.Getpid() || !tap.Carrier {
		t.Errorf("held: %+v, carrier %t", tap.Tap.Holders, tap.Carrier)
	}
	// This process is in neither namespace, and the other one's tap has the same name.
	if h := stranger.Look().Link("tap0").Tap.Holders; h != nil {
		t.Errorf("a tap of the same name elsewhere is said to be held by %v", h)
	}
	if err := n.ResetTapOffloads("tap0"); !strings.Contains(fmt.Sprint(err), "busy") {
		t.Errorf("reset while held: %v", err)
	}
	unix.Close(fd)
	if err := n.ResetTapOffloads("tap0"); err != nil {
		t.Error(err)
	}
}

func hold(t *testing.T, n *testnet.Net, name string) int {
	t.Helper()
	fd := -1
	n.Inside(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	})
	return fd
}

func TestRights(t *testing.T) {
	n := testnet.New(t)
	if err := n.CheckRights(); err != nil {
		t.Error(err)
	}
	if err := withoutNetAdmin(n.CheckRights); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("without the capability: %v", err)
	}
	err := withoutNetAdmin(func() error {
		_, err := n.Do(t.Context(), model.CreateBridge{Name: "br0"})
		return err
	})
	if !errors.Is(err, model.ErrDenied) {
		t.Errorf("a bridge without the capability: %v", err)
	}
}

// withoutNetAdmin runs fn on a thread that lacks CAP_NET_ADMIN, and ends with it.
func withoutNetAdmin(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&header, &sets[0]); err != nil {
			done <- err
			return
		}
		sets[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&header, &sets[0]); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func TestMoveLink(t *testing.T) {
	a, b := testnet.New(t), testnet.New(t)
	a.Must(model.CreateVeth{Name: "eth0", Peer: model.Ref{Name: "web-vm"}, PeerMAC: "02:00:00:00:00:02"},
		model.MoveLink{Link: "web-vm", Namespace: b.Name(), NewName: "eth1"})
	if a.Look().Link("web-vm") != nil {
		t.Error("still here")
	}
	if l := b.Look().Link("eth1"); l == nil || l.MAC != "02:00:00:00:00:02" || *l.Peer != (model.Ref{Namespace: a.Name(), Name: "eth0"}) {
		t.Errorf("there it is %+v", l)
	}
	if peer := a.Look().Link("eth0").Peer; *peer != (model.Ref{Namespace: b.Name(), Name: "eth1"}) {
		t.Errorf("its peer says %v", peer)
	}
	if _, err := a.Do(t.Context(), model.MoveLink{Link: "eth0", Namespace: "no-such-namespace"}); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("into nowhere: %v", err)
	}
	b.Must(model.DeleteLink{Name: "eth1"})
	if a.Look().Link("eth0") != nil {
		t.Error("half a pair is left")
	}
}

func TestPortLimit(t *testing.T) {
	t.Parallel()
	n := manyTaps(t, 1023)
	n.Must(model.CreateTap{Name: "last"})
	if _, err := n.Do(t.Context(), model.SetMaster{Link: "last", Master: "br0"}); !errors.Is(err, model.ErrPortLimit) {
		t.Errorf("port 1,024: %v", err)
	}
}

// TestMacvlanParent: a link with macvlans cannot be a port.
func TestMacvlanParent(t *testing.T) {
	n := testnet.New(t)
	n.Must(concat(cable("eth0"), ops(model.CreateBridge{Name: "br0"}))...)
	run(t, n, "ip link add mv0 link eth0 type macvlan mode bridge")
	mv := n.Look().Link("mv0")
	if mv.Kind != model.Macvlan || mv.Mode != "bridge" || *mv.Parent != (model.Ref{Name: "eth0"}) {
		t.Errorf("macvlan observed as %+v", mv)
	}
	_, err := n.Do(t.Context(), model.SetMaster{Link: "eth0", Master: "br0"})
	if !errors.Is(err, model.ErrBusy) {
		t.Errorf("got %v", err)
	}
	t.Log(err)
}

func TestTryingATapLeavesNone(t *testing.T) {
	testnet.RequireTap(t)
	n := testnet.New(t)
	before := len(n.Look().Links)
	if err := n.CanMakeTap(); err != nil {
		t.Fatal(err)
	}
	if after := len(n.Look().Links); after != before {
		t.Errorf("%d links before, %d after", before, after)
	}
}

func TestWatchRings(t *testing.T) {
	n := testnet.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	bell, err := n.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n.Must(model.CreateBridge{Name: "br0"})
	select {
	case <-bell:
	case <-time.After(5 * time.Second):
		t.Error("no ring")
	}
	cancel()
	for range bell {
	}
}

func TestOpenNamedSaysWhatThereIs(t *testing.T) {
	_, err := kernel.OpenNamed("no-such-namespace")
	if err == nil || !strings.Contains(err.Error(), "hint") {
		t.Errorf("got %v", err)
	}
	if _, err := kernel.OpenNamed("../etc"); err == nil {
		t.Error("a path was taken for a name")
	}
}

// TestIPFinds: iproute2 knows our namespaces, and we know its.
func TestIPFinds(t *testing.T) {
	n := testnet.New(t)
	out, err := exec.Command("ip", "netns", "exec", n.Name(), "ip", "-br", "link").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "UP") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPrefixes(t *testing.T) {
	// What the tests use stays in the ranges set aside for them (RFC 2544, RFC 3849).
	for _, a := range []model.Address{first, second, other, six, six2} {
		if !netip.MustParsePrefix("198.18.0.0/15").Contains(a.Prefix.Addr()) && !netip.MustParsePrefix("2001:db8::/32").Contains(a.Prefix.Addr()) {
			t.Errorf("%s", a.Prefix)
		}
	}
}

// manyTaps makes a namespace with 1,000 taps in one bridge.
func manyTaps(t testing.TB, count int) *testnet.Net {
	t.Helper()
	testnet.RequireTap(t)
	n := testnet.New(t)
	n.Must(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:09", MTU: 1500})
	for i := range count {
		name := fmt.Sprintf("tap%d", i)
		n.Must(model.CreateTap{Name: name, Owner: &alice}, model.SetMaster{Link: name, Master: "br0"}, model.SetUp{Link: name, Up: true})
	}
	return n
}

func BenchmarkObserve1000Taps(b *testing.B) {
	n := manyTaps(b, 1000)
	b.Run("observe", func(b *testing.B) {
		for b.Loop() {
			if ns := n.Look(); len(ns.Links) < 1000 {
				b.Fatal(len(ns.Links))
			}
		}
	})
	b.Run("iproute2", func(b *testing.B) {
		for b.Loop() {
			for _, command := range []string{"ip -d -j link", "ip -j addr", "ip -j route", "bridge -j fdb"} {
				args := append([]string{"netns", "exec", n.Name()}, strings.Fields(command)...)
				if err := exec.Command("ip", args...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
