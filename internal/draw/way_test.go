package draw_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/geometry"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/model"
	"drawbridge/internal/testwiring"
	"drawbridge/internal/trace"
)

var update = flag.Bool("update", false, "write the goldens anew")

// inner is a host with the VM web behind br1, on a subnet of its own.
func inner() *hostBuilder {
	b := newHost("host").link(physical("eth0", ""), "198.18.0.5/24").link(bridgeLink("br1"), "198.18.7.1/24").link(tapLink("tap1", "br1")).vm("web", "uml", "tap1")
	ns := b.s.Here()
	ns.Link("br1").MAC, ns.Link("tap1").MAC, ns.Link("tap1").Carrier = "02:db:00:00:00:71", "02:db:00:00:00:72", true
	ns.Routes = []model.Route{way("0.0.0.0/0", "eth0", "198.18.0.1"), way("198.18.0.0/24", "eth0", ""), way("198.18.7.0/24", "br1", "")}
	ns.Settings = map[string]string{"ipv4/conf/br1/forwarding": "1", "ipv4/conf/eth0/forwarding": "1", "ipv4/ip_forward": "1"}
	ns.Ruleset = &model.Ruleset{}
	b.inside("web", "02:db:00:00:00:01", "198.18.7.2/24", way("0.0.0.0/0", "eth1", "198.18.7.1"), way("198.18.7.0/24", "eth1", ""))
	return b
}

func (b *hostBuilder) inside(vm string, mac model.MAC, address string, routes ...model.Route) {
	m := b.s.Machine(vm)
	m.NICs[0].MAC = mac
	m.Inside = &model.Namespace{
		Links:     []model.Link{{Name: "eth1", Kind: model.Physical, MAC: mac, MTU: 1500, Up: true, Carrier: true}},
		Addresses: []model.Address{{Link: "eth1", Prefix: netip.MustParsePrefix(address), Origin: model.Static}},
		Routes:    routes,
	}
}

func way(to, link, via string) model.Route {
	r := model.Route{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix(to), NextHops: []model.NextHop{{Link: link}}}
	if via != "" {
		r.NextHops[0].Gateway = netip.MustParseAddr(via)
	}
	return r
}

func hooked(typ, hook string, drop bool, rules ...model.FirewallRule) *model.Ruleset {
	return &model.Ruleset{Chains: []model.FirewallChain{{Family: "inet", Table: "filter", Name: strings.ToUpper(hook), Type: typ, Hook: hook, Drop: drop, Rules: rules}}}
}

// traces are the situations whose pictures are goldens: each with the packet that is traced.
func traces() map[string]struct {
	b        *hostBuilder
	from, to string
} {
	bridged := newHost("host").link(physical("eth0", "br0")).link(bridgeLink("br0"), "198.18.0.5/24").link(tapLink("tap0", "br0")).vm("web", "uml", "tap0")
	bridged.s.Here().Link("tap0").Carrier, bridged.s.Here().Link("tap0").MAC = true, "02:db:00:00:00:72"
	bridged.s.Here().Ruleset = &model.Ruleset{}
	bridged.s.Here().Routes = []model.Route{way("0.0.0.0/0", "br0", "198.18.0.1")}
	bridged.inside("web", "02:db:00:00:00:01", "198.18.0.100/24", way("198.18.0.0/24", "eth1", ""))

	nat := inner()
	nat.s.Here().SourceNAT = []model.SourceNAT{{From: netip.MustParsePrefix("198.18.7.0/24"), NotOut: "br1"}}
	nat.s.Here().Ruleset = hooked("nat", "postrouting", false, model.FirewallRule{
		Matches: []model.FirewallMatch{{Key: "ip saddr", Values: []string{"198.18.7.0/24"}}, {Key: "oifname", Not: true, Values: []string{"br1"}}}, Verdict: "masquerade",
	})
	dropped := inner()
	dropped.s.Here().Ruleset = hooked("filter", "forward", true)
	noWayBack := inner()
	noWayBack.s.Machine("web").Inside.Routes = noWayBack.s.Machine("web").Inside.Routes[1:]

	folded := manyTaps(40, 40)
	for n := range folded.s.Here().Links {
		l := &folded.s.Here().Links[n]
		l.Carrier = true
		if l.Kind == model.TapKind {
			l.MAC = model.MAC(fmt.Sprintf("02:db:00:00:02:%02x", n))
		}
	}
	for n := range 40 {
		folded.inside(fmt.Sprintf("web%d", n), model.MAC(fmt.Sprintf("02:db:00:00:01:%02x", n)), fmt.Sprintf("198.18.0.%d/24", n+10), way("198.18.0.0/24", "eth1", ""))
	}
	folded.s.Here().Ruleset = &model.Ruleset{}
	return map[string]struct {
		b        *hostBuilder
		from, to string
	}{
		"trace-bridged": {bridged, "web", "198.18.0.9"}, "trace-nat": {nat, "web", "198.18.1.2"}, "trace-routed": {inner(), "198.18.0.9", "web"},
		"trace-forward-drop": {dropped, "web", "198.18.0.9"}, "trace-no-way-back": {noWayBack, "198.18.0.9", "web"}, "trace-folded": {folded, "web3", "web7"},
	}
}

