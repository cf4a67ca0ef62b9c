package kernel

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// These tests need no root: what is encoded is decoded again.

func body(m *message) []byte { return m.b[unix.SizeofNlMsghdr:] }

func TestAddressRoundTrip(t *testing.T) {
	for _, want := range []model.Address{
		{Prefix: netip.MustParsePrefix("198.18.0.5/24"), Scope: "global", Origin: model.Static},
		{Prefix: netip.MustParsePrefix("198.18.0.5/32"), Peer: netip.MustParsePrefix("198.18.9.1/32"), Scope: "link", Origin: model.Static},
		{Prefix: netip.MustParsePrefix("198.18.0.5/24"), Broadcast: netip.MustParseAddr("198.18.0.255"), Label: "eth0:1", Metric: 7, Scope: "global",
			Origin: model.DHCP, Lifetime: &model.Lifetime{Valid: 100, Preferred: 50}},
		{Prefix: netip.MustParsePrefix("2001:db8::5/64"), Scope: "global", Origin: model.Static,
			Flags: model.AddressFlags{NoDAD: true, NoPrefixRoute: true, HomeAddress: true, Autojoin: true}},
		{Prefix: netip.MustParsePrefix("2001:db8::5/64"), Scope: "global", Origin: model.RA, Protocol: model.ProtocolRA,
			Flags: model.AddressFlags{ManageTemp: true}, Lifetime: &model.Lifetime{Valid: 100, Preferred: 0}},
		{Prefix: netip.MustParsePrefix("fe80::5/64"), Scope: "link", Origin: model.LinkLocal, Protocol: model.ProtocolLinkLocal},
	} {
		m, err := encodeAddress(unix.RTM_NEWADDR, 0, want, 3)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseAddress(body(m))
		if err != nil || got.index != 3 || !reflect.DeepEqual(got.Address, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got.Address, err, want)
		}
	}
}

func TestRouteRoundTrip(t *testing.T) {
	index := func(name string) (int, error) { return map[string]int{"eth0": 2, "eth1": 3}[name], nil }
	names := map[int]string{2: "eth0", 3: "eth1"}
	hop := func(link, gateway string, weight int) model.NextHop {
		h := model.NextHop{Link: link, Weight: weight}
		if gateway != "" {
			h.Gateway = netip.MustParseAddr(gateway)
		}
		return h
	}
	for _, want := range []model.Route{
		{Table: 254, Type: "unicast", Protocol: "kernel", Scope: "link", Destination: netip.MustParsePrefix("198.18.0.0/24"),
			Source: netip.MustParseAddr("198.18.0.5"), NextHops: []model.NextHop{hop("eth0", "", 0)}},
		{Table: 1000, Type: "unicast", Protocol: "200", Scope: "global", Destination: netip.MustParsePrefix("0.0.0.0/0"), Metric: 5, TOS: 8,
			Metrics: map[string]uint32{"mtu": 1400, "lock": 4, "initcwnd": 20}, NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1"), OnLink: true}}},
		{Table: 254, Type: "unicast", Protocol: "static", Scope: "global", Destination: netip.MustParsePrefix("2001:db8:7::/48"), From: netip.MustParsePrefix("2001:db8:1::/48"),
			Metric: 9, Pref: "high", NextHops: []model.NextHop{hop("eth0", "fe80::1", 0)}},
		{Table: 254, Type: "unicast", Protocol: "bgp", Scope: "global", Destination: netip.MustParsePrefix("198.18.9.0/24"),
			NextHops: []model.NextHop{hop("eth0", "198.18.0.1", 3), hop("eth1", "198.18.1.1", 1)}},
		{Table: 254, Type: "unicast", Protocol: "static", Scope: "global", Destination: netip.MustParsePrefix("198.18.9.0/24"),
			NextHops: []model.NextHop{hop("eth0", "2001:db8::1", 0)}},
		{Table: 254, Type: "blackhole", Protocol: "boot", Scope: "global", Destination: netip.MustParsePrefix("198.18.66.0/24")},
		{Table: 254, Type: "unicast", Protocol: "static", Scope: "global", Destination: netip.MustParsePrefix("198.18.67.0/24"), NextHopID: 42},
	} {
		m, err := encodeRoute(unix.RTM_NEWROUTE, 0, want, index)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseRoute(body(m))
		for i := range got.NextHops {
			got.NextHops[i].Link = names[got.oifs[i]]
		}
		if err != nil || !reflect.DeepEqual(got.Route, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got.Route, err, want)
		}
	}
}

