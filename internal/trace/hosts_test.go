package trace_test

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/probe"
	"drawbridge/internal/testnet"
	"drawbridge/internal/trace"
)

// host is a router between two namespaces: far - (up) host (br0: tap) - near.
type host struct{ far, host, near, twin *testnet.Net }

func run(t *testing.T, n *testnet.Net, line string) {
	t.Helper()
	words := strings.Fields(line)
	n.Inside(func() error {
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
		}
		return nil
	})
}

// build makes it, whole: who is near pings who is far.
func build(t *testing.T) host {
	t.Helper()
	h := host{testnet.New(t), testnet.New(t), testnet.New(t), testnet.New(t)}
	h.host.Veth("spare", h.twin, "eth0")
	h.host.Veth("up", h.far, "eth0")
	h.host.Veth("port", h.near, "eth0")
	for _, line := range []string{
		"ip link add br0 type bridge forward_delay 0", "ip link set br0 up", "ip link set port master br0", "ip link set spare master br0",
		"ip addr add 198.18.1.1/24 dev br0", "ip addr add 198.18.0.1/24 dev up",
		"sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.all.rp_filter=0", "sysctl -qw net.ipv4.conf.up.rp_filter=0", "sysctl -qw net.ipv4.conf.br0.rp_filter=0",
	} {
		run(t, h.host, line)
	}
	run(t, h.far, "ip addr add 198.18.0.9/24 dev eth0")
	run(t, h.far, "ip route add 198.18.1.0/24 via 198.18.0.1")
	run(t, h.near, "ip addr add 198.18.1.9/24 dev eth0")
	run(t, h.near, "ip route add default via 198.18.1.1")
	testnet.Eventually(t, func() error {
		if !h.pings() {
			return errors.New("no answer before the fault")
		}
		return nil
	})
	return h
}

