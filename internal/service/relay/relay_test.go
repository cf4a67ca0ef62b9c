package relay

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

var (
	linkMAC   = mac{2, 0xdb, 0, 0, 0, 9}
	uplinkMAC = mac{2, 0xdb, 0, 0, 0, 5}
	webMAC    = mac{2, 0xd3, 0, 0, 0, 1}
	otherMAC  = mac{2, 0xd3, 0, 0, 0, 2}
	host4     = netip.MustParseAddr("198.18.0.5")
	router4   = netip.MustParseAddr("198.18.0.1")
	web4      = netip.MustParseAddr("198.18.0.100")
	web6      = netip.MustParseAddr("2001:db8::100")
	far4      = netip.MustParseAddr("198.19.0.9")
	hostLL    = netip.MustParseAddr("fe80::9")
)

func facts() Facts {
	return Facts{
		LinkMAC: model.MAC(net.HardwareAddr(linkMAC[:]).String()), UplinkMAC: model.MAC(net.HardwareAddr(uplinkMAC[:]).String()),
		LinkLocal: hostLL, UplinkLocal: netip.MustParseAddr("fe80::5"),
		LAN:      []netip.Prefix{netip.MustParsePrefix("198.18.0.5/24"), netip.MustParsePrefix("2001:db8::5/64")},
		Taken:    []netip.Addr{host4, router4, netip.MustParseAddr("2001:db8::5")},
		Gateways: []netip.Addr{router4},
	}
}

// side is the other end of a relay's wire.
type side struct {
	t  *testing.T
	fd int
}

func newSide(t *testing.T) (*wire, *side) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "wire")
	w, err := newWire(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = f.Close(), unix.Close(fds[1]) })
	return w, &side{t, fds[1]}
}

// next is the next frame that was sent, nil for none.
func (s *side) next() []byte {
	b := make([]byte, 2048)
	n, err := unix.Read(s.fd, b)
	if err != nil {
		return nil
	}
	return b[:n]
}

func newRelay(t *testing.T, learned ...model.LearnedAddress) (r *Relay, near, far *side) {
	t.Helper()
	r = New("br0", model.RelayConfig{Uplink: "eth0"}, facts(), learned, t.Logf)
	r.near, near = newSide(t)
	r.far, far = newSide(t)
	return r, near, far
}

// A machine that took an address by itself is routed once the LAN was asked for it, and
// nobody had it; one that somebody has is told of.
func TestLearned(t *testing.T) {
	r, _, far := newRelay(t)
	r.fromMachine(arp(arpRequest, everybody, webMAC, web4, router4), false)
	if got := r.Learned(); len(got) > 0 {
		t.Errorf("routed before the LAN was asked: %v", got)
	}
	now := time.Now()
	for range probes + 1 {
		now = now.Add(probePause + time.Millisecond)
		r.look(now)
	}
	if probe := far.next(); !bytes.Equal(probe, arp(arpRequest, everybody, uplinkMAC, netip.IPv4Unspecified(), web4)) {
		t.Errorf("the LAN was asked by % x", probe)
	}
	if got := r.Learned(); len(got) != 1 || got[0].Address != web4 {
		t.Errorf("learned %v", got)
	}
	r.fromMachine(arp(arpRequest, everybody, otherMAC, netip.MustParseAddr("198.18.0.101"), router4), false)
	r.fromLAN(arp(arpReply, uplinkMAC, mac{2, 0xdb, 0, 0, 0, 0x14}, netip.MustParseAddr("198.18.0.101"), host4))
	if got, why := r.Learned(), r.Troubles(); len(got) != 1 || len(why) != 1 {
		t.Errorf("learned %v, told %q", got, why)
	}
	r.fromMachine(arp(arpRequest, everybody, otherMAC, host4, router4), false)
	if got, why := r.Learned(), r.Troubles(); len(got) != 1 || len(why) != 2 {
		t.Errorf("the host's own address: learned %v, told %q", got, why)
	}
}

// Frames to MAC addresses of the time before are answered with where their receivers are:
// also of a machine whose own was not known, and so that the answer is believed at once.
func TestHealed(t *testing.T) {
	for name, known := range map[string]model.MAC{"its MAC address is known": "02:d3:00:00:00:01", "it is not": ""} {
		t.Run(name, func(t *testing.T) {
			r, near, _ := newRelay(t, model.LearnedAddress{Address: web4, MAC: known})
			for to, at := range map[netip.Addr]netip.Addr{netip.MustParseAddr("198.18.0.20"): netip.MustParseAddr("198.18.0.20"), far4: router4} {
				r.fromMachine(datagram(mac{2, 0xdb, 0, 0, 0, 0x14}, webMAC, web4, to, 1, 2, nil), true)
				if got, want := near.next(), arp(arpRequest, webMAC, linkMAC, at, at); !bytes.Equal(got, want) {
					t.Errorf("to %s: was told % x, not % x", to, got, want)
				}
			}
		})
	}
	r, near, _ := newRelay(t, model.LearnedAddress{Address: web4, MAC: "02:d3:00:00:00:01"})
	r.fromMachine(datagram(mac{2, 0xdb, 0, 0, 0, 0x14}, otherMAC, web4, router4, 1, 2, nil), true)
	if got := near.next(); got != nil {
		t.Errorf("one who uses somebody else's address was told % x", got)
	}
}

