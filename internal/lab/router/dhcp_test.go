package router

import (
	"io"
	"log"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	first = netip.MustParseAddr("198.18.0.100")
	last  = netip.MustParseAddr("198.18.0.102")
	none  netip.Addr
)

// clock is a time that a test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func testServer() (*DHCP, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	d := NewDHCP(DHCPConfig{
		Server: netip.MustParsePrefix("198.18.0.1/24"), First: first, Last: last,
		Gateway: netip.MustParseAddr("198.18.0.1"), DNS: []netip.Addr{netip.MustParseAddr("198.18.0.1")},
		Domain: "lab.invalid", LeaseTime: time.Hour,
	}, log.New(io.Discard, "", 0))
	d.table.now = c.now
	return d, c
}

func mac(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }

func discover(t *testing.T, m net.HardwareAddr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.NewDiscovery(m, mods...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lease goes the whole way: discover, offer, request, acknowledge.
func lease(t *testing.T, d *DHCP, m net.HardwareAddr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	offer := d.answer(discover(t, m, mods...))
	if offer == nil {
		return nil
	}
	req, err := dhcpv4.NewRequestFromOffer(offer, mods...)
	if err != nil {
		t.Fatal(err)
	}
	return d.answer(req)
}

func TestLeaseHasAllThatAHostNeeds(t *testing.T) {
	d, _ := testServer()
	ack := lease(t, d, mac(1))
	if ack.MessageType() != dhcpv4.MessageTypeAck || address(ack.YourIPAddr) != first {
		t.Fatalf("%v", ack.Summary())
	}
	ones, _ := ack.SubnetMask().Size()
	if ones != 24 || address(ack.Router()[0]).String() != "198.18.0.1" || address(ack.DNS()[0]).String() != "198.18.0.1" ||
		ack.IPAddressLeaseTime(0) != time.Hour || ack.IPAddressRenewalTime(0) != 30*time.Minute || ack.IPAddressRebindingTime(0) != 52*time.Minute+30*time.Second ||
		ack.DomainName() != "lab.invalid" || address(ack.ServerIdentifier()).String() != "198.18.0.1" {
		t.Errorf("%v", ack.Summary())
	}
	if l := d.Leases(); len(l) != 1 || l[0].Address != first || l[0].MAC.String() != mac(1).String() {
		t.Errorf("leases %+v", l)
	}
}

func TestAddressesAreStable(t *testing.T) {
	d, c := testServer()
	one, two := lease(t, d, mac(1)), lease(t, d, mac(2))
	if address(one.YourIPAddr) != first || address(two.YourIPAddr) != first.Next() {
		t.Fatalf("%v and %v", one.YourIPAddr, two.YourIPAddr)
	}
	c.t = c.t.Add(3 * time.Hour) // both ran out
	if len(d.Leases()) != 0 {
		t.Error("leases outlive their time")
	}
	if a := lease(t, d, mac(2)); address(a.YourIPAddr) != first.Next() {
		t.Errorf("the second came back to %v", a.YourIPAddr)
	}
	if a := lease(t, d, mac(1)); address(a.YourIPAddr) != first {
		t.Errorf("the first came back to %v", a.YourIPAddr)
	}
}

// The client identifier is who it is, not the MAC: RFC 2131, 2.
func TestClientIdentifier(t *testing.T) {
	d, _ := testServer()
	id := func(s string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte(s)))
	}
	a := lease(t, d, mac(1), id("x"))
	b := lease(t, d, mac(1), id("y"))
	again := lease(t, d, mac(9), id("x"))
	if a.YourIPAddr.Equal(b.YourIPAddr) || !a.YourIPAddr.Equal(again.YourIPAddr) {
		t.Errorf("x %v, y %v, x from another MAC %v", a.YourIPAddr, b.YourIPAddr, again.YourIPAddr)
	}
}

func TestPoolRunsOutAndRecovers(t *testing.T) {
	d, c := testServer()
	for n := byte(1); n <= 3; n++ {
		if lease(t, d, mac(n)) == nil {
			t.Fatalf("client %d got nothing", n)
		}
		c.t = c.t.Add(time.Minute)
	}
	if a := d.answer(discover(t, mac(4))); a != nil {
		t.Errorf("a fourth client of three addresses was offered %v", a.YourIPAddr)
	}
	c.t = c.t.Add(2 * time.Hour)
	if a := lease(t, d, mac(4)); address(a.YourIPAddr) != first {
		t.Errorf("%v, want the one that ran out longest ago", a.YourIPAddr)
	}
}

func request(t *testing.T, m net.HardwareAddr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	return discover(t, m, append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)}, mods...)...)
}

