package dhcp4

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"drawbridge/internal/model"
	"drawbridge/internal/service/lease"
)

var none netip.Addr

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func config() model.DHCP4Config {
	return model.DHCP4Config{Server: netip.MustParsePrefix("198.18.7.1/24"), First: addr("198.18.7.100"), Last: addr("198.18.7.102"), LeaseSeconds: 600,
		Router: addr("198.18.7.1"), DNS: []netip.Addr{addr("198.18.7.1")}, Domain: "home.arpa", MTU: 1400,
		Static: []model.StaticLease{{MAC: "02:00:00:00:00:09", Name: "web", Address: addr("198.18.7.9")}}}
}

// rig is a server without sockets, whose time a test moves.
type rig struct {
	*core
	t    *testing.T
	now  time.Time
	said strings.Builder
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Unix(1_000_000, 0)}
	r.core = newCore(config(), lease.NewTable(config(), nil, func() time.Time { return r.now }), func(format string, _ ...any) { r.said.WriteString(format + "\n") })
	return r
}

type mac = [6]byte

func macOf(n byte) mac { return mac{2, 0, 0, 0, 0, n} }

// message is one of a client with the mac 02:00:00:00:00:n.
func (r *rig) message(n byte, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	r.t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, n}), dhcpv4.WithMessageType(kind)}, mods...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) say(n byte, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) next {
	r.t.Helper()
	return r.hear(r.message(n, kind, mods...), macOf(n), "tap"+string('0'+rune(n)))
}

func wish(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func of(server string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server)))
}

func has(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }

// lease goes the whole way of a client that is new here.
func (r *rig) lease(n byte, mods ...dhcpv4.Modifier) netip.Addr {
	r.t.Helper()
	asked := r.say(n, dhcpv4.MessageTypeDiscover, mods...)
	if asked.answer != nil || !asked.ask.IsValid() {
		r.t.Fatalf("it is not asked first whether the address is in use: %+v", asked)
	}
	offer := r.silent(asked.ask)
	r.want(offer, dhcpv4.MessageTypeOffer, asked.ask)
	r.want(r.say(n, dhcpv4.MessageTypeRequest, append(mods, wish(asked.ask.String()), of("198.18.7.1"))...), dhcpv4.MessageTypeAck, asked.ask)
	return asked.ask
}

func (r *rig) want(n next, kind dhcpv4.MessageType, a netip.Addr) {
	r.t.Helper()
	if n.answer == nil || n.answer.message.MessageType() != kind || valid(n.answer.message.YourIPAddr) != a {
		r.t.Fatalf("answered with %+v, want %s %s\n%s", n.answer, kind, a, r.said.String())
	}
}

func (r *rig) silence(what string, n next) {
	r.t.Helper()
	if n.answer != nil || n.ask.IsValid() {
		r.t.Errorf("%s: %+v", what, n)
	}
}

func TestALeaseHasAllThatAHostNeeds(t *testing.T) {
	r := newRig(t)
	a := r.lease(1)
	ack := r.say(1, dhcpv4.MessageTypeRequest, has(a.String())).answer
	if ack == nil {
		t.Fatal("not renewed")
	}
	m := ack.message
	ones, _ := m.SubnetMask().Size()
	if ones != 24 || valid(m.Router()[0]) != addr("198.18.7.1") || valid(m.DNS()[0]) != addr("198.18.7.1") || m.DomainName() != "home.arpa" || m.DomainSearch().Labels[0] != "home.arpa" ||
		m.IPAddressLeaseTime(0) != 10*time.Minute || m.IPAddressRenewalTime(0) != 5*time.Minute || m.IPAddressRebindingTime(0) != 525*time.Second ||
		valid(m.ServerIdentifier()) != addr("198.18.7.1") || valid(m.BroadcastAddress()) != addr("198.18.7.255") || m.Options.Get(dhcpv4.OptionInterfaceMTU)[1] != 0x78 {
		t.Errorf("%s", m.Summary())
	}
	if ack.to != a || ack.mac != macOf(1) {
		t.Errorf("sent to %s at %v", ack.to, ack.mac)
	}
}