func traced(t interface {
	Helper()
	Fatal(...any)
}, s *model.Snapshot, from, to string) draw.Frame {
	t.Helper()
	tr, err := trace.Compute(s, trace.Query{From: from, To: to}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return draw.Frame{Title: "From " + from + " to " + to, Now: model.Wire(*s), Trace: tr}
}

func TestTraces(t *testing.T) {
	for name, c := range traces() {
		f := traced(t, &c.b.s, c.from, c.to)
		s := draw.Draw(draw.Options{}, f)
		for _, flaw := range append(geometry.Flaws(s), wayFlaws(s, f.Trace)...) {
			t.Errorf("%s: %s", name, flaw)
		}
		if died := f.Trace.Result == trace.Dies; died != hasGroup(s, "cross") {
			t.Errorf("%s: it dies: %v, and there is a cross: %v", name, died, !died)
		}
		path, got := filepath.Join("testdata", name+".svg"), svg.Render(s, svg.Options{})
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Errorf("%s differs from its golden (%v): look at it, then run go test ./internal/draw -update", path, err)
		}
	}
}

func hasGroup(s *draw.Scene, id string) bool {
	return slices.ContainsFunc(s.Groups, func(g draw.Group) bool { return g.ID == id })
}

// wayFlaws are what is wrong with the way in a picture: hops without a number in it, numbers
// that are there twice, strokes of the way that are not horizontal or vertical.
func wayFlaws(s *draw.Scene, tr *trace.Trace) []string {
	var out []string
	times := map[int]int{}
	for _, g := range s.Groups {
		if numbers, ok := strings.CutPrefix(g.ID, "hop:"); ok {
			for _, n := range strings.Split(numbers, "-") {
				k, _ := strconv.Atoi(n)
				times[k]++
			}
		}
		for _, p := range g.Parts {
			l, ok := p.(draw.Line)
			if !ok || !strings.HasPrefix(g.ID, "way:") || len(l.Points) == 3 { // an arrow, or a bend
				continue
			}
			for n := 1; n < len(l.Points); n++ {
				if a, b := l.Points[n-1], l.Points[n]; a.X != b.X && a.Y != b.Y {
					out = append(out, fmt.Sprintf("%s: a slanting stroke %v", g.ID, l.Points))
				}
			}
		}
	}
	for _, h := range tr.Hops {
		if times[h.Number] != 1 {
			out = append(out, fmt.Sprintf("hop %d (%s) is there %d times", h.Number, h.Name, times[h.Number]))
		}
	}
	return out
}

// TestTracesOfAnyHost draws a trace between two ends of any host.
func TestTracesOfAnyHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := testwiring.Host(t)
		w := model.Wire(s)
		ends := []string{trace.Host}
		if slices.ContainsFunc(w.Segments, func(s model.Segment) bool { return s.Kind == "lan" }) {
			ends = append(ends, trace.LAN)
		}
		for _, st := range w.Stacks {
			if st.Kind != "vrf" && st.Kind != "host" {
				ends = append(ends, st.ID)
			}
		}
		from, to := rapid.SampledFrom(ends).Draw(t, "from"), rapid.SampledFrom(ends).Draw(t, "to")
		tr, err := trace.Compute(&s, trace.Query{From: from, To: to}, nil)
		if err != nil {
			return // they have no family in common
		}
		f := draw.Frame{Now: w, Trace: tr}
		for _, o := range []draw.Options{{}, {FoldFrom: 2}, {MaxWidth: 700}, {FoldFrom: 2, Expand: []string{"all"}}} {
			scene := draw.Draw(o, f)
			for _, flaw := range geometry.Flaws(scene) {
				t.Errorf("%+v: %s", o, flaw)
			}
			wellFormed(t, svg.Render(scene, svg.Options{}))
		}
	})
}
