package kernel_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// host makes a host with eth0 on a LAN: IPv4 and IPv6, secondary addresses, default
// routes, another table, and a second uplink with equal prefixes.
func host(t *testing.T) (host, lan *testnet.Net) {
	t.Helper()
	host, lan = testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "port0")
	host.Veth("eth1", lan, "port1")
	lan.Must(
		model.CreateBridge{Name: "switch", MAC: "02:00:00:00:99:01", MTU: 1500},
		model.SetMaster{Link: "port0", Master: "switch"},
		model.AddAddresses{Link: "switch", Addresses: []model.Address{address("198.18.0.1/24"), address("2001:db8::1/64", nodad)}})
	host.Must(
		model.AddAddresses{Link: "eth0", Addresses: []model.Address{first, second, other, six, six2,
			address("198.18.3.1/32", func(a *model.Address) { a.Peer = netip.MustParsePrefix("198.18.3.2/32") }),
			address("198.18.4.1/24", func(a *model.Address) { a.Label, a.Metric = "eth0:4", 44 }),
			address("2001:db8:4::1/64", nodad, func(a *model.Address) { a.Lifetime = &model.Lifetime{Valid: 5000, Preferred: 0} })}},
		model.AddAddresses{Link: "eth1", Addresses: []model.Address{address("198.18.0.55/24"), address("2001:db8::55/64", nodad)}},
		addRoutes(default4, default6, tabled, sized, route("198.18.77.0/24", "198.18.0.1", "eth1", metric(7))),
	)
	run(t, host, "ip neigh add 198.18.0.77 lladdr 02:00:00:00:77:77 dev eth0 nud permanent")
	run(t, host, "ip rule add from 198.18.0.5 iif eth0 table 100 priority 77")
	run(t, host, "ip route add 198.18.78.0/24 via 198.18.0.1 dev eth0 mtu lock 1400 congctl reno rto_min 5s")
	testnet.Eventually(t, func() error { return errors.Join(settled(host, "eth0"), settled(host, "eth1")) })
	return host, lan
}

// settled waits for the link's own IPv6 address, whose arrival is no part of a cutover.
func settled(n *testnet.Net, link string) error {
	ns := n.Look()
	for _, a := range ns.AddressesOf(link) {
		if a.Origin == model.LinkLocal && !a.Flags.Tentative {
			return nil
		}
	}
	return fmt.Errorf("%s has no link-local address yet", link)
}

func run(t *testing.T, n *testnet.Net, command string) string {
	t.Helper()
	var out []byte
	n.Inside(func() error {
		words := strings.Fields(command)
		cmd := exec.Command(words[0], words[1:]...)
		// ip says there what is not about this namespace: that the peer of some link was in
		// one that is gone by now, another test's.
		var complaints strings.Builder
		cmd.Stderr = &complaints
		var err error
		if out, err = cmd.Output(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, complaints.String())
		}
		return nil
	})
	return string(out)
}

func movable(ns *model.Namespace, link string) (as []model.Address, rs []model.Route) {
	for _, a := range ns.AddressesOf(link) {
		if a.Origin != model.LinkLocal {
			as = append(as, a)
		}
	}
	for _, r := range ns.RoutesOf(link) {
		if r.Table != model.TableLocal && r.Destination.String() != "fe80::/64" && r.Destination.String() != "ff00::/8" {
			rs = append(rs, r)
		}
	}
	return as, rs
}

// cutover moves a host's place from eth0 to br0, in the order that loses nothing.
func cutover(n *testnet.Net) {
	ns := n.Look()
	as, rs := movable(ns, "eth0")
	n.Must(
		model.CreateBridge{Name: "br0", MAC: ns.Link("eth0").MAC, MTU: ns.Link("eth0").MTU},
		model.AddAddresses{Link: "br0", Addresses: inTransit(as)},
		model.SetMaster{Link: "eth0", Master: "br0"},
		model.WaitUp{Link: "br0", Timeout: 3000},
		model.CopyNeighbours{From: "eth0", To: "br0"},
		model.MoveRoutes{From: "eth0", To: "br0", Routes: rs},
		model.DeleteAddresses{Link: "eth0", Addresses: as},
		model.SettleAddresses{Link: "br0", Addresses: as})
}

// wayBack is the cutover's opposite.
func wayBack(n *testnet.Net) {
	as, rs := movable(n.Look(), "br0")
	n.Must(
		model.AddAddresses{Link: "eth0", Addresses: inTransit(as)},
		model.CopyNeighbours{From: "br0", To: "eth0"},
		model.MoveRoutes{From: "br0", To: "eth0", Routes: rs},
		model.SetMaster{Link: "eth0"},
		model.DeleteAddresses{Link: "br0", Addresses: as},
		model.SettleAddresses{Link: "eth0", Addresses: as},
		model.DeleteLink{Name: "br0"})
}