// The cases of RFC 2131, 4.3.2, and what else may come.
func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(r *rig, a netip.Addr) next
		want dhcpv4.MessageType // 0: silence
	}{
		{"another server was chosen", func(r *rig, a netip.Addr) next {
			return r.say(1, dhcpv4.MessageTypeRequest, wish(a.String()), of("198.18.7.2"))
		}, 0},
		{"selecting what was not offered", func(r *rig, _ netip.Addr) next {
			return r.say(2, dhcpv4.MessageTypeRequest, wish("198.18.7.102"), of("198.18.7.1"))
		}, dhcpv4.MessageTypeNak},
		{"rebooted with its address", func(r *rig, a netip.Addr) next { return r.say(1, dhcpv4.MessageTypeRequest, wish(a.String())) }, dhcpv4.MessageTypeAck},
		{"rebooted with another's", func(r *rig, a netip.Addr) next { return r.say(2, dhcpv4.MessageTypeRequest, wish(a.String())) }, dhcpv4.MessageTypeNak},
		{"rebooted with another of its own", func(r *rig, a netip.Addr) next { return r.say(1, dhcpv4.MessageTypeRequest, wish(other(a))) }, dhcpv4.MessageTypeNak},
		{"from another LAN", func(r *rig, _ netip.Addr) next { return r.say(2, dhcpv4.MessageTypeRequest, wish("192.0.2.7")) }, dhcpv4.MessageTypeNak},
		{"renews", func(r *rig, a netip.Addr) next { return r.say(1, dhcpv4.MessageTypeRequest, has(a.String())) }, dhcpv4.MessageTypeAck},
		{"renews another's", func(r *rig, a netip.Addr) next { return r.say(2, dhcpv4.MessageTypeRequest, has(a.String())) }, dhcpv4.MessageTypeNak},
		{"renews a machine's", func(r *rig, _ netip.Addr) next { return r.say(2, dhcpv4.MessageTypeRequest, has("198.18.7.9")) }, dhcpv4.MessageTypeNak},
		{"renews what nobody knows of: the file was lost", func(r *rig, a netip.Addr) next { return r.say(2, dhcpv4.MessageTypeRequest, has(other(a))) }, dhcpv4.MessageTypeAck},
		{"informs itself", func(r *rig, _ netip.Addr) next { return r.say(3, dhcpv4.MessageTypeInform, has("198.18.7.50")) }, dhcpv4.MessageTypeAck},
		{"informs itself from elsewhere", func(r *rig, _ netip.Addr) next { return r.say(3, dhcpv4.MessageTypeInform, has("192.0.2.7")) }, 0},
		{"in another's name", func(r *rig, a netip.Addr) next {
			return r.hear(r.message(1, dhcpv4.MessageTypeRequest, has(a.String())), macOf(2), "tap2")
		}, 0},
		{"by a relay", func(r *rig, _ netip.Addr) next {
			return r.say(2, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(net.ParseIP("198.18.7.66")))
		}, 0},
		{"an answer", func(r *rig, _ netip.Addr) next {
			m := r.message(2, dhcpv4.MessageTypeOffer)
			m.OpCode = dhcpv4.OpcodeBootReply
			return r.hear(m, macOf(2), "tap2")
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			n := c.do(r, r.lease(1))
			switch {
			case c.want == 0:
				r.silence(c.name, n)
			case n.answer == nil || n.answer.message.MessageType() != c.want:
				t.Errorf("%+v", n.answer)
			case c.want == dhcpv4.MessageTypeNak && (n.answer.to != broadcast || n.answer.mac[0] != 0xff):
				t.Errorf("a refusal goes to %s at %v", n.answer.to, n.answer.mac)
			case n.answer.message.MessageType() == dhcpv4.MessageTypeAck && c.name == "informs itself" && (valid(n.answer.message.YourIPAddr).IsValid() || n.answer.message.IPAddressLeaseTime(0) != 0):
				t.Errorf("an INFORM gets a lease: %s", n.answer.message.Summary())
			}
		})
	}
}

// other is another address of the pool.
func other(a netip.Addr) string {
	if a == addr("198.18.7.102") {
		return "198.18.7.101"
	}
	return "198.18.7.102"
}

