package trace_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
	"drawbridge/internal/trace"
)

// randomRoutes are commands that fill a namespace's tables and rules.
func randomRoutes(r *rand.Rand) []string {
	var out []string
	links := []string{"a", "b", "c", "d"}
	link := func() string { return links[r.IntN(len(links))] }
	prefix4 := func() string {
		bits := []int{8, 15, 16, 20, 24, 25, 28, 32}[r.IntN(8)]
		a := netip.AddrFrom4([4]byte{198, byte(18 + r.IntN(2)), byte(r.IntN(8)), byte(r.IntN(256))})
		return netip.PrefixFrom(a, bits).Masked().String()
	}
	prefix6 := func() string {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", r.IntN(8), r.IntN(256)))
		return netip.PrefixFrom(a, []int{32, 44, 48, 64, 120, 128}[r.IntN(6)]).Masked().String()
	}
	for _, v6 := range []bool{false, true} {
		ip, prefix, gateway := "ip", prefix4, func(l string) string { return fmt.Sprintf("198.18.%d.9", 100+strings.Index("abcd", l)) }
		if v6 {
			ip, prefix, gateway = "ip -6", prefix6, func(l string) string { return fmt.Sprintf("2001:db8:10%d::9", strings.Index("abcd", l)) }
		}
		table := func() string { return []string{"main", "main", "100", "101", "102"}[r.IntN(5)] }
		for range 20 {
			dst := prefix()
			if r.IntN(6) == 0 {
				dst = "default"
			}
			tail := fmt.Sprintf("table %s metric %d", table(), 100+r.IntN(3))
			switch r.IntN(10) {
			case 0:
				out = append(out, fmt.Sprintf("%s route add %s %s %s", ip, []string{"unreachable", "blackhole", "prohibit", "throw"}[r.IntN(4)], dst, tail))
			case 1:
				x, y := link(), link()
				out = append(out, fmt.Sprintf("%s route add %s %s nexthop via %s dev %s nexthop via %s dev %s", ip, dst, tail, gateway(x), x, gateway(y), y))
			case 2, 3:
				out = append(out, fmt.Sprintf("%s route add %s dev %s %s", ip, dst, link(), tail))
			default:
				l := link()
				out = append(out, fmt.Sprintf("%s route add %s via %s dev %s %s", ip, dst, gateway(l), l, tail))
			}
		}
		for range 6 {
			selector := []string{"from " + prefix(), "to " + prefix(), "iif " + link(), "fwmark 0x1", "fwmark 0x2/0x3", "from all", "not from " + prefix(), "iif lo", "oif " + link(), "not fwmark 0x1"}[r.IntN(10)]
			action := []string{"lookup 100", "lookup 101", "lookup 102", "lookup main suppress_prefixlength 0", "unreachable", "blackhole", "prohibit", "lookup 100 suppress_prefixlength 24", "goto 5000"}[r.IntN(9)]
			if v6 && r.IntN(3) > 0 && !strings.Contains(action, "lookup") { // what ends it, seldom
				action = "lookup 101"
			}
			out = append(out, fmt.Sprintf("%s rule add pref %d %s %s", ip, 1000+r.IntN(3000), selector, action))
		}
		out = append(out, ip+" rule add pref 5000 lookup 102")
	}
	return out
}

// What is computed from a snapshot is what the kernel itself answers: over random tables, rules
// and questions, of both families, of packets of the stack's own, of such that come in, and of
// marked ones.
func TestRoutesAgree(t *testing.T) {
	testnet.Require(t)
	testnet.RequireCommand(t, "ip", "iproute2")
	asked, several, doubts := 0, 0, 0
	types := map[string]int{}
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 48))
		host, other := testnet.New(t), testnet.New(t)
		batch := []string{"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"}
		for i, l := range []string{"a", "b", "c", "d"} {
			host.Veth(l, other, l)
			batch = append(batch, fmt.Sprintf("sysctl -qw net.ipv4.conf.%s.rp_filter=0 net.ipv4.conf.%s.accept_local=1", l, l),
				fmt.Sprintf("ip addr add 198.18.%d.1/24 dev %s", 100+i, l), fmt.Sprintf("ip addr add 2001:db8:10%d::1/64 dev %s nodad", i, l))
		}
		batch = append(batch, "ip addr add 198.18.100.7/24 dev a", "ip addr add 198.18.200.1/32 dev lo", "ip link set d down")
		batch = append(batch, randomRoutes(r)...)
		host.Inside(func() error {
			for _, line := range batch { // what repeats another is refused, and no matter
				words := strings.Fields(line)
				_ = exec.Command(words[0], words[1:]...).Run()
			}
			return nil
		})
		ns := host.Look()
		for range 400 {
			q := randomQuery(r)
			want, err := host.LookupRoute(q)
			if err != nil {
				continue // of one that may not even be asked: a source that is its own by a link
			}
			got, doubt, many := trace.LookUp(ns, q)
			asked++
			if doubt != "" {
				doubts++
				continue
			}
			types[want.Type]++
			if many {
				several++
				got.Link, got.Gateway, got.Source = want.Link, want.Gateway, want.Source
			}
			if q.Source.IsValid() || q.IIF != "" || got.Type != "unicast" { // none is chosen
				got.Source, want.Source = netip.Addr{}, netip.Addr{}
			}
			got, want = decided(got), decided(want)
			if got != want {
				t.Errorf("seed %d: %+v: computed %+v, the kernel says %+v", seed, q, got, want)
			}
		}
		if t.Failed() {
			var all []string
			for _, x := range ns.Rules {
				all = append(all, fmt.Sprint(x))
			}
			t.Logf("%s", strings.Join(all, "\n"))
			return
		}
	}
	t.Logf("%d asked, %d by one of several next hops, %d not known: %v", asked, several, doubts, types)
	if asked < 1500 || doubts > asked/10 || types["unicast"] < asked/4 || len(types) < 5 {
		t.Errorf("%d asked, %d not known, %v: this proves too little", asked, doubts, types)
	}
}

