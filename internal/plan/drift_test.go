package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

func told(p Plan) string { return strings.Join(titles(p), "\n") }

// What somebody else took away is brought back, and no more; 'down' then leaves the host as
// it was before 'up'.
func TestDriftIsMended(t *testing.T) {
	before := host()
	up, after := mustDiff(t, before, bridgedFile(), Owned{})
	for _, c := range []struct {
		name  string
		steal []model.Operation
		want  string
	}{
		{"the tap", []model.Operation{model.SetMaster{Link: "tap0"}}, "Plug tap0 into br0"},
		{"the uplink", []model.Operation{model.SetMaster{Link: "eth0"}}, "Plug eth0 into br0"},
		{"the address", []model.Operation{model.DeleteAddresses{Link: "br0", Addresses: []model.Address{{Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.5/24")}}}},
			"Give br0 the address 198.18.0.5/24 again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := after.Clone()
			for _, op := range c.steal {
				if err := now.Advance(op); err != nil {
					t.Fatal(err)
				}
			}
			now.Settle()
			mend, mended := mustDiff(t, now, bridgedFile(), up.Owned)
			if !strings.Contains(told(mend), c.want) {
				t.Fatalf("mended by\n%s\nwithout %s", told(mend), c.want)
			}
			if again, _ := mustDiff(t, mended, bridgedFile(), mend.Owned); len(again.Steps) > 0 {
				t.Errorf("and then again:\n%s", told(again))
			}
			if r := mended.Here().DefaultRoute(); r == nil || r.Link() != "br0" {
				t.Errorf("the default route is %+v", r)
			}
			down, home := mustDiff(t, mended, spec.Desired{}, mend.Owned)
			if notes := strings.Join(down.Notes, "\n"); strings.Contains(notes, "no longer in") {
				t.Errorf("down notes %s", notes)
			}
			if got := model.SplitAddresses(home.Here().AddressesOf("eth0")); got != "198.18.0.5/24, 2001:db8::5/64" {
				t.Errorf("after down eth0 has %s", got)
			}
		})
	}
	t.Run("an address of the owner's choice", func(t *testing.T) {
		now := after.Clone()
		other := model.Address{Link: "br0", Prefix: netip.MustParsePrefix("198.18.4.6/24"), Origin: model.Static, Scope: "global"}
		for _, op := range []model.Operation{model.AddAddresses{Link: "br0", Addresses: []model.Address{other}},
			model.DeleteAddresses{Link: "br0", Addresses: []model.Address{{Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.5/24")}}}} {
			if err := now.Advance(op); err != nil {
				t.Fatal(err)
			}
		}
		if p, _ := mustDiff(t, now, bridgedFile(), up.Owned); strings.Contains(told(p), "198.18.0.5") {
			t.Errorf("it is exchanged back:\n%s", told(p))
		}
	})
}

// A manager that takes its uplink back gives it all that it had, beside what is on the bridge
// still: then nothing is added to the bridge, and what is there twice goes from the uplink.
// Of two IPv6 routes by one gateway the kernel makes one with two legs.
func TestTakenBackWithAllItHad(t *testing.T) {
	before := host()
	up, after := mustDiff(t, before, bridgedFile(), Owned{})
	now := after.Clone()
	for _, op := range []model.Operation{model.SetMaster{Link: "eth0"}, model.AddAddresses{Link: "eth0", Addresses: movable(before.Here().AddressesOf("eth0"))}} {
		if err := now.Advance(op); err != nil {
			t.Fatal(err)
		}
	}
	ns := now.Here()
	for _, r := range givenRoutes(before.Here().RoutesOf("eth0")) {
		i := slices.IndexFunc(ns.Routes, func(o model.Route) bool { return !r.Is4() && o.Link() == "br0" && model.SameRouteKey(o, r) })
		if i < 0 {
			ns.Routes = append(ns.Routes, r)
		} else {
			ns.Routes[i].NextHops = append(slices.Clone(ns.Routes[i].NextHops), r.NextHops...)
		}
	}
	now.Settle()
	mend, mended := mustDiff(t, now, bridgedFile(), up.Owned)
	for _, st := range mend.Steps {
		switch op := st.Do.(type) {
		case model.AddAddresses, model.SettleAddresses, model.MoveRoutes:
			t.Errorf("%s: everything is on br0 already: %+v", st.Title, op)
		}
	}
	if got := model.SplitAddresses(mended.Here().AddressesOf("eth0")); got != "" {
		t.Errorf("eth0 has %s", got)
	}
	if routes := mended.Here().RoutesOf("eth0"); slices.ContainsFunc(routes, func(r model.Route) bool { return r.Table == model.TableMain && r.Gateway().IsValid() }) {
		t.Errorf("routes by eth0: %+v", routes)
	}
	if diff := cmp.Diff(after.Here().RoutesOf("br0"), mended.Here().RoutesOf("br0"), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("routes by br0 (-before +mended):\n%s", diff)
	}
	if again, _ := mustDiff(t, mended, bridgedFile(), mend.Owned); len(again.Steps) > 0 {
		t.Errorf("and then again:\n%s", told(again))
	}
	for i := len(mend.Steps) - 1; i >= 0; i-- { // rolled back, it is as it was found
		for _, op := range mend.Steps[i].Undo {
			if err := mended.Advance(op); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, link := range []string{"br0", "eth0"} {
		if a, b := now.Here().RoutesOf(link), mended.Here().RoutesOf(link); len(a) != len(b) {
			t.Errorf("rolled back, %s has %+v\nand had %+v", link, b, a)
		}
	}
}

// 'down' after the uplink was taken out of the bridge: the host is reached as before, whoever
// took it, and an address that he gave it is not exchanged.
func TestDownAfterATheft(t *testing.T) {
	before := host()
	other := model.Address{Link: "eth0", Prefix: netip.MustParsePrefix("198.18.4.6/24"), Origin: model.Static, Scope: "global"}
	for _, mode := range []string{"move", "none"} {
		file := bridgedFile()
		file.Networks[0].Host.Mode = mode
		up, after := mustDiff(t, before, file, Owned{})
		for _, c := range []struct {
			name  string
			theft []model.Operation
			want  string
		}{
			{"nothing else", nil, "198.18.0.5/24, 2001:db8::5/64"},
			{"and down", []model.Operation{model.SetUp{Link: "eth0"}}, "198.18.0.5/24, 2001:db8::5/64"},
			{"an address of his own", []model.Operation{model.AddAddresses{Link: "eth0", Addresses: []model.Address{other}}}, "198.18.4.6/24, 2001:db8::5/64"},
			{"all that it had", []model.Operation{model.AddAddresses{Link: "eth0", Addresses: movable(before.Here().AddressesOf("eth0"))}}, "198.18.0.5/24, 2001:db8::5/64"},
		} {
			t.Run(mode+" "+c.name, func(t *testing.T) {
				now := after.Clone()
				for _, op := range append([]model.Operation{model.SetMaster{Link: "eth0"}}, c.theft...) {
					if err := now.Advance(op); err != nil {
						t.Fatal(err)
					}
				}
				now.Settle()
				down, home := mustDiff(t, now, spec.Desired{}, up.Owned)
				if got := model.SplitAddresses(home.Here().AddressesOf("eth0")); got != c.want {
					t.Errorf("eth0 has %s, want %s:\n%s", got, c.want, told(down))
				}
				if notes := strings.Join(down.Notes, "\n"); !strings.Contains(notes, "somebody has taken it out") {
					t.Errorf("notes: %s", notes)
				}
				if home.Here().Link("br0") != nil {
					t.Error("br0 is there")
				}
				if c.name == "nothing else" {
					if r := home.Here().DefaultRoute(); r == nil || r.Link() != "eth0" {
						t.Errorf("the default route is %+v", r)
					}
				}
			})
		}
	}
}

// An isolated network's bridge is closed before it has a port, its ports are quiet before
// they are up; what is altered is mended, another mode opens it, and down leaves nothing.
func TestIsolated(t *testing.T) {
	before := host()
	for _, key := range []string{"all", "default", "eth0"} {
		before.Here().Settings["ipv6/conf/"+key+"/disable_ipv6"] = "0"
	}
	file := spec.Desired{
		Networks: []spec.Network{{Name: "box", Mode: spec.Isolated, Bridge: "br1", Host: spec.HostAddressing{Mode: spec.HostNone}}},
		Taps:     []spec.Tap{{Name: "tap1", Network: "box"}, {Name: "tap2", Network: "box", Security: spec.Security{Rate: 1e6}}},
	}
	up, after := mustDiff(t, before, file, Owned{})
	order := []string{"Make the bridge br1", "Take the host off br1", "Switch IPv6 off at br1", "Make the tap tap1", "Switch IPv6 off at tap1",
		"Make the tap tap2", "Switch IPv6 off at tap2", "Secure 2 ports: tap1 tap2", "Plug tap1 into br1", "Bring tap1 up", "Plug tap2 into br1", "Bring tap2 up"}
	if got := told(up); got != strings.Join(order, "\n") {
		t.Fatalf("steps:\n%s", got)
	}
	for _, p := range after.Here().Secured {
		if p.Link != "br1" && !p.Guarded {
			t.Errorf("%s is not guarded", p.Link)
		}
	}
	br1 := slices.IndexFunc(model.Wire(after).Interfaces, func(i model.Interface) bool { return i.Name == "br1" })
	if end := model.Wire(after).Interfaces[br1].HostEnd; end.In != model.InNothing {
		t.Errorf("the host end of br1 is in %+v", end)
	}
	if again, _ := mustDiff(t, after, file, up.Owned); len(again.Steps) > 0 {
		t.Errorf("and then again:\n%s", told(again))
	}
	altered := after.Clone()
	altered.Here().SecurityOf("br1").Altered = true
	if p, _ := mustDiff(t, altered, file, up.Owned); told(p) != "Take the host off br1" {
		t.Errorf("altered rules are mended by:\n%s", told(p))
	}
	open := spec.Desired{Taps: file.Taps, Networks: []spec.Network{{Name: "box", Mode: spec.HostOnly, Bridge: "br1", Host: spec.HostAddressing{Mode: spec.HostList, Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.7.1/24")}}}}}
	p, opened := mustDiff(t, after, open, up.Owned)
	for _, key := range []string{"br1", "tap1", "tap2"} {
		if opened.Here().Settings["ipv6/conf/"+key+"/disable_ipv6"] != "0" {
			t.Errorf("IPv6 is still off at %s:\n%s", key, told(p))
		}
	}
	if s := opened.Here().SecurityOf("br1"); s != nil {
		t.Errorf("br1 is still closed: %+v", s)
	}
	if again, _ := mustDiff(t, opened, open, p.Owned); len(again.Steps) > 0 {
		t.Errorf("and then again:\n%s", told(again))
	}
	_, home := mustDiff(t, after, spec.Desired{}, up.Owned)
	if len(home.Here().Secured) > 0 || home.Here().Link("br1") != nil || home.Here().Settings["ipv6/conf/eth0/disable_ipv6"] != "0" {
		t.Errorf("left over: %+v", home.Here())
	}
	if _, err := Diff(before, file, Owned{}, Options{NoSecurity: "no nf_tables"}); err == nil || !strings.Contains(err.Error(), "cannot be isolated") {
		t.Errorf("without nftables: %v", err)
	}
}
