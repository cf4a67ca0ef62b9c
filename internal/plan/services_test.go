package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
)

// served is a host with the bridge br1, and what is to be served there.
func served() (model.Snapshot, model.Service) {
	s := host()
	for _, br := range []string{"br1", "br2"} {
		if err := s.Apply(model.CreateBridge{Name: br}); err != nil {
			panic(err)
		}
	}
	return s, model.Service{Network: "private", Link: "br1",
		DHCP4: &model.DHCP4Config{Server: netip.MustParsePrefix("198.18.7.1/24"), First: netip.MustParseAddr("198.18.7.100"), Last: netip.MustParseAddr("198.18.7.199"),
			Router: netip.MustParseAddr("198.18.7.1"), DNS: []netip.Addr{netip.MustParseAddr("198.18.7.1")}, Domain: "home.arpa",
			Static: []model.StaticLease{{MAC: "02:00:00:00:00:09", Name: "web", Address: netip.MustParseAddr("198.18.7.9")}}},
		RA:  &model.RAConfig{Prefixes: []model.RAPrefix{{Prefix: netip.MustParsePrefix("2001:db8:7::/64")}}, LifetimeSeconds: 1800},
		DNS: &model.DNSConfig{Listen: []netip.Addr{netip.MustParseAddr("198.18.7.1")}, Clients: []netip.Prefix{netip.MustParsePrefix("198.18.7.0/24")}, Zone: "home.arpa"}}
}

// serve is the part of a plan that is about servers.
func serve(t *testing.T, now model.Snapshot, own Owned, want ...model.Service) Plan {
	t.Helper()
	b := newBuilder(now, own, options)
	w := &wanted{services: want}
	b.stopServices(w)
	b.runServices(w)
	p, err := b.done()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A network's servers are started, left alone, changed, moved and stopped; and each of
// these is undone.
func TestServersOfANetwork(t *testing.T) {
	start, s := served()
	longer, moved := s.Wish(), s.Wish()
	longer.DHCP4.LeaseSeconds = 60
	moved.Link = "br2"
	dead := func(s *model.Snapshot) { s.Services = nil } // Diff leaves out those that nobody looks after
	now, own := start, Owned{}
	for _, c := range []struct {
		name   string
		before func(*model.Snapshot)
		want   []model.Service
		titles []string
	}{
		{"started", nil, []model.Service{s}, []string{"Serve DHCP, RA, DNS on br1"}},
		{"nothing to do", nil, []model.Service{s}, nil},
		{"changed", nil, []model.Service{longer}, []string{"Change the servers of network private"}},
		{"another link", nil, []model.Service{moved}, []string{"Stop the servers of network private", "Serve DHCP, RA, DNS on br2"}},
		{"died, and so started anew", dead, []model.Service{moved}, []string{"Serve DHCP, RA, DNS on br2"}},
		{"no longer wanted", nil, nil, []string{"Stop the servers of network private"}},
	} {
		if c.before != nil {
			c.before(&now)
		}
		p := serve(t, now, own, c.want...)
		if got := titles(p); !slices.Equal(got, c.titles) {
			t.Fatalf("%s: %q, want %q", c.name, got, c.titles)
		}
		after, err := p.After()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		back := after.Clone()
		for _, st := range slices.Backward(p.Steps) {
			for _, op := range st.Undo {
				if err := back.Apply(op); err != nil {
					t.Fatalf("%s: undo: %v", c.name, err)
				}
			}
		}
		if !back.Equal(now) {
			t.Errorf("%s: undone, it is %+v\nwant %+v", c.name, back.Services, now.Services)
		}
		now, own = after, p.Owned
		if len(own.Services) != len(c.want) || len(now.Services) != len(c.want) {
			t.Errorf("%s: owned %v, there are %v", c.name, own.Services, now.Services)
		}
	}
	if !start.Equal(now) {
		t.Error("something is left")
	}
}

// What a person would type does the same.
func TestServersAsACommand(t *testing.T) {
	_, s := served()
	got := Commands(model.StartService{Service: s}, Modern)
	want := "dnsmasq --pid-file=/run/dnsmasq-private.pid --interface=br1 --bind-interfaces --except-interface=lo --dhcp-range=198.18.7.100,198.18.7.199,3600" +
		" --dhcp-option=option:router,198.18.7.1 --dhcp-option=option:dns-server,198.18.7.1 --domain=home.arpa --dhcp-host=02:00:00:00:00:09,web,198.18.7.9" +
		" --enable-ra --ra-param=br1,0,1800 --dhcp-range=2001:db8:7::,ra-only,64 --local=/home.arpa/"
	if len(got) != 1 || got[0] != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
