package guest

import (
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"drawbridge/internal/model"
)

func TestConfigHoldsCabledNICsOnly(t *testing.T) {
	eth1 := model.NICConfig{Name: "eth1", MAC: "02:00:00:00:00:01", Link: "tap0", DHCP: true}
	c := NewConfig(model.MachineConfig{Name: "web", VMM: "uml", NICs: []model.NICConfig{eth1, {Name: "eth2"}}}, "/dev/ttyS0")
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Config{Name: "web", VMM: "uml", Line: "/dev/ttyS0", NICs: []model.NICConfig{eth1}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBroadcast(t *testing.T) {
	for prefix, want := range map[string]string{
		"198.18.0.5/24": "198.18.0.255", "198.18.8.2/30": "198.18.8.3", "198.18.8.2/31": "", "2001:db8::5/64": "",
	} {
		got := broadcast(netip.MustParsePrefix(prefix))
		if got.IsValid() != (want != "") || want != "" && got.String() != want {
			t.Errorf("%s: got %v, want %q", prefix, got, want)
		}
	}
}

func TestLease(t *testing.T) {
	ack, err := dhcpv4.New(
		dhcpv4.WithYourIP(net.IPv4(198, 18, 0, 100)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(net.IPv4(198, 18, 0, 1)),
		dhcpv4.WithLeaseTime(600),
	)
	if err != nil {
		t.Fatal(err)
	}
	a, err := leaseAddress("eth1", ack)
	if err != nil {
		t.Fatal(err)
	}
	if a.Prefix.String() != "198.18.0.100/24" || a.Broadcast.String() != "198.18.0.255" || a.Lifetime.Valid != uint32(10*time.Minute/time.Second) {
		t.Errorf("address %+v", a)
	}
	routes := leaseRoutes("eth1", ack)
	if len(routes) != 1 || !routes[0].IsDefault() || routes[0].Gateway().String() != "198.18.0.1" || routes[0].Protocol != "dhcp" {
		t.Errorf("routes %+v", routes)
	}
	// RFC 3442: with classless routes, the router option does not count.
	ack.UpdateOption(dhcpv4.OptClasslessStaticRoute(
		&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(198, 18, 5, 0), Mask: net.CIDRMask(24, 32)}, Router: net.IPv4(198, 18, 0, 2)}))
	routes = leaseRoutes("eth1", ack)
	if len(routes) != 1 || routes[0].Destination.String() != "198.18.5.0/24" {
		t.Errorf("classless routes %+v", routes)
	}
	if _, err := leaseAddress("eth1", &dhcpv4.DHCPv4{YourIPAddr: net.IPv4zero}); err == nil {
		t.Error("a lease without an address was taken")
	}
}
