package kernel_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

const (
	raLifetime   = 30 // of the router, s
	raPreferred  = 40
	raValid      = 60
	slaacSubnet  = "2001:db8:a::/64"
	allNodesAddr = "ff02::1"
)

// advertise sends one router advertisement (RFC 4861, 4.2) from a link: a default
// route, and a prefix for SLAAC.
func advertise(t *testing.T, n *testnet.Net, link string) {
	t.Helper()
	b := []byte{134, 0, 0, 0, 64, 0}
	b = binary.BigEndian.AppendUint16(b, raLifetime)
	b = append(b, make([]byte, 8)...)
	b = append(b, 3, 4, 64, 0xc0) // prefix information, on-link and autonomous
	b = binary.BigEndian.AppendUint32(b, raValid)
	b = binary.BigEndian.AppendUint32(b, raPreferred)
	b = append(b, 0, 0, 0, 0)
	b = append(b, netip.MustParsePrefix(slaacSubnet).Addr().AsSlice()...)
	index := n.Look().Link(link).Index
	n.Inside(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index); err != nil {
			return err
		}
		return unix.Sendto(fd, b, 0, &unix.SockaddrInet6{Addr: netip.MustParseAddr(allNodesAddr).As16(), ZoneId: uint32(index)})
	})
}

// slaac finds the SLAAC address of a link, and the kernel's own RA default route by it.
func slaac(n *testnet.Net, link string) (a *model.Address, own *model.Route) {
	ns := n.Look()
	for _, x := range ns.AddressesOf(link) {
		if netip.MustParsePrefix(slaacSubnet).Contains(x.Prefix.Addr()) && !x.Flags.Tentative {
			a = &x
		}
	}
	for _, r := range ns.RoutesOf(link) {
		if r.Protocol == "ra" && r.IsDefault() && r.Metric == model.MetricRA {
			own = &r
		}
	}
	return a, own
}

// TestCutoverOfSLAAC: RAs go on being heard, and refresh what they gave, on br0 and on
// eth0 again.
func TestCutoverOfSLAAC(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for lifetimes to run")
	}
	n, lan := testnet.New(t), testnet.New(t)
	n.Veth("eth0", lan, "port0")
	testnet.Eventually(t, func() error { return settled(lan, "port0") })
	testnet.Eventually(t, func() error {
		advertise(t, lan, "port0")
		if a, own := slaac(n, "eth0"); a == nil || own == nil {
			return fmt.Errorf("no SLAAC address or route: %v %v", a, own)
		}
		return nil
	})
	a, _ := slaac(n, "eth0")
	if a.Origin != model.RA || a.Lifetime == nil {
		t.Errorf("SLAAC address observed as %+v", a)
	}
	before := n.Look()
	cutover(n)
	refreshed(t, n, lan, "br0")
	wayBack(n)
	refreshed(t, n, lan, "eth0")
	if diff := diffNamespaces(before.Normalised(), n.Look().Normalised()); diff != "" {
		t.Errorf("before (-) and after the way back (+):\n%s", diff)
	}
}

func refreshed(t *testing.T, n, lan *testnet.Net, link string) {
	t.Helper()
	time.Sleep(2 * time.Second) // lifetimes run
	testnet.Eventually(t, func() error {
		advertise(t, lan, "port0")
		time.Sleep(50 * time.Millisecond)
		a, own := slaac(n, link)
		if a == nil || a.Lifetime == nil || a.Lifetime.Valid < raValid-1 {
			return fmt.Errorf("%s: address is not refreshed: %+v", link, a)
		}
		if own == nil || own.Expires < raLifetime-1 {
			return fmt.Errorf("%s: no default route of the kernel's own: %+v", link, own)
		}
		for _, r := range n.Look().RoutesOf(link) {
			if r.Destination.String() == slaacSubnet && r.Expires < raValid-1 {
				return fmt.Errorf("%s: prefix route is not refreshed: %+v", link, r)
			}
		}
		return nil
	})
}

func TestCutoverOfNextHopObjects(t *testing.T) {
	t.Parallel()
	n, _ := host(t)
	run(t, n, "ip nexthop add id 10 via 198.18.0.1 dev eth0")
	run(t, n, "ip nexthop add id 11 via 198.18.0.1 dev eth1")
	run(t, n, "ip nexthop add id 12 group 10,2/11")
	run(t, n, "ip -6 nexthop add id 16 via 2001:db8::1 dev eth0")
	run(t, n, "ip route add 198.18.80.0/24 nhid 10")
	run(t, n, "ip route add 198.18.81.0/24 nhid 12")
	run(t, n, "ip -6 route add 2001:db8:80::/64 nhid 16")
	before, text := n.Look(), run(t, n, "ip nexthop")
	cutover(n)
	for _, r := range n.Look().RoutesOf("eth0") {
		if r.NextHopID != 0 {
			t.Errorf("still by eth0: %+v", r)
		}
	}
	wayBack(n)
	if diff := diffNamespaces(before.Normalised(), n.Look().Normalised()); diff != "" {
		t.Errorf("before (-) and after the way back (+):\n%s", diff)
	}
	if after := run(t, n, "ip nexthop"); after != text {
		t.Errorf("nexthop objects before\n%safter\n%s", text, after)
	}
}

func TestCutoverOfIPv6Multipath(t *testing.T) {
	t.Parallel()
	n, _ := host(t)
	run(t, n, "ip -6 route add 2001:db8:90::/64 nexthop via 2001:db8::1 dev eth0 weight 2 nexthop via 2001:db8::2 dev eth1")
	run(t, n, "ip -6 route add default via 2001:db8::2 dev eth1 metric 2000")
	run(t, n, "ip route add 198.18.90.0/24 nexthop via 198.18.0.1 dev eth0 weight 2 nexthop via 198.18.0.2 dev eth1")
	run(t, n, "ip -6 route append default via 2001:db8::3 dev eth1 metric 1024") // a further leg
	before, text := n.Look(), dumps(t, n)
	cutover(n)
	for _, r := range n.Look().RoutesOf("eth0") {
		if r.Table != model.TableLocal && len(r.NextHops) > 1 {
			t.Errorf("still by eth0: %+v", r)
		}
	}
	wayBack(n)
	if diff := diffNamespaces(before.Normalised(), n.Look().Normalised()); diff != "" {
		t.Errorf("before (-) and after the way back (+):\n%s", diff)
	}
	if diff := cmp.Diff(text, dumps(t, n)); diff != "" {
		t.Errorf("iproute2, before (-) and after the way back (+):\n%s", diff)
	}
}