func TestPatchRouteKeepsWhatItDoesNotKnow(t *testing.T) {
	const unknown = 4000
	m := newMessage(unix.RTM_NEWROUTE, 0).raw(routeHeader(unix.AF_INET6, 64, 0, 0, 254, unix.RTPROT_RA, 0, unix.RTN_UNICAST, unix.RTNH_F_LINKDOWN|unix.RTNH_F_ONLINK))
	m.attr(unix.RTA_DST, netip.MustParseAddr("2001:db8::").AsSlice())
	m.u32(unix.RTA_OIF, 2)
	m.u32(unix.RTA_PRIORITY, 1024)
	m.attr(unknown, []byte("kept as it is"))
	m.attr(unix.RTA_CACHEINFO, append(make([]byte, 8), native.AppendUint32(nil, 500*clockTicks)...))
	old, err := parseRoute(body(m))
	if err != nil {
		t.Fatal(err)
	}
	target := old.Route
	target.Metric = 1023
	b, err := patchRoute(old, target, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseRoute(b)
	if err != nil || got.oifs[0] != 3 || got.Metric != 1023 || native.Uint32(b[8:]) != unix.RTNH_F_ONLINK {
		t.Errorf("%+v, oifs %v, %v", got.Route, got.oifs, err)
	}
	attrs := b[unix.SizeofRtMsg:]
	if string(findAttr(attrs, unknown)) != "kept as it is" {
		t.Error("an unknown attribute is lost")
	}
	if attrU32(attrs, rtaExpires) != 500 || findAttr(attrs, unix.RTA_CACHEINFO) != nil {
		t.Error("the time that is left does not go along as RTA_EXPIRES")
	}
}

func TestNeighbourRoundTrip(t *testing.T) {
	m := newMessage(unix.RTM_NEWNEIGH, 0).raw(neighbourHeader(unix.AF_INET, 7, unix.NUD_PERMANENT, unix.NTF_ROUTER))
	m.attr(unix.NDA_DST, []byte{198, 18, 0, 1})
	m.attr(unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 1})
	n, err := parseNeighbour(body(m))
	want := model.Neighbour{Link: "eth0", Address: netip.MustParseAddr("198.18.0.1"), MAC: "02:00:00:00:00:01", State: "permanent", Router: true}
	if got := n.neighbour("eth0"); err != nil || n.index != 7 || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMAC(t *testing.T) {
	b, err := parseMAC("02:aB:00:00:00:01")
	if err != nil || formatMAC(b) != "02:ab:00:00:00:01" {
		t.Errorf("%v %v", b, err)
	}
	for _, bad := range []model.MAC{"", "02", "02:00:00:00:00", "02:00:00:00:00:01:", "02:00:00:00:00:zz", "020000000001", "02:00:00:00:00:01:02"} {
		if _, err := parseMAC(bad); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRefusalIsTheModelsAndTheKernels(t *testing.T) {
	err := refusal("eth0", &kernelError{unix.EBUSY, "Device is in use"})
	if !errors.Is(err, model.ErrBusy) || !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	if want := "eth0: busy: the kernel says: Device is in use (device or resource busy)"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if refusal("eth0", nil) != nil {
		t.Error("a refusal of nothing")
	}
}

// FuzzParse: bytes of any kind are refused or read, and nothing panics.
func FuzzParse(f *testing.F) {
	m, _ := encodeRoute(unix.RTM_NEWROUTE, 0, model.Route{Destination: netip.MustParsePrefix("198.18.9.0/24"),
		NextHops: []model.NextHop{{Link: "a", Weight: 1}, {Link: "b", Weight: 2}}}, func(string) (int, error) { return 1, nil })
	f.Add(m.b)
	link, _ := newLink("br0", "bridge", unix.IFF_UP, "02:00:00:00:00:01", 1500, func(m *message) { m.u32(unix.IFLA_BR_STP_STATE, 0) })
	f.Add(link.b)
	a, _ := encodeAddress(unix.RTM_NEWADDR, 0, model.Address{Prefix: netip.MustParsePrefix("2001:db8::5/64")}, 1)
	f.Add(a.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = eachMessage(b, func(h header, body []byte) error {
			_, _ = parseLink(body)
			_, _ = parseAddress(body)
			_, _ = parseNeighbour(body)
			_, _ = parseRule(body)
			_ = parseAck(h, body)
			parsePortVLANs(body)
			patchNextHop(body, 1, 2)
			if r, err := parseRoute(body); err == nil {
				if len(r.NextHops) != len(r.oifs) {
					t.Errorf("%d hops, %d indexes", len(r.NextHops), len(r.oifs))
				}
				_, _ = patchRoute(r, r.Route, 1, 2)
			}
			return nil
		})
	})
}
