package probe

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// wrap puts a body into a packet and a frame.
func wrap(src, dst string, protocol byte, body []byte, tag bool) []byte {
	a, b := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	head, kind := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 0, 0, 0, 64, protocol, 0, 0}, []byte{8, 0}
	if a.Is6() {
		head, kind = []byte{0x60, 0, 0, 0, 0, byte(len(body)), protocol, 64}, []byte{0x86, 0xdd}
	}
	if tag {
		kind = append([]byte{0x81, 0, 0, 5}, kind...)
	}
	return slices.Concat(make([]byte, 12), kind, head, a.AsSlice(), b.AsSlice(), body)
}

func echoOf(m *Marked, kind byte) []byte {
	return slices.Concat([]byte{kind, 0, 0, 0, 1, 2, 0, 1}, m.Data())
}

func datagram(from, to uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	return append(append(b, 0, 8, 0, 0), data...)
}

// A marked packet is known wherever it is met, translated or tagged, and nobody else's is; what is
// known, the kernel's filter lets through.
func TestMarked(t *testing.T) {
	at := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	echo, echo6 := NewMarked(at("198.18.0.5"), at("198.18.0.1"), "icmp", 0, 84), NewMarked(at("2001:db8::5"), at("2001:db8::1"), "icmp", 0, 84)
	syn, syn6 := NewMarked(at("198.18.0.5"), at("198.18.0.1"), "tcp", 80, 84), NewMarked(at("2001:db8::5"), at("2001:db8::1"), "tcp", 80, 84)
	udp := NewMarked(at("198.18.0.5"), at("198.18.0.1"), "udp", 53, 84)
	other := NewMarked(at("198.18.0.5"), at("198.18.0.1"), "icmp", 0, 84)
	answer := syn.syn()
	binary.BigEndian.PutUint32(answer[4:], 77)
	binary.BigEndian.PutUint32(answer[8:], syn.sequence()+1)
	answer[13] = 0x12
	reset := slices.Clone(answer)
	reset[13] = 0x14
	refused := append([]byte{3, 13, 0, 0, 0, 0, 0, 0}, wrap("198.18.0.5", "198.18.0.1", 1, echoOf(echo, 8), false)[14:]...)
	refused6 := append([]byte{1, 4, 0, 0, 0, 0, 0, 0}, wrap("2001:db8::5", "2001:db8::1", 6, syn6.syn(), false)[14:]...)
	for _, c := range []struct {
		name  string
		m     *Marked
		frame []byte
		want  Sighting
		says  string
	}{
		{"echo", echo, wrap("198.18.0.5", "198.18.0.1", 1, echoOf(echo, 8), false), Request, ""},
		{"echo, translated and tagged", echo, wrap("198.18.9.9", "198.18.7.2", 1, echoOf(echo, 8), true), Request, ""},
		{"echo without an Ethernet", echo, wrap("198.18.9.9", "198.18.7.2", 1, echoOf(echo, 8), false)[14:], Request, ""},
		{"its answer", echo, wrap("198.18.0.1", "198.18.0.5", 1, echoOf(echo, 0), false), Answer, ""},
		{"echo, IPv6", echo6, wrap("2001:db8::5", "2001:db8::1", 58, echoOf(echo6, 128), false), Request, ""},
		{"its answer, IPv6", echo6, wrap("2001:db8::1", "2001:db8::5", 58, echoOf(echo6, 129), true), Answer, ""},
		{"refused", echo, wrap("198.18.0.7", "198.18.0.5", 1, refused, false), Refusal, "198.18.0.7 says: administratively prohibited"},
		{"SYN", syn, wrap("198.18.0.5", "198.18.0.1", 6, syn.syn(), false), Request, ""},
		{"SYN, tagged", syn, wrap("198.18.0.5", "198.18.0.1", 6, syn.syn(), true), Request, ""},
		{"SYN ACK", syn, wrap("198.18.0.1", "198.18.0.5", 6, answer, false), Answer, ""},
		{"RST", syn, wrap("198.18.0.1", "198.18.0.5", 6, reset, false), Answer, ""},
		{"SYN, IPv6", syn6, wrap("2001:db8::5", "2001:db8::1", 6, syn6.syn(), true), Request, ""},
		{"refused, IPv6", syn6, wrap("2001:db8::7", "2001:db8::5", 58, refused6, false), Refusal, "2001:db8::7 says: port unreachable"},
		{"datagram", udp, wrap("198.18.0.5", "198.18.0.1", 17, datagram(udp.sport, 53, udp.Data()), false), Request, ""},
		{"its answer", udp, wrap("198.18.0.1", "198.18.0.5", 17, datagram(53, udp.sport, []byte("hello")), false), Answer, ""},
		{"another echo", echo, wrap("198.18.0.5", "198.18.0.1", 1, echoOf(other, 8), false), Stranger, ""},
		{"another SYN", syn6, wrap("198.18.0.5", "198.18.0.1", 6, syn.syn(), false), Stranger, ""},
		{"ARP", echo, append(make([]byte, 12), append([]byte{8, 6}, make([]byte, 40)...)...), Stranger, ""},
	} {
		got, says := c.m.In(c.frame)
		if got != c.want || says != c.says {
			t.Errorf("%s: %d %q, want %d %q", c.name, got, says, c.want, c.says)
		}
		if let := filtered(t, c.m, c.frame); let != (c.want != Stranger) {
			t.Errorf("%s: the filter lets it through: %v", c.name, let)
		}
	}
	if n := len(echo.Data()) + echo.header(); n != 84 {
		t.Errorf("%d bytes, want 84", n)
	}
	if s := syn.syn(); onesSum(slices.Concat(syn.Source.AsSlice(), syn.Destination.AsSlice(), []byte{0, 6, 0, 20}, s)) != 0 {
		t.Error("the checksum of a SYN is wrong")
	}
}

func filtered(t *testing.T, m *Marked, frame []byte) bool {
	t.Helper()
	raw, err := m.filter()
	if err != nil {
		t.Fatal(err)
	}
	program, _ := bpf.Disassemble(raw)
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// FuzzMarked: frames of strangers are looked at, and nothing panics.
func FuzzMarked(f *testing.F) {
	m := NewMarked(netip.MustParseAddr("198.18.0.5"), netip.MustParseAddr("198.18.0.1"), "icmp", 0, 84)
	f.Add(wrap("198.18.0.5", "198.18.0.1", 1, echoOf(m, 8), false))
	f.Add(wrap("2001:db8::5", "2001:db8::1", 6, m.syn(), true))
	f.Add(wrap("198.18.0.7", "198.18.0.5", 1, append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, wrap("198.18.0.5", "198.18.0.1", 6, m.syn(), false)[14:]...), false))
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, protocol := range []string{"icmp", "tcp", "udp"} {
			one := *m
			one.Protocol = protocol
			if s, _ := one.In(frame); s == Request && protocol != "tcp" && !bytes.Contains(frame, one.token[:]) {
				t.Errorf("%s: known without its token", protocol)
			}
		}
	})
}