func (h host) trace(t *testing.T, size int) *trace.Trace {
	t.Helper()
	s := model.Snapshot{Host: "host"}
	for _, n := range []*testnet.Net{h.host, h.far, h.near, h.twin} {
		list, _, err := kernel.ObserveWith(context.Background(), n.Kernel, kernel.What{Ruleset: true})
		if err != nil {
			t.Fatal(err)
		}
		ns := list[0]
		if n != h.host {
			ns.Name = n.Name()
		}
		s.Namespaces = append(s.Namespaces, ns)
	}
	there := map[string]*testnet.Net{"up": h.far, "port": h.near, "spare": h.twin}
	for i := range s.Namespaces {
		ns := &s.Namespaces[i]
		for j := range ns.Links {
			if p := ns.Links[j].Peer; p != nil {
				if ns.Name == "" {
					*p = model.Ref{Namespace: there[ns.Links[j].Name].Name(), Name: "eth0"}
					continue
				}
				for link, n := range there {
					if n.Name() == ns.Name {
						*p = model.Ref{Name: link}
					}
				}
			}
		}
	}
	s.Sort()
	tr, err := trace.Compute(&s, trace.Query{From: h.near.Name(), To: "198.18.0.9", Size: size}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func (h host) pings() bool { return h.pingsWith(64) }

// pingsWith sends an echo request of a number of bytes, its headers included, that may not be
// fragmented.
func (h host) pingsWith(size int) bool {
	ok := false
	h.near.Inside(func() error {
		ok = exec.Command("ping", "-c1", "-W1", "-M", "do", "-s", strconv.Itoa(size-28), "198.18.0.9").Run() == nil
		return nil
	})
	return ok
}

// confirm sends a marked packet as the trace has it, and holds against it where that is seen.
func (h host) confirm(t *testing.T, tr *trace.Trace) {
	t.Helper()
	m := probe.NewMarked(tr.From.Address, tr.To.Address, tr.Protocol, tr.Port, tr.Size)
	watched := map[string]*probe.Watcher{}
	for _, x := range []struct {
		n    *testnet.Net
		link string
	}{{h.near, "eth0"}, {h.host, "port"}, {h.host, "br0"}, {h.host, "up"}, {h.far, "eth0"}} {
		id := "host/" + x.link
		if x.n != h.host {
			id = "netns:" + x.n.Name() + "/" + x.link
		}
		x.n.Inside(func() error {
			w, err := m.Watch(x.link)
			if err == nil {
				watched[id] = w
				t.Cleanup(func() { _ = w.Close() })
			}
			return err
		})
	}
	at := func() map[string]trace.Sighting {
		out := map[string]trace.Sighting{}
		for id, w := range watched {
			request, answer, _ := w.Seen()
			out[id] = trace.Sighting{Packet: request, Answer: answer}
		}
		return out
	}
	h.near.Inside(func() error { _ = m.Send(context.Background()); return nil }) // no address, no way: told by silence
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if tr.Confirm(at(), nil, trace.Refused{}); tr.Sent.Answered && tr.Sent.Agrees == "yes" {
			break
		}
	}
	if tr.Sent.Agrees != "yes" {
		t.Errorf("a marked packet: %s\n%+v", tr.Sent.Summary, at())
	}
}

// secure is port security of ours: near may send as itself only.
func (h host) secure(level string) {
	h.host.Must(model.SecurePorts{Ports: []model.PortSecurity{{Link: "port", Level: level, MACs: []model.MAC{h.near.Look().Link("eth0").MAC},
		IPv4: model.SourceList, IPv6: model.SourceAny, Sources: []netip.Prefix{netip.MustParsePrefix("198.18.1.9/32")}}}})
}

// Each host has one fault, and the cross is where it is; a real packet has the last word.
func TestBrokenHosts(t *testing.T) {
	for _, tool := range []struct{ name, pkg string }{{"nft", "nftables"}, {"ping", "iputils-ping"}, {"bridge", "iproute2"}} {
		testnet.RequireCommand(t, tool.name, tool.pkg)
	}
	const arrives, lost, either = "arrives", "lost", "either"
	for _, c := range []struct {
		name  string
		fault []string // "who command"
		by    trace.Kind
		at    string
		ping  string // a small packet's lot; either: it depends on who is asked first
	}{
		{"healthy", nil, "", "", arrives},
		{"port security", []string{"host secure strict"}, "", "", arrives},
		{"port security, another MAC", []string{"host secure mac", "near ip link set eth0 address 02:00:00:00:00:77"}, trace.BySecurity, "port", lost},
		{"port security, another address", []string{"host secure strict", "near ip addr add 198.18.1.77/24 dev eth0", "near ip addr del 198.18.1.9/24 dev eth0", "near ip addr replace 198.18.1.77/24 dev eth0", "near ip route replace default via 198.18.1.1"}, trace.BySecurity, "port", lost},
		{"forwarding off", []string{"host sysctl -qw net.ipv4.ip_forward=0"}, trace.BySetting, "host", lost},
		{"rp_filter", []string{"host sysctl -qw net.ipv4.conf.br0.rp_filter=1", "host ip route add 198.18.1.9/32 dev up"}, trace.BySetting, "host", lost},
		{"FORWARD drop", []string{"host nft add table ip filter", "host nft add chain ip filter FORWARD {type filter hook forward priority 0;policy drop;}"}, trace.ByFirewall, "host", lost},
		{"no way back", []string{"far ip route del 198.18.1.0/24 via 198.18.0.1"}, trace.ByRoute, "dbtest", lost},
		{"listening", []string{"host ip link set br0 type bridge stp_state 1 forward_delay 3000", "host ip link set port nomaster", "host ip link set port master br0"}, trace.ByPort, "port", lost},
		{"port down", []string{"host ip link set port down"}, trace.ByLink, "eth0", lost},
		{"locked", []string{"host bridge link set dev port learning off locked on", "near ip link set eth0 address 02:00:00:00:00:77"}, trace.ByPort, "port", lost},
		{"MTU", []string{"host ip link set port mtu 1300", "host ip link set br0 mtu 1500"}, trace.ByLink, "port", arrives},
		{"carrier", []string{"far ip link set eth0 down"}, trace.ByLink, "up", lost},
		{"duplicate", []string{"twin ip addr add 198.18.1.9/24 dev eth0"}, trace.ByAddress, "host", either},
		{"neighbour", []string{"host ip neigh replace 198.18.0.9 lladdr 02:00:00:00:00:99 dev up nud permanent"}, trace.ByNeighbour, "host", lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := build(t)
			for _, f := range c.fault {
				who, line, _ := strings.Cut(f, " ")
				if level, ok := strings.CutPrefix(line, "secure "); ok {
					h.secure(level)
					continue
				}
				run(t, map[string]*testnet.Net{"host": h.host, "far": h.far, "near": h.near, "twin": h.twin}[who], line)
			}
			tr := h.trace(t, 0)
			t.Log("\n" + strings.Join(trace.Tell(tr, 100, func(s string, _ int) []string { return []string{s} }), "\n"))
			if got := map[bool]string{true: arrives, false: lost}[h.pings()]; c.ping != either && got != c.ping {
				t.Errorf("a real packet %s, want %s", got, c.ping)
			}
			// The trace tries a packet as large as the first link lets through.
			if large := h.pingsWith(1500); c.ping != either && large != (c.by == "") {
				t.Errorf("a packet of 1,500 bytes: %v", large)
			}
			if c.ping != either {
				h.confirm(t, tr)
			}
			hop, d := tr.Cross()
			if (d == nil) != (c.by == "") || d != nil && d.By != c.by || hop != nil && !strings.Contains(hop.Name, c.at) {
				t.Errorf("wrong: %+v %+v", hop, d)
			}
		})
	}
}
