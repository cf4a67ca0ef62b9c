package snoop

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

func frame(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dhcp is a server's message of a kind, in its frame.
func dhcp(t testing.TB, kind dhcpv4.MessageType) []byte {
	t.Helper()
	m, err := dhcpv4.New(dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 2}), dhcpv4.WithYourIP(net.IP{198, 18, 0, 2}), dhcpv4.WithServerIP(net.IP{198, 18, 0, 1}),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{198, 18, 0, 9})))
	if err != nil {
		t.Fatal(err)
	}
	m.OpCode = dhcpv4.OpcodeBootReply
	head := frame(t, "ffffffffffff 020000000001 0800  45000000 00000000 40110000 c6120001 ffffffff  00430044 00000000")
	return append(head, m.ToBytes()...)
}

var (
	arpAsks   = "ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 c6120002 000000000000 c6120001"
	arpProbes = "ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 00000000 000000000000 c6120001"
	ip6       = "86dd 60000000 0020 3a ff "
	local     = "fe8000000000000000000000000000 02 "
	group     = "ff020000000000000000000000000001 "
	target    = "20010db8000000000000000000000002 "
	solicits  = "3333ff000001 020000000002 " + ip6 + local + group + "87000000 00000000 " + target + "0101 020000000002"
	probes    = "3333ff000001 020000000002 " + ip6 + "00000000000000000000000000000000" + group + "87000000 00000000 " + target + "0e01 000000000000"
	tells     = "333300000001 020000000002 " + ip6 + local + group + "88000000 20000000 " + target + "0201 020000000002"
	routes    = "333300000001 020000000002 " + ip6 + local + group + "86000000 40000708 0000000000000000"
)

func TestParse(t *testing.T) {
	const mac = model.MAC("02:00:00:00:00:02")
	at := func(a, by string) Sighting { return Sighting{mac, netip.MustParseAddr(a), by} }
	server := Sighting{"02:00:00:00:00:01", netip.MustParseAddr("198.18.0.9"), ByDHCPServer}
	for name, c := range map[string]struct {
		frame []byte
		want  []Sighting
	}{
		"arp":       {frame(t, arpAsks), []Sighting{at("198.18.0.2", model.SeenByARP)}},
		"arp probe": {frame(t, arpProbes), nil},
		"ns":        {frame(t, solicits), []Sighting{at("fe80::2", model.SeenByND)}},
		"dad":       {frame(t, probes), []Sighting{at("2001:db8::2", model.SeenByND)}},
		"na":        {frame(t, tells), []Sighting{at("2001:db8::2", model.SeenByND)}},
		"ra":        {frame(t, routes), []Sighting{at("fe80::2", ByRouter)}},
		"offer":     {dhcp(t, dhcpv4.MessageTypeOffer), []Sighting{server}},
		"ack":       {dhcp(t, dhcpv4.MessageTypeAck), []Sighting{server, at("198.18.0.2", model.SeenByDHCP)}},
		"discover":  {dhcp(t, dhcpv4.MessageTypeDiscover), nil},
	} {
		if got := Parse(c.frame); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		// The filter lets through what tells something, whatever is cut off it.
		vm, err := bpf.NewVM(Filter)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(c.frame) + 1 {
			passed, err := vm.Run(c.frame[:n])
			if told := len(Parse(c.frame[:n])) > 0; err != nil || told && passed == 0 {
				t.Errorf("%s, %d bytes: passes %d, tells %v: %v", name, n, passed, told, err)
			}
		}
	}
	vm, _ := bpf.NewVM(Filter)
	for _, f := range []string{"ffffffffffff 020000000002 88cc 0000", "ffffffffffff 020000000002 0800 45000000 00000000 40060000 c6120001 c6120002 00430044 00000000"} {
		if n, err := vm.Run(frame(t, f)); n != 0 || err != nil {
			t.Errorf("%s: passes %d, %v", f, n, err)
		}
	}
}

// FuzzParse: whatever is on the wire, it neither panics nor tells an address of nobody.
func FuzzParse(f *testing.F) {
	for _, s := range []string{arpAsks, arpProbes, solicits, probes, tells, routes} {
		f.Add(frame(f, s))
	}
	f.Add(dhcp(f, dhcpv4.MessageTypeAck))
	vm, err := bpf.NewVM(Filter)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		seen := Parse(b)
		for _, s := range seen {
			if !s.MAC.Valid() || !s.Address.IsValid() || s.Address.IsUnspecified() || s.Address.IsMulticast() {
				t.Errorf("%+v", s)
			}
		}
		if n, err := vm.Run(b); len(seen) > 0 && (err != nil || n == 0) {
			t.Errorf("the filter stops what tells %v", seen)
		}
	})
}

// On a bridge all that its ports say is heard.
func TestListen(t *testing.T) {
	n, there := testnet.New(t), testnet.New(t)
	n.Veth("eth0", there, "far0")
	n.Must(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "eth0", Master: "br0"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var seen []Sighting
	done := make(chan error, 1)
	go func() {
		var err error
		n.Inside(func() error {
			err = Listen(ctx, "br0", func(s Sighting) { mu.Lock(); seen = append(seen, s); mu.Unlock() })
			return nil
		})
		done <- err
	}()
	var wire *packet.Conn
	there.Inside(func() error {
		ifi, err := net.InterfaceByName("far0")
		if err == nil {
			wire, err = packet.Listen(ifi, packet.Raw, etherTypeAll, nil)
		}
		return err
	})
	defer wire.Close()
	want := Parse(frame(t, arpAsks))[0]
	testnet.Eventually(t, func() error {
		if _, err := wire.WriteTo(frame(t, arpAsks), &packet.Addr{HardwareAddr: net.HardwareAddr{255, 255, 255, 255, 255, 255}}); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(seen, want) {
			return errors.New("not heard")
		}
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
