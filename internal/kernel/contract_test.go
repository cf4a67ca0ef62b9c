package kernel_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawbridge/internal/kernel/fake"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// scenario is one clause of the contract between the fake and the real kernel: the same
// operations give the same namespace, or the same refusal.
type scenario struct {
	name string
	// start must succeed.
	start []model.Operation
	do    model.Operation
	// refused is what do is refused with, nil if it is carried out.
	refused error
}

// doer is the common face of both kernels.
type doer interface {
	Do(ctx context.Context, op model.Operation) (model.Made, error)
	Observe(ctx context.Context) (model.Namespace, error)
}

func TestContract(t *testing.T) {
	testnet.Require(t)
	for _, group := range [][]scenario{linkScenarios, addressScenarios, routeScenarios, moveScenarios, followScenarios, proxyScenarios} {
		for _, s := range group {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t)
			})
		}
	}
}

func (s scenario) run(t *testing.T) {
	t.Helper()
	for _, op := range append(s.start, s.do) {
		switch op.(type) {
		case model.CreateTap, model.CreateTaps:
			testnet.RequireTap(t)
		}
	}
	live := testnet.New(t)
	memory := fake.New(*live.Look())
	for _, op := range s.start {
		for _, k := range []doer{memory, live} {
			if _, err := k.Do(t.Context(), op); err != nil {
				t.Fatalf("%T: start: %s %s: %v", k, op.Op(), op.Object(), err)
			}
		}
	}
	compare(t, "start", memory, live)
	for _, k := range []doer{memory, live} {
		_, err := k.Do(t.Context(), s.do)
		if !errors.Is(err, s.refused) || (err == nil) != (s.refused == nil) {
			t.Errorf("%T: %s %s: got error %v, want %v", k, s.do.Op(), s.do.Object(), err, s.refused)
		}
	}
	compare(t, "end", memory, live)
}

// compare waits until both kernels have the same: linkwatch and the like take their time.
func compare(t *testing.T, when string, memory, live doer) {
	t.Helper()
	var diff string
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		want, err := memory.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := live.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want, got = want.Normalised(), got.Normalised()
		kernelsChoice(&want, &got)
		if diff = cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff == "" {
			return
		}
	}
	t.Fatalf("%s: the fake (-) and the real kernel (+) differ:\n%s", when, diff)
}

// kernelsChoice blanks what nobody asked for, and the kernel chooses: MACs, queueing
// disciplines, a port's cost and priority.
func kernelsChoice(want, got *model.Namespace) {
	for i := range got.Links {
		g := &got.Links[i]
		w := want.Link(g.Name)
		if w == nil {
			continue
		}
		if w.MAC == "" {
			g.MAC = ""
		}
		w.Qdisc, g.Qdisc = "", ""
		if w.Port != nil && g.Port != nil && w.Port.Cost == 0 {
			g.Port.Cost, g.Port.Priority = 0, 0
		}
		if g.Tap != nil && w.Tap != nil {
			g.Tap.OwnerName, g.Tap.GroupName, w.Tap.OwnerName, w.Tap.GroupName = "", "", "", ""
		}
	}
}

// Short forms for the tables.

func ops(o ...model.Operation) []model.Operation { return o }

func address(s string, change ...func(*model.Address)) model.Address {
	a := model.Address{Prefix: netip.MustParsePrefix(s), Scope: "global", Origin: model.Static}
	for _, c := range change {
		c(&a)
	}
	return a
}

func transit(a *model.Address) { a.Flags.NoDAD, a.Flags.NoPrefixRoute = true, true }

func nodad(a *model.Address) { a.Flags.NoDAD = true }

func route(dst, gateway, link string, change ...func(*model.Route)) model.Route {
	r := model.Route{Table: model.TableMain, Type: "unicast", Protocol: "static", Scope: "global",
		Destination: netip.MustParsePrefix(dst), NextHops: []model.NextHop{{Link: link}}}
	if gateway != "" {
		r.NextHops[0].Gateway = netip.MustParseAddr(gateway)
	} else if r.Is4() {
		r.Scope = "link"
	}
	if !r.Is4() {
		r.Metric = 1024
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func metric(n uint32) func(*model.Route) { return func(r *model.Route) { r.Metric = n } }

func table(n uint32) func(*model.Route) { return func(r *model.Route) { r.Table = n } }

func source(s string) func(*model.Route) {
	return func(r *model.Route) { r.Source = netip.MustParseAddr(s) }
}

func connectedRoute(dst, source, link string) model.Route {
	r := route(dst, "", link)
	r.Protocol = "kernel"
	if r.Is4() {
		r.Source = netip.MustParseAddr(source)
	} else {
		r.Metric = 256
	}
	return r
}

// cable makes an uplink with a live far end: eth0, whose other half is up.
func cable(link string) []model.Operation {
	return ops(
		model.CreateVeth{Name: link, MAC: "02:00:00:00:00:01", Peer: model.Ref{Name: link + "-far"}, PeerMAC: "02:00:00:00:00:02"},
		model.SetUp{Link: link, Up: true}, model.SetUp{Link: link + "-far", Up: true}, model.WaitUp{Link: link, Timeout: 3000})
}

func concat(lists ...[]model.Operation) []model.Operation {
	var out []model.Operation
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
