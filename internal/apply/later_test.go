package apply

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/kernel/fake"
	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// An address of the host's own that another host has: the kernel finds out a second after
// it was given, and the change is not done with it.
func TestADuplicateAddressRollsBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken []netip.Addr
		fails bool
	}{
		{"taken", []netip.Addr{netip.MustParseAddr("2001:db8::99")}, true},
		{"free", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, tx := site(t)
			m.Taken = c.taken
			before := m.Snapshot()
			want := bridged()
			want.Networks[0].Host = spec.HostAddressing{Mode: "list", Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::99/64")}}
			err := tx.Run(context.Background(), planFor(t, m, tx.Store, want))
			var f *Failure
			switch {
			case !c.fails && err != nil:
				t.Error(err)
			case c.fails && (!errors.As(err, &f) || len(f.Left) > 0 || !strings.Contains(err.Error(), "2001:db8::99/64 (another host on this LAN has it)") || !same(before, m.Snapshot())):
				t.Errorf("%v", err)
			}
		})
	}
}

// What router advertisements gave goes on being refreshed, on the bridge and back on the
// uplink; no stand-in is left over.
func TestAutoconfigurationGoesOn(t *testing.T) {
	m, tx := site(t)
	ra := fake.Advertisement{Arrives: "eth0", Router: netip.MustParseAddr("fe80::1"), Lifetime: 30, HopLimit: 64, Prefix: netip.MustParsePrefix("2001:db8:a::/64"), Valid: 60, Prefer: 40}
	if !m.Advertise(ra) {
		t.Fatal("refused before anything was done")
	}
	refreshed := func(link string) {
		t.Helper()
		m.Change(func(n *model.Namespace) { // time passes
			for i := range n.Addresses {
				if n.Addresses[i].Origin == model.RA {
					n.Addresses[i].Lifetime = &model.Lifetime{Valid: 7, Preferred: 3}
				}
			}
		})
		if !m.Advertise(ra) {
			t.Errorf("%s: an advertisement is refused", link)
		}
		found := false
		for _, a := range m.here().AddressesOf(link) {
			if a.Origin == model.RA {
				found = true
				if a.Lifetime == nil || a.Lifetime.Valid != 60 || a.Flags.Tentative {
					t.Errorf("%s: not refreshed: %+v", link, a)
				}
			}
		}
		if !found {
			t.Errorf("%s: no SLAAC address", link)
		}
		for _, r := range m.here().Routes {
			if r.IsInterimRA() || r.Protocol == "ra" && r.Link() != link {
				t.Errorf("left over: %+v", r)
			}
		}
	}
	before := m.Snapshot()
	tx.settle = time.Microsecond
	if err := tx.Run(context.Background(), planFor(t, m, tx.Store, bridged())); err != nil {
		t.Fatal(err)
	}
	refreshed("br0")
	if err := tx.Run(context.Background(), planFor(t, m, tx.Store, spec.Desired{})); err != nil {
		t.Fatal(err)
	}
	refreshed("eth0")
	was, is := before.Here().Normalised(), m.here().Normalised()
	a, b := model.Snapshot{Namespaces: []model.Namespace{was}}, model.Snapshot{Namespaces: []model.Namespace{is}}
	if !a.Equal(b) {
		t.Errorf("before\n%+v\nafter\n%+v", was.Routes, is.Routes)
	}
}

// A second uplink with the same prefixes, whose routes are the first of their keys: they
// stay, on the way there and back.
func TestAStrangersRoutesStay(t *testing.T) {
	start := pageHost()
	ns := start.Here()
	ns.Links = append(ns.Links, model.Link{Name: "eno1", Index: 3, Kind: model.Physical, MAC: "02:11:22:33:44:66", MTU: 1500, Up: true, Carrier: true})
	var his []model.Route
	for _, r := range ns.Routes {
		r.NextHops = []model.NextHop{{Link: "eno1", Gateway: r.Gateway()}}
		his = append(his, r)
	}
	ns.Routes = append(his, ns.Routes...)
	start.Settle()
	m, tx := site(t)
	m.Kernel = fake.NewSnapshot(start)
	tx.Kernel, tx.Machines = m, m.machines()
	want := bridged()
	want.Networks[0].Uplink = "eth0"
	for _, wish := range []spec.Desired{want, {}} {
		if err := tx.Run(context.Background(), planFor(t, m, tx.Store, wish)); err != nil {
			t.Fatal(err)
		}
		for _, r := range his {
			if !slices.ContainsFunc(m.here().Routes, func(x model.Route) bool { return model.SameRoute(x, r) }) {
				t.Errorf("his route to %s is gone", r.Destination)
			}
		}
	}
	if !same(start, m.Snapshot()) {
		t.Errorf("before %+v\nafter %+v", ns.Routes, m.here().Routes)
	}
}