// otherwise is a kernel whose routes are no longer those that were read.
type otherwise struct{ answer model.RouteAnswer }

func (o otherwise) Lookup(string, model.RouteQuery) (model.RouteAnswer, bool) { return o.answer, true }

// Where the kernel is asked and says something else than the tables that were read, its word
// counts, and both are told.
func TestTheKernelsRouteCounts(t *testing.T) {
	s := model.Snapshot{Host: "host", Namespaces: []model.Namespace{guest("", "", "198.18.1.1", "02:00:00:00:00:0a")}}
	s.Namespaces[0].Links[0].Peer = nil
	s.Sort()
	for _, c := range []struct {
		name   string
		answer model.RouteAnswer
		want   string
		dies   bool
	}{
		{"the same", model.RouteAnswer{Type: "unicast", Link: "eth0", Source: netip.MustParseAddr("198.18.1.1"), Table: model.TableMain}, "198.18.1.0/24 dev eth0", false},
		{"another way", model.RouteAnswer{Type: "unicast", Link: "eth0", Gateway: netip.MustParseAddr("198.18.1.7"), Source: netip.MustParseAddr("198.18.1.1")},
			"unicast via 198.18.1.7 dev eth0, by the kernel's own look-up; by the tables that were read: 198.18.1.0/24 dev eth0", false},
		{"none", model.RouteAnswer{}, "host has no route to 198.18.1.9", true},
	} {
		tr, err := trace.Compute(&s, trace.Query{From: "host", To: "198.18.1.9"}, otherwise{c.answer})
		if err != nil {
			t.Fatal(err)
		}
		first := tr.Hops[0].Decisions[0]
		if first.By != trace.ByRoute || first.Text != c.want || (first.Result == trace.Dies) != c.dies {
			t.Errorf("%s: %+v, want %q", c.name, first, c.want)
		}
	}
}

// decided leaves out of an answer what decides nothing: what of a stack's own is on the way to
// itself, and what a route has that leads nowhere. One that is unreachable the kernel tells no
// more than one that is not there.
func decided(a model.RouteAnswer) model.RouteAnswer {
	switch a.Type {
	case "unicast":
		return a
	case "local", "broadcast", "anycast":
		return model.RouteAnswer{Type: a.Type, Table: a.Table}
	case "unreachable":
		return model.RouteAnswer{}
	}
	return model.RouteAnswer{Type: a.Type}
}

func randomQuery(r *rand.Rand) model.RouteQuery {
	q := model.RouteQuery{Destination: netip.AddrFrom4([4]byte{198, byte(18 + r.IntN(2)), byte(r.IntN(8)), byte(r.IntN(256))})}
	src := netip.AddrFrom4([4]byte{198, 18, byte(r.IntN(8)), byte(r.IntN(255) + 1)})
	own := netip.AddrFrom4([4]byte{198, 18, byte(100 + r.IntN(3)), 1})
	if r.IntN(2) == 0 {
		q.Destination = netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", r.IntN(8), r.IntN(256)))
		src = netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", r.IntN(8), 1+r.IntN(255)))
		own = netip.MustParseAddr(fmt.Sprintf("2001:db8:10%d::1", r.IntN(3)))
	}
	switch r.IntN(12) {
	case 0:
		q.Destination = own
	case 1: // beyond what any route but a default one is for
		q.Destination = netip.MustParseAddr(map[bool]string{true: "198.19.255.1", false: "2001:db8:ff00::1"}[q.Destination.Is4()])
	case 2:
		if q.Destination.Is4() {
			q.Destination = netip.MustParseAddr("198.18.100.255")
		}
	}
	if r.IntN(3) == 0 {
		q.Mark = uint32(r.IntN(4))
	}
	switch r.IntN(4) {
	case 0:
		q.IIF, q.Source = []string{"a", "b", "c"}[r.IntN(3)], src
	case 1:
		q.Source = own
	case 2:
		q.OIF = []string{"a", "b", "c"}[r.IntN(3)]
	}
	return q
}
