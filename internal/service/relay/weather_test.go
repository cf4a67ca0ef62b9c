package relay

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"drawbridge/internal/model"
)

func (r *Relay) told(words string) bool {
	return slices.ContainsFunc(r.Troubles(), func(t string) bool { return strings.Contains(t, words) })
}

// at lets the time go on in steps, as Run does.
func (r *Relay) passes(d time.Duration) {
	for now, end := time.Now(), time.Now().Add(d); now.Before(end); now = now.Add(probePause + time.Millisecond) {
		r.look(now)
	}
}

// One who claims the address of another does not have it while that one answers for it,
// however often he says so; nor ever what the file gives.
func TestRivals(t *testing.T) {
	r, near, _ := newRelay(t, model.LearnedAddress{Address: web4, MAC: "02:d3:00:00:00:01"})
	f := facts()
	f.Given = []netip.Addr{netip.MustParseAddr("198.18.0.10")}
	r.SetFacts(f)
	holder := func() model.MAC { return r.Learned()[0].MAC }
	for range 20 {
		r.fromMachine(arp(arpRequest, everybody, otherMAC, web4, router4), false)
	}
	r.passes(time.Second)
	if asked := near.next(); !bytes.Equal(asked, arp(arpRequest, webMAC, linkMAC, host4, web4)) {
		t.Errorf("its holder was asked by % x", asked)
	}
	r.fromMachine(arp(arpReply, linkMAC, webMAC, web4, host4), false)
	r.passes(30 * time.Second)
	if holder() != "02:d3:00:00:00:01" || !r.told("the machine with 02:d3:00:00:00:02 uses 198.18.0.100, which is 02:d3:00:00:00:01's") {
		t.Errorf("it is at %s, told %q", holder(), r.Troubles())
	}
	// The holder is gone: somebody else may have it.
	r.fromMachine(arp(arpRequest, everybody, otherMAC, web4, router4), false)
	r.passes(30 * time.Second)
	if holder() != "02:d3:00:00:00:02" || len(r.Troubles()) > 0 {
		t.Errorf("it is at %s, told %q", holder(), r.Troubles())
	}
	r.fromMachine(arp(arpRequest, everybody, otherMAC, f.Given[0], router4), false)
	r.passes(30 * time.Second)
	if got := r.Learned(); len(got) != 1 {
		t.Errorf("an address of the file's was learned: %v", got)
	}
}

func discover(t *testing.T, from, chaddr mac) []byte {
	t.Helper()
	m, err := dhcpv4.NewDiscovery(chaddr[:])
	if err != nil {
		t.Fatal(err)
	}
	return datagram(everybody, from, netip.IPv4Unspecified(), broadcast4, clientPort, serverPort, m.ToBytes())
}

// One machine that makes up clients gets no more of the LAN's addresses than one may have, and
// the others theirs.
func TestFlood(t *testing.T) {
	r, _, far := newRelay(t)
	r.Port = func(m model.MAC) string {
		if m == model.MAC(webMAC.String()) {
			return "tap1"
		}
		return "tap0"
	}
	passed := 0
	for i := range 1000 {
		from := mac{2, 0xaa, 0, 0, byte(i >> 8), byte(i)}
		r.fromMachine(discover(t, from, from), false)
		for far.next() != nil {
			passed++
		}
	}
	if passed != maxClients || !r.told("behind tap0 more than 16 clients") {
		t.Errorf("%d of a thousand clients were passed on, told %q", passed, r.Troubles())
	}
	r.fromMachine(discover(t, webMAC, webMAC), false)
	if far.next() == nil {
		t.Error("another machine is not heard")
	}
	r.fromMachine(discover(t, webMAC, otherMAC), false)
	if got := far.next(); got != nil {
		t.Errorf("one who speaks for another was passed on: % x", got)
	}
	for range 1000 {
		r.fromMachine(discover(t, webMAC, webMAC), false)
	}
	for passed = 0; far.next() != nil; passed++ {
	}
	if passed > burst {
		t.Errorf("%d of a thousand messages at once were passed on", passed)
	}
	r.passes(2 * time.Minute)
	if len(r.waiting) > 0 {
		t.Errorf("%d clients are waited for", len(r.waiting))
	}
}

// A server that is silent is told of once somebody has waited for it, and no longer when it
// answers.
func TestSilence(t *testing.T) {
	r, _, _ := newRelay(t)
	r.fromMachine(discover(t, webMAC, webMAC), false)
	if r.told("no DHCP server") {
		t.Errorf("told at once: %q", r.Troubles())
	}
	r.unanswered[webMAC].since = time.Now().Add(-silentAfter - time.Second)
	if !r.told("no DHCP server of the LAN of eth0 has answered the machine with 02:d3:00:00:00:01 since") {
		t.Errorf("told %q", r.Troubles())
	}
	m, err := dhcpv4.NewDiscovery(webMAC[:])
	if err != nil {
		t.Fatal(err)
	}
	r.fromMachine(datagram(everybody, webMAC, netip.IPv4Unspecified(), broadcast4, clientPort, serverPort, m.ToBytes()), false)
	offer, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithYourIP(web4.AsSlice()), dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer))
	if err != nil {
		t.Fatal(err)
	}
	r.fromLAN(datagram(everybody, mac{2, 0xdb, 0, 0, 0, 1}, router4, broadcast4, serverPort, clientPort, offer.ToBytes()))
	if got := r.Troubles(); len(got) > 0 {
		t.Errorf("answered, and told %q", got)
	}
}