func requested(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

// The cases of RFC 2131, 4.3.2, and what else may come.
func TestRequests(t *testing.T) {
	ciaddr := func(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }
	server := func(a string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
	}
	kind := dhcpv4.WithMessageType
	for _, tc := range []struct {
		name  string
		from  byte
		mods  []dhcpv4.Modifier
		want  dhcpv4.MessageType // 0: silence
		yours string
	}{
		{"renewing", 1, []dhcpv4.Modifier{ciaddr("198.18.0.100")}, dhcpv4.MessageTypeAck, "198.18.0.100"},
		{"init-reboot", 1, []dhcpv4.Modifier{requested("198.18.0.100")}, dhcpv4.MessageTypeAck, "198.18.0.100"},
		{"init-reboot on another network", 1, []dhcpv4.Modifier{requested("198.18.7.9")}, dhcpv4.MessageTypeNak, ""},
		{"somebody else's address", 2, []dhcpv4.Modifier{requested("198.18.0.100")}, dhcpv4.MessageTypeNak, ""},
		{"another server was chosen", 2, []dhcpv4.Modifier{server("198.18.0.9"), requested("198.18.0.101")}, 0, ""},
		{"a free address of the pool", 2, []dhcpv4.Modifier{server("198.18.0.1"), requested("198.18.0.102")}, dhcpv4.MessageTypeAck, "198.18.0.102"},
		{"nothing asked for", 2, nil, dhcpv4.MessageTypeNak, ""},
		{"the router's own address", 2, []dhcpv4.Modifier{requested("198.18.0.1")}, dhcpv4.MessageTypeNak, ""},
		{"inform", 3, []dhcpv4.Modifier{kind(dhcpv4.MessageTypeInform), ciaddr("198.18.0.50")}, dhcpv4.MessageTypeAck, ""},
		{"an answer", 3, []dhcpv4.Modifier{kind(dhcpv4.MessageTypeOffer)}, 0, ""},
		{"no type at all", 3, []dhcpv4.Modifier{func(m *dhcpv4.DHCPv4) { m.Options.Del(dhcpv4.OptionDHCPMessageType) }}, 0, ""},
		{"no MAC", 3, []dhcpv4.Modifier{dhcpv4.WithHwAddr(nil)}, 0, ""},
		{"a reply", 3, []dhcpv4.Modifier{func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootReply }}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, _ := testServer()
			lease(t, d, mac(1)) // has 198.18.0.100
			a := d.answer(request(t, mac(tc.from), tc.mods...))
			switch {
			case a == nil && tc.want != 0:
				t.Fatalf("silence, want %v", tc.want)
			case a != nil && a.MessageType() != tc.want:
				t.Fatalf("%v, want %v", a.MessageType(), tc.want)
			case a != nil && tc.yours != "" && a.YourIPAddr.String() != tc.yours:
				t.Errorf("%v, want %s", a.YourIPAddr, tc.yours)
			case a != nil && tc.yours == "" && a.IPAddressLeaseTime(0) != 0:
				t.Errorf("a lease time without a lease: %v", a.Summary())
			}
		})
	}
}

func TestReleaseAndDecline(t *testing.T) {
	d, c := testServer()
	lease(t, d, mac(1))
	d.answer(request(t, mac(1), dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease), dhcpv4.WithClientIP(first.AsSlice())))
	if len(d.Leases()) != 0 {
		t.Error("a released lease is in force")
	}
	if a := lease(t, d, mac(1)); address(a.YourIPAddr) != first {
		t.Errorf("after its release the client has %v", a.YourIPAddr)
	}
	d.answer(request(t, mac(2), dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline), requested("198.18.0.100")))
	if len(d.Leases()) != 1 {
		t.Error("somebody else's decline took a lease away")
	}
	d.answer(request(t, mac(1), dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline), requested("198.18.0.100")))
	if a := lease(t, d, mac(1)); address(a.YourIPAddr) == first {
		t.Error("an address that is in use was given away again")
	}
	c.t = c.t.Add(2 * declineTime)
	if a := lease(t, d, mac(2)); address(a.YourIPAddr) != first {
		t.Errorf("the declined address never came back: %v", a.YourIPAddr)
	}
}

func TestOfferedAddressIsKeptForAWhile(t *testing.T) {
	d, c := testServer()
	a, _ := d.table.offer(client{key: "a"}, none)
	b, _ := d.table.offer(client{key: "b"}, a)
	if a == b {
		t.Fatal("one address was offered to two")
	}
	d.table.offer(client{key: "c"}, none)
	if _, ok := d.table.offer(client{key: "d"}, none); ok {
		t.Error("offered more than there is")
	}
	c.t = c.t.Add(offerTime + time.Second)
	if _, ok := d.table.offer(client{key: "d"}, none); !ok {
		t.Error("offers that nobody took are kept for ever")
	}
}

func TestWhereAnswersGo(t *testing.T) {
	nowhere := &net.UDPAddr{IP: net.IPv4bcast, Port: 68}
	ack := discover(t, mac(1), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck))
	nak := discover(t, mac(1), dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))
	for _, tc := range []struct {
		name   string
		from   net.Addr
		m      *dhcpv4.DHCPv4
		answer *dhcpv4.DHCPv4
		want   string
	}{
		{"no address yet", nowhere, discover(t, mac(1)), ack, "255.255.255.255:68"},
		{"renewing", &net.UDPAddr{IP: net.IPv4(198, 18, 0, 7), Port: 68}, discover(t, mac(1), dhcpv4.WithClientIP(net.IPv4(198, 18, 0, 7))), ack, "198.18.0.7:68"},
		{"rebinding", nowhere, discover(t, mac(1), dhcpv4.WithClientIP(net.IPv4(198, 18, 0, 7))), ack, "198.18.0.7:68"},
		{"refused", nowhere, discover(t, mac(1), dhcpv4.WithClientIP(net.IPv4(198, 18, 0, 7))), nak, "255.255.255.255:68"},
		{"by a relay", nowhere, discover(t, mac(1), dhcpv4.WithGatewayIP(net.IPv4(198, 18, 9, 1))), ack, "198.18.9.1:67"},
	} {
		if got := destination(tc.from, tc.m, tc.answer).String(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// FuzzDHCP: whatever comes over the wire is answered or not, and does no harm.
func FuzzDHCP(f *testing.F) {
	p, err := dhcpv4.NewDiscovery(mac(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.ToBytes())
	p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	f.Add(p.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		d, _ := testServer()
		if a := d.answer(m); a != nil {
			a.ToBytes()
			if y := address(a.YourIPAddr); y.IsValid() && !d.table.contains(y) {
				t.Errorf("gave %v away", y)
			}
		}
	})
}
