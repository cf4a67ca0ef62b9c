package iproute_test

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawbridge/internal/iproute"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// hostScript makes one of everything that iproute2 and the kernel here can; what the
// kernel lacks is left out.
const hostScript = `
exec 2>/dev/null
ip link add br0 type bridge stp_state 1 vlan_filtering 1 || ip link add br0 type bridge stp_state 1
ip link add eth0 type veth peer name eth0far
ip link set eth0 master br0 group 7 mtu 1400 up
ip link set eth0far address 02:00:00:00:00:09 up
ip link set br0 alias "the LAN" up
ip tuntap add tap0 mode tap user root vnet_hdr multi_queue
ip link set tap0 master br0
bridge link set dev tap0 isolated on hairpin on
ip tuntap add tun0 mode tun
ip link add vx0 type vxlan id 42 dstport 4789 remote 198.18.0.9 local 198.18.0.5 dev eth0far
ip link add mv0 link eth0far type macvlan mode bridge
ip link add iv0 link eth0far type ipvlan mode l2
ip link add gt0 type gretap remote 198.18.0.8 local 198.18.0.5 key 7
ip link add vlan7 link eth0far type vlan id 7
ip link add red type vrf table 77
bridge vlan add dev tap0 vid 10 pvid untagged
bridge vlan add dev tap0 vid 20-22
ip addr add 198.18.0.5/24 dev br0
ip addr add 198.18.0.6/24 dev br0 label br0:second
ip addr add 198.18.4.1 peer 198.18.4.2 dev eth0far
ip addr add 2001:db8::5/64 dev br0 nodad
ip addr add 2001:db8::6/64 dev br0 valid_lft 3000 preferred_lft 0 nodad
ip addr add 198.18.0.99/24 dev br0 valid_lft 3000 preferred_lft 3000
ip route add default via 198.18.0.1 metric 100
ip route add 198.18.9.0/24 nexthop via 198.18.0.2 weight 2 nexthop via 198.18.0.3
ip route add blackhole 198.18.7.0/24 table 77
ip route add 198.18.8.0/24 via 198.18.99.1 dev br0 onlink src 198.18.0.6 mtu 1300
ip route add 198.18.6.0/24 via 198.18.0.1 mtu 1400 congctl reno
ip -6 route add default via 2001:db8::1 metric 5 pref high
ip rule add iif br0 fwmark 3 lookup 77
ip rule add from 198.18.0.0/24 to 198.18.9.1 lookup main
ip neigh add 198.18.0.2 lladdr 02:00:00:00:00:0a dev br0
ip neigh add proxy 198.18.0.77 dev br0
bridge fdb add 02:00:00:00:00:0b dev eth0 master static
ip link add v0 type veth peer name v1 netns "$1"
exit 0
`

// The picture that is made of the collector's text is the picture that is made of the
// kernel's own answers.
func TestTheCollectorSeesWhatTheKernelSays(t *testing.T) {
	host, other := testnet.New(t), testnet.New(t)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", append([]string{"netns", "exec", host.Name()}, args...)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", args[0], err)
		}
		return string(out)
	}
	run("sh", "-c", hostScript, "sh", other.Name())
	run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	var live, far model.Namespace
	for range 50 { // until addresses and carriers have settled
		before := host.Look().Clone()
		bundle := run("sh", "-c", iproute.Collector, "sh", other.Name())
		live = host.Look().Clone()
		unsaid(&before)
		unsaid(&live)
		if !cmp.Equal(before, live, pointers) {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s, missing, err := iproute.Read(iproute.File{Data: []byte(bundle)})
		if err != nil || len(missing) > 0 {
			t.Fatal(err, missing)
		}
		far = *s.Here()
		break
	}
	if len(far.Links) < 8 {
		t.Fatalf("%d links only", len(far.Links))
	}
	if !far.Forwards() {
		t.Errorf("the collector does not see that the host forwards: %v", far.Settings)
	}
	unsaid(&far)
	if diff := cmp.Diff(live, far, pointers); diff != "" {
		t.Errorf("the kernel (-) and iproute2 (+) differ:\n%s", diff)
	}
}

// unsaid takes out what ip(8) does not print.
func unsaid(n *model.Namespace) {
	n.Name, n.Settings, n.SourceNAT = "", nil, nil
	for i := range n.Links {
		l := &n.Links[i]
		l.Driver, l.Token = "", ""
		if l.Tap != nil {
			l.Tap.Owner, l.Tap.Group = nil, nil // their names are printed
		}
		for _, ref := range []*model.Ref{l.Peer, l.Parent} {
			if ref != nil && strings.HasPrefix(ref.Namespace, "test") {
				ref.Namespace = ""
			}
		}
	}
	for i := range n.Addresses {
		n.Addresses[i].Protocol = 0 // printed since iproute2 6.3
		if n.Addresses[i].Lifetime != nil {
			n.Addresses[i].Lifetime.Valid = 0 // seconds go by
			if n.Addresses[i].Lifetime.Preferred > 0 {
				n.Addresses[i].Lifetime.Preferred = 1
			}
		}
	}
}

var pointers = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}

// A veth pair across two namespaces is found again in a bundle of both.
func TestPairsAcrossNamespaces(t *testing.T) {
	host, other := testnet.New(t), testnet.New(t)
	host.Veth("v0", other, "v1")
	out, err := exec.Command("ip", "netns", "exec", host.Name(), "sh", "-c", iproute.Collector, "sh", other.Name()).Output()
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := iproute.Read(iproute.File{Data: out})
	if err != nil {
		t.Fatal(err)
	}
	want := model.Ref{Namespace: other.Name(), Name: "v1"}
	if l := s.Here().Link("v0"); l == nil || l.Peer == nil || *l.Peer != want {
		t.Errorf("%+v", l)
	}
	k, err := kernel.OpenNamed(host.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	all, _, err := kernel.ObserveAll(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	live := model.Snapshot{Namespaces: all}
	if l := live.Here().Link("v0"); l == nil || l.Peer == nil || *l.Peer != want {
		t.Errorf("the kernel: %+v", l)
	}
}