// An address that somebody answers for is left alone, and another is offered; the client
// itself may answer.
func TestProbe(t *testing.T) {
	r := newRig(t)
	first := r.say(1, dhcpv4.MessageTypeDiscover)
	r.silence("asked again while it is being looked at", r.say(1, dhcpv4.MessageTypeDiscover))
	r.silence("its own answer", r.inUse(first.ask, macOf(1)))
	second := r.inUse(first.ask, macOf(7))
	if second.ask == first.ask || !second.ask.IsValid() {
		t.Fatalf("%+v", second)
	}
	r.silence("the silence of one that is in use", r.silent(first.ask))
	r.want(r.silent(second.ask), dhcpv4.MessageTypeOffer, second.ask)
	third := r.say(2, dhcpv4.MessageTypeDiscover)
	if third.ask == first.ask || third.ask == second.ask {
		t.Errorf("%s is asked for again", third.ask)
	}
	// Rebooted with an address that nobody knows of, and that is in use.
	fourth := newRig(t)
	asked := fourth.say(1, dhcpv4.MessageTypeRequest, wish("198.18.7.101"))
	if asked.ask != addr("198.18.7.101") {
		t.Fatalf("%+v", asked)
	}
	fourth.want(fourth.inUse(asked.ask, macOf(7)), dhcpv4.MessageTypeNak, none)
}

func TestDeclineAndRelease(t *testing.T) {
	r := newRig(t)
	a := r.lease(1)
	r.silence("declined by somebody else", r.say(2, dhcpv4.MessageTypeDecline, wish(a.String()), of("198.18.7.1")))
	r.silence("declined at another server", r.say(1, dhcpv4.MessageTypeDecline, wish(a.String()), of("198.18.7.2")))
	if len(r.table.Leases()) != 1 {
		t.Fatal("a lease was taken away")
	}
	r.say(1, dhcpv4.MessageTypeDecline, wish(a.String()), of("198.18.7.1"))
	if b := r.lease(1); b == a {
		t.Errorf("%s again, which is in use", b)
	}
	r.say(1, dhcpv4.MessageTypeRelease, has(r.table.Leases()[0].Address.String()), of("198.18.7.1"))
	if l := r.table.Leases(); len(l) != 0 {
		t.Errorf("%+v", l)
	}
}

// A client that cannot hear its address yet is answered by broadcast.
func TestBroadcastFlag(t *testing.T) {
	r := newRig(t)
	n := r.say(1, dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true))
	if a := r.silent(n.ask).answer; a.to != broadcast || a.mac[0] != 0xff {
		t.Errorf("to %s at %v", a.to, a.mac)
	}
}

// A flood from one port is not heard to its end, and does not make another one wait.
func TestFlood(t *testing.T) {
	r := newRig(t)
	r.core.now = func() time.Time { return r.now }
	r.lease(1)
	heard := 0
	for range 1000 {
		if n := r.say(1, dhcpv4.MessageTypeInform, has("198.18.7.50")); n.answer != nil {
			heard++
		}
	}
	if heard < 2*perSecond || heard > 4*perSecond {
		t.Errorf("%d of 1000 messages were heard", heard)
	}
	r.lease(2)
	r.now = r.now.Add(time.Second)
	if n := r.say(1, dhcpv4.MessageTypeInform, has("198.18.7.50")); n.answer == nil {
		t.Error("a second later it is not heard")
	}
}

func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*model.DHCP4Config){
		"the pool is of another subnet": func(c *model.DHCP4Config) { c.Last = addr("198.18.8.1") },
		"the pool is empty":             func(c *model.DHCP4Config) { c.First = addr("198.18.7.103") },
		"no server":                     func(c *model.DHCP4Config) { c.Server = netip.Prefix{} },
		"a server of IPv6":              func(c *model.DHCP4Config) { c.Server = netip.MustParsePrefix("2001:db8::1/64") },
		"a machine elsewhere":           func(c *model.DHCP4Config) { c.Static[0].Address = addr("198.18.8.9") },
		"a machine as the server":       func(c *model.DHCP4Config) { c.Static[0].Address = addr("198.18.7.1") },
	} {
		c := config()
		change(&c)
		if Check(c) == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
	if err := Check(config()); err != nil {
		t.Error(err)
	}
}