// other is the host on another LAN.
func other() Facts {
	f := facts()
	f.LAN = []netip.Prefix{netip.MustParsePrefix("198.18.4.5/24"), netip.MustParsePrefix("2001:db8:4::5/64")}
	f.Gateways = []netip.Addr{netip.MustParseAddr("198.18.4.1")}
	f.Taken = append(slices.Clone(f.Gateways), netip.MustParseAddr("198.18.4.5"), netip.MustParseAddr("2001:db8:4::5"))
	return f
}

// The very same prefix, and another gateway: whoever has an address there keeps it.
func TestTheSamePrefixElsewhere(t *testing.T) {
	given4 := netip.MustParseAddr("198.18.0.10")
	r, _, far := newRelay(t, model.LearnedAddress{Address: web4, MAC: "02:d3:00:00:00:01"})
	f := facts()
	f.Given = []netip.Addr{given4}
	r.SetFacts(f)
	if got := r.Report(); len(got.Learned) != 1 || !slices.Equal(got.Answers, f.Given) {
		t.Fatalf("%+v", got)
	}
	f.Away = true
	r.SetFacts(f)
	if got := r.Report(); len(got.Answers) > 0 || !r.told("eth0 is down, or has no carrier") {
		t.Errorf("unplugged: %+v %q", got, r.Troubles())
	}
	f.Away = false
	r.SetFacts(f)
	r.look(time.Now().Add(time.Second))
	var asked []byte
	for frame := far.next(); frame != nil; frame = far.next() {
		asked = append(asked, frame...)
	}
	for _, a := range []netip.Addr{web4, given4} {
		if !bytes.Contains(asked, arp(arpRequest, everybody, uplinkMAC, netip.IPv4Unspecified(), a)) {
			t.Errorf("the LAN is not asked for %s again", a)
		}
	}
	somebody := mac{2, 0xdb, 0, 0, 0, 0x14}
	for _, a := range []netip.Addr{web4, given4} {
		r.fromLAN(arp(arpReply, uplinkMAC, somebody, a, host4))
	}
	r.passes(5 * time.Second)
	if got := r.Report(); len(got.Learned)+len(got.Answers) > 0 {
		t.Errorf("somebody has both, and they are routed: %+v", got)
	}
	if !r.told("198.18.0.10, which the file gives to a machine, somebody else on the LAN has (02:db:00:00:00:14)") || !r.told("uses 198.18.0.100, which somebody on the LAN has") {
		t.Errorf("told %q", r.Troubles())
	}
	// He goes.
	r.passes(givenAgain + 5*time.Second)
	if got := r.Report(); !slices.Equal(got.Answers, f.Given) {
		t.Errorf("nobody has it any more: %+v", got)
	}
}

// A machine with a lease of the LAN before is told of, and pulled; what it sends to the server
// before goes to those of this LAN, whose answer ends that lease.
func TestLeaseOfAnotherLAN(t *testing.T) {
	r, _, far := newRelay(t)
	r.learn(web4, webMAC, true)
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(webMAC[:]), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(web4.AsSlice()))
	if err != nil {
		t.Fatal(err)
	}
	renewal := datagram(linkMAC, webMAC, web4, router4, clientPort, serverPort, m.ToBytes())
	for far.next() != nil {
	}
	r.fromMachine(renewal, false)
	if got := far.next(); got != nil {
		t.Errorf("what is routed is relayed, too: % x", got)
	}
	r.SetFacts(other())
	if got := r.Report(); len(got.Learned) > 0 || !slices.Equal(got.Stranded, []model.MAC{"02:d3:00:00:00:01"}) || !r.told("uses 198.18.0.100, which is not of the LAN of eth0") {
		t.Errorf("%+v %q", got, r.Troubles())
	}
	for far.next() != nil {
	}
	r.fromMachine(renewal, false)
	if far.next() == nil {
		t.Error("it is not relayed")
	}
	r.learn(netip.MustParseAddr("198.18.4.100"), webMAC, true)
	if got := r.Report(); len(got.Learned) != 1 || len(got.Stranded) > 0 || len(r.Troubles()) > 0 {
		t.Errorf("%+v %q", got, r.Troubles())
	}
}

// What the router of the LAN before has said is taken back once the host has gone from its
// prefix: the router, the prefix, the name servers.
func TestWithdrawn(t *testing.T) {
	r, near, _ := newRelay(t)
	router := netip.MustParseAddr("fe80::1")
	body := routerAdvert()
	copy(body[len(body)-16:], netip.MustParseAddr("2001:db8::").AsSlice())
	copy(body[len(body)-28:], []byte{0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40})
	body = append(body, optionDNS, 3, 0, 0, 0, 0, 7, 8)
	body = append(body, netip.MustParseAddr("2001:db8::1").AsSlice()...)
	r.fromLAN(icmp(groupMAC(allNodes), mac{2, 0xdb, 0, 0, 0, 1}, router, allNodes, body))
	near.next()
	r.passes(time.Minute)
	if got := near.next(); got != nil {
		t.Fatalf("taken back while the host is there: % x", got)
	}
	r.SetFacts(other())
	r.passes(time.Minute)
	_, last, ok := discovery(near.next()[etherLen:])
	if !ok || last[6]|last[7] != 0 || !bytes.Equal(last[28:36], make([]byte, 8)) || !bytes.Equal(last[len(last)-20:len(last)-16], make([]byte, 4)) {
		t.Errorf("machines were told % x", last)
	}
	if len(r.routers) > 0 {
		t.Error("it is told again to who asks")
	}
}