func routerAdvert() []byte {
	body := make([]byte, 16, 64)
	body[0], body[4], body[6], body[7] = routerAdvertisement, 64, 7, 8
	body = append(body, optionSource, 1, 2, 0xdb, 0, 0, 0, 1)
	prefix := make([]byte, 32)
	prefix[0], prefix[1], prefix[2], prefix[3] = optionPrefix, 4, 64, 0xc0
	return append(body, prefix...)
}

// The host is the router behind itself, and tells so when it is no longer.
func TestAdvertised(t *testing.T) {
	r, near, _ := newRelay(t)
	router := netip.MustParseAddr("fe80::1")
	r.fromLAN(icmp(groupMAC(allNodes), mac{2, 0xdb, 0, 0, 0, 1}, router, allNodes, routerAdvert()))
	source, body, ok := discovery(near.next()[etherLen:])
	if !ok || source != hostLL || body[6] != 7 || !bytes.Equal(body[18:24], linkMAC[:]) || body[27]&flagOnLink != 0 {
		t.Fatalf("machines were told, by %s, % x", source, body)
	}
	r.resign()
	if _, body, ok = discovery(near.next()[etherLen:]); !ok || body[6] != 0 || body[7] != 0 {
		t.Errorf("at the end they were told % x", body)
	}
	if r.resign(); r.routers[router].body[7] != 8 {
		t.Error("what the router said is altered")
	}
}

// A server that is silent leaves nothing behind, and one who does not ask is told nothing.
func TestDHCPWithoutAnswer(t *testing.T) {
	r, near, far := newRelay(t)
	m, err := dhcpv4.NewDiscovery(webMAC[:])
	if err != nil {
		t.Fatal(err)
	}
	r.fromMachine(datagram(everybody, webMAC, netip.IPv4Unspecified(), broadcast4, clientPort, serverPort, m.ToBytes()), false)
	sent := far.next()
	if sent == nil {
		t.Fatal("it was not relayed")
	}
	_, payload, _ := udp(sent[etherLen:])
	relayed, err := dhcpv4.FromBytes(payload)
	if err != nil || !relayed.GatewayIPAddr.Equal(host4.AsSlice()) || relayed.HopCount != 1 || !relayed.IsBroadcast() {
		t.Errorf("relayed %v %v", relayed, err)
	}
	if r.look(time.Now().Add(2 * time.Minute)); len(r.waiting) > 0 || len(r.Learned()) > 0 {
		t.Errorf("after two minutes of silence: %v, %v", r.waiting, r.Learned())
	}
	offer, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithYourIP(web4.AsSlice()), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck))
	if err != nil {
		t.Fatal(err)
	}
	r.fromLAN(datagram(everybody, mac{2, 0xdb, 0, 0, 0, 1}, router4, broadcast4, serverPort, clientPort, offer.ToBytes()))
	if got := near.next(); got != nil || len(r.Learned()) > 0 {
		t.Errorf("too late, and relayed: % x", got)
	}
}

// Whatever comes: no frame ends the relay, or has it route what it must not.
func FuzzFrames(f *testing.F) {
	m, err := dhcpv4.NewDiscovery(webMAC[:])
	if err != nil {
		f.Fatal(err)
	}
	for _, frame := range [][]byte{
		arp(arpRequest, everybody, webMAC, web4, router4),
		datagram(everybody, webMAC, netip.IPv4Unspecified(), broadcast4, clientPort, serverPort, m.ToBytes()),
		icmp(groupMAC(allNodes), webMAC, hostLL, allNodes, routerAdvert()),
		solicitation(webMAC, netip.IPv6Unspecified(), web6), solicitation(webMAC, web6, netip.MustParseAddr("2001:db8::20")),
		advertisement(linkMAC, webMAC, web6, hostLL, web6, override),
	} {
		f.Add(frame, false)
		f.Add(frame, true)
		f.Add(frame[:len(frame)/2], false)
	}
	f.Fuzz(func(t *testing.T, frame []byte, other bool) {
		if len(frame) < etherLen { // Run leaves these out
			return
		}
		r := New("br0", model.RelayConfig{Uplink: "eth0"}, facts(), nil, func(string, ...any) {})
		r.near, _ = newSide(t)
		r.far, _ = newSide(t)
		r.fromMachine(frame, other)
		r.fromLAN(frame)
		now := time.Now()
		for range probes + 2 {
			now = now.Add(probePause + time.Millisecond)
			r.look(now)
		}
		r.resign()
		for _, l := range r.Learned() {
			if !r.facts.onLAN(l.Address) || r.facts.taken(l.Address) {
				t.Errorf("it routes %s", l.Address)
			}
		}
	})
}