func TestCutoverAndBack(t *testing.T) {
	t.Parallel()
	n, _ := host(t)
	before, text := n.Look(), dumps(t, n)
	cutover(n)
	between := n.Look()
	if as, rs := movable(between, "eth0"); len(as)+len(rs) > 0 {
		t.Errorf("left on eth0: %v %v", as, rs)
	}
	for _, a := range between.AddressesOf("br0") {
		if a.Flags.NoPrefixRoute {
			t.Errorf("%s still has noprefixroute", a.Prefix)
		}
	}
	if !slices.ContainsFunc(between.Neighbours, func(nb model.Neighbour) bool {
		return nb.Link == "br0" && nb.Address.String() == "198.18.0.77" && nb.MAC == "02:00:00:00:77:77" && nb.State == "permanent"
	}) {
		t.Errorf("the static neighbour is not on br0: %v", between.Neighbours)
	}
	was, _ := movable(before, "eth0")
	is, _ := movable(between, "br0")
	if len(was) != len(is) {
		t.Errorf("%d addresses on eth0 before, %d on br0 after", len(was), len(is))
	}
	wayBack(n)
	if diff := diffNamespaces(before.Normalised(), n.Look().Normalised()); diff != "" {
		t.Errorf("before (-) and after the way back (+):\n%s", diff)
	}
	if diff := cmp.Diff(text, dumps(t, n)); diff != "" {
		t.Errorf("iproute2, before (-) and after the way back (+):\n%s", diff)
	}
}

// TestBridgeDownUp: what interim flags left behind would show when the bridge goes down
// and up: no connected routes.
func TestBridgeDownUp(t *testing.T) {
	t.Parallel()
	n, _ := host(t)
	cutover(n)
	n.Must(model.SetUp{Link: "br0"}, model.SetUp{Link: "br0", Up: true})
	ns := n.Look()
	found := false
	for _, r := range ns.RoutesOf("br0") {
		found = found || r.Destination.String() == "198.18.0.0/24" && r.Protocol == "kernel"
	}
	if !found {
		t.Error("no connected route after down and up")
	}
}

// dumps is the host in iproute2's own words, by which nobody of ours is believed.
func dumps(t *testing.T, n *testnet.Net) []string {
	t.Helper()
	var out, local []string
	for _, command := range []string{"ip -d addr show", "ip -4 route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule", "ip -d link show"} {
		for line := range strings.Lines(run(t, n, command)) {
			if strings.Contains(line, "valid_lft") {
				continue // running lifetimes
			}
			line = withoutRunning(line)
			if strings.Contains(line, "table local") {
				local = append(local, line) // the kernel's own, in the order of the addresses
			} else {
				out = append(out, line)
			}
		}
	}
	slices.Sort(local)
	return append(out, local...)
}

// withoutRunning drops what the kernel counts: promiscuity, expiries.
func withoutRunning(line string) string {
	words := strings.Fields(line)
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "promiscuity", "expires", "allmulti":
			words[i+1] = "N"
		}
	}
	return strings.Join(words, " ")
}

func diffNamespaces(a, b model.Namespace) string {
	return cmp.Diff(a, b, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}

// TestCutoverLosesNothing sends 1,000 datagrams a second from the LAN to the host and
// waits for each to come back, through a cutover and the way back.
func TestCutoverLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 2 s")
	}
	n, lan := host(t)
	for _, target := range []string{"198.18.0.5", "2001:db8::5"} {
		stop := echo(t, n, target)
		lost := probe(t, lan, target, func() {
			time.Sleep(200 * time.Millisecond)
			cutover(n)
			time.Sleep(300 * time.Millisecond)
			wayBack(n)
			time.Sleep(200 * time.Millisecond)
		})
		stop()
		t.Logf("%s: %d lost", target, lost)
		if lost > 2 { // a busy machine; the moment without the tcx guard is some microseconds
			t.Errorf("%s: %d datagrams lost", target, lost)
		}
	}
}

func echo(t *testing.T, n *testnet.Net, at string) (stop func()) {
	t.Helper()
	var c *net.UDPConn
	n.Inside(func() (err error) {
		c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(at), Port: 7})
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64)
		for {
			k, from, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDP(b[:k], from)
		}
	}()
	return func() { c.Close(); <-done }
}

// probe counts the datagrams that did not come back while fn ran.
func probe(t *testing.T, n *testnet.Net, to string, fn func()) int {
	t.Helper()
	var c *net.UDPConn
	n.Inside(func() (err error) {
		c, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(to), Port: 7})
		return err
	})
	received := make(chan int)
	go func() {
		count, b := 0, make([]byte, 64)
		for {
			if _, err := c.Read(b); err != nil {
				var ne net.Error
				if errors.As(err, &ne) && ne.Timeout() || strings.Contains(err.Error(), "closed") {
					received <- count
					return
				}
				continue // an ICMP error: lost
			}
			count++
		}
	}()
	over := make(chan struct{})
	go func() { fn(); close(over) }()
	sent, tick := 0, time.NewTicker(time.Millisecond)
	defer tick.Stop()
loop:
	for {
		select {
		case <-over:
			break loop
		case <-tick.C:
			if _, err := c.Write([]byte("probe")); err == nil {
				sent++
			}
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	got := <-received
	c.Close()
	if sent == 0 {
		t.Fatal("nothing sent")
	}
	return sent - got
}
