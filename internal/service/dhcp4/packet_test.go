package dhcp4

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"

	"drawbridge/internal/service/lease"
)

// request is what a client sends, as an IPv4 packet.
func request(payload []byte) []byte {
	b := packUDP(addr("0.0.0.0"), broadcast, payload)
	b[ipLen+1], b[ipLen+3] = clientPort, serverPort
	return b
}

func TestPackets(t *testing.T) {
	b := packUDP(addr("198.18.7.1"), addr("198.18.7.100"), []byte("odd"))
	if checksum(0, b[:ipLen]) != 0 {
		t.Error("the header's checksum is wrong")
	}
	var f bytes.Buffer // what the datagram's checksum is over
	f.Write(b[12:20])
	f.Write([]byte{0, protoUDP, 0, byte(len(b) - ipLen)})
	f.Write(b[ipLen:])
	if checksum(0, f.Bytes()) != 0 {
		t.Error("the datagram's checksum is wrong")
	}
	from, payload, err := parseUDP(append(request([]byte("hello")), 0, 0, 0)) // padded, as short frames are
	if err != nil || from != addr("0.0.0.0") || string(payload) != "hello" {
		t.Errorf("%s %q %v", from, payload, err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"empty":           func([]byte) []byte { return nil },
		"cut off":         func(b []byte) []byte { return b[:25] },
		"IPv6":            func(b []byte) []byte { b[0] = 0x65; return b },
		"a fragment":      func(b []byte) []byte { b[7] = 1; return b },
		"more to come":    func(b []byte) []byte { b[6] = 0x20; return b },
		"TCP":             func(b []byte) []byte { b[9] = 6; return b },
		"a long header":   func(b []byte) []byte { b[0] = 0x4f; return b },
		"a short header":  func(b []byte) []byte { b[0] = 0x41; return b },
		"another port":    func(b []byte) []byte { b[ipLen+3] = 53; return b },
		"UDP too long":    func(b []byte) []byte { b[ipLen+5] = 200; return b },
		"UDP too short":   func(b []byte) []byte { b[ipLen+5] = 7; return b },
		"length too long": func(b []byte) []byte { b[3] = 250; return b },
	} {
		if _, p, err := parseUDP(change(request([]byte("hello")))); err == nil {
			t.Errorf("%s: taken for %q", name, p)
		}
	}
}

// The kernel's filter lets through what is for the server, and nothing else.
func TestFilter(t *testing.T) {
	// Without the first two: no packet has a VLAN tag here.
	vm, err := bpf.NewVM(udpFilter[2:])
	if err != nil {
		t.Fatal(err)
	}
	good := request([]byte("hello"))
	options := append(append([]byte{0x46}, good[1:ipLen]...), 0, 0, 0, 0)
	options = append(options, good[ipLen:]...)
	other, fragment, tcp := bytes.Clone(good), bytes.Clone(good), bytes.Clone(good)
	other[ipLen+3], fragment[7], tcp[9] = 68, 1, 6
	for name, c := range map[string]struct {
		b    []byte
		pass bool
	}{"a request": {good, true}, "with options of IP": {options, true}, "another port": {other, false}, "a fragment": {fragment, false}, "TCP": {tcp, false}, "short": {good[:21], false}} {
		n, err := vm.Run(c.b)
		if err != nil || (n > 0) != c.pass {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func TestARP(t *testing.T) {
	q := askARP(macOf(1), addr("198.18.7.100"))
	if _, _, ok := parseARP(q); ok {
		t.Error("a probe tells of an address") // its sender has none
	}
	q[7] = 2
	copy(q[14:18], addr("198.18.7.100").AsSlice())
	if m, a, ok := parseARP(q); !ok || m != macOf(1) || a != addr("198.18.7.100") {
		t.Errorf("%v %v %v", m, a, ok)
	}
	for i := range q {
		parseARP(q[:i])
	}
}

// FuzzHear: whatever comes in, nothing breaks, and what is answered is for who asked and
// of the pool.
func FuzzHear(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease} {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 1}), dhcpv4.WithMessageType(kind), wish("198.18.7.100"), of("198.18.7.1"),
			dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte("id"))), dhcpv4.WithOption(dhcpv4.OptHostName("alice")))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(request(m.ToBytes()))
	}
	f.Add(askARP(macOf(1), addr("198.18.7.100")))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseARP(b)
		_, payload, err := parseUDP(b)
		if err != nil {
			payload = b // the fuzzer shall not have to make a packet first
		}
		m, err := dhcpv4.FromBytes(payload)
		if err != nil || len(m.ClientHWAddr) != 6 {
			return
		}
		now := time.Unix(1_000_000, 0)
		s := newCore(config(), lease.NewTable(config(), nil, func() time.Time { return now }), func(string, ...any) {})
		from := [6]byte(m.ClientHWAddr)
		for range 2 {
			n := s.hear(m, from, "tap0")
			if n.ask.IsValid() {
				n = s.silent(n.ask)
			}
			if n.answer == nil {
				continue
			}
			a := valid(n.answer.message.YourIPAddr)
			if a.IsValid() && (a.Less(config().First) || config().Last.Less(a)) && a != config().Static[0].Address {
				t.Fatalf("%s is given", a)
			}
			if n.answer.mac != from && n.answer.mac[0] != 0xff {
				t.Fatalf("answered to %v", n.answer.mac)
			}
			if len(n.answer.packet(config().Server.Addr())) > 1500 {
				t.Fatalf("an answer of %d bytes", len(n.answer.message.ToBytes()))
			}
		}
		for _, l := range s.table.Leases() {
			if l.Name != lease.CleanName(l.Name) || len(l.ClientID) > 2*maxClientID {
				t.Fatalf("%+v is kept", l)
			}
		}
	})
}
