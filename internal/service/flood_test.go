package service_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/dns/dnsmessage"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// One machine sends whatever a fuzzer thinks of, as fast as it can: questions for addresses in
// the names of thousands, questions for names, solicitations, whole and mutilated. The server
// is the same process afterwards, no larger than a server may be, and serves the others.
func TestFlooded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bad, good := s.port("tap0"), s.port("tap1")
	s.do(model.StartService{Service: all()})
	before := s.one()
	own := [6]byte{2, 0xdb, 0xad, 0, 0, 1}
	bad.Must(model.SetMAC{Link: "eth0", MAC: "02:db:ad:00:00:01"})
	sent := 0
	bad.Inside(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err := packet.Listen(ifi, packet.Raw, 0, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		dice := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same each time
		for end := time.Now().Add(time.Second); time.Now().Before(end); sent++ {
			frame := nasty(t, dice, own)
			_, _ = conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}) // a full queue loses it
		}
		return nil
	})
	t.Logf("%d frames were sent", sent)
	if a := lease(t, good); !host4.Contains(a) {
		t.Errorf("the other one got %s", a)
	}
	after := s.one()
	if after.PID != before.PID || after.Restarts != 0 || after.State != model.ServiceRunning {
		t.Errorf("the server ended: %+v%s", after, s.log())
	}
	if !slices.ContainsFunc(after.Troubles, func(w string) bool { return strings.Contains(w, "gets no address: tap0: 16: its port has as many") }) {
		t.Errorf("it does not tell who asks for too much: %q", after.Troubles)
	}
	atBad := 0
	for _, l := range after.Leases {
		if l.Port == "tap0" {
			atBad++
		}
	}
	if atBad > 16 {
		t.Errorf("one port has %d addresses", atBad)
	}
	if kb := resident(t, after.PID); kb > 128<<10 {
		t.Errorf("the server has %d MB", kb>>10)
	}
	if st, err := os.Stat(filepath.Join(s.dir, "services", "private", "shim.log")); err != nil || st.Size() > 4<<20 {
		t.Errorf("its log: %v %v", st, err)
	}
	// The name server answers the others, too.
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (c net.Conn, err error) {
		good.Inside(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, "udp", "198.18.7.1:53")
			return err
		})
		return c, err
	}}
	good.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.7.9/24"), Origin: model.Static}}})
	testnet.Within(t, testnet.Patience, func() error {
		_, err := r.LookupHost(t.Context(), "gateway.home.arpa.")
		return err
	})
}

// nasty is a frame that a server reads: whole, with bytes changed, or cut off.
func nasty(t *testing.T, dice *rand.Rand, own [6]byte) []byte {
	t.Helper()
	from := own
	if dice.IntN(2) == 0 {
		from[4], from[5] = byte(dice.Uint32()), byte(dice.Uint32())
	}
	var frame []byte
	switch dice.IntN(3) {
	case 0:
		kinds := []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease}
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(from[:]), dhcpv4.WithMessageType(kinds[dice.IntN(len(kinds))]),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(198, 18, 7, byte(dice.Uint32())))), dhcpv4.WithOption(dhcpv4.OptHostName(strconv.Itoa(dice.IntN(1000)))))
		if err != nil {
			t.Fatal(err)
		}
		frame = datagram(from, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, net.IPv4zero, net.IPv4bcast, 68, 67, m.ToBytes())
	case 1:
		name, err := dnsmessage.NewName("n" + strconv.Itoa(dice.IntN(1000)) + ".home.arpa.")
		if err != nil {
			t.Fatal(err)
		}
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(dice.Uint32()), RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
		b, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		frame = datagram(from, [6]byte{2, 0, 0, 0, 7, 1}, net.IPv4(198, 18, 7, byte(dice.Uint32())), net.IPv4(198, 18, 7, 1), 1024+dice.IntN(60000), 53, b)
	default:
		frame = append(append([]byte{0x33, 0x33, 0, 0, 0, 2}, from[:]...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255)
		frame = append(frame, make([]byte, 32)...)
		frame[53] = 2
		frame[22], frame[23], frame[38], frame[39] = 0xfe, 0x80, 0xff, 0x02
		frame = append(frame, 133, 0, 0, 0, 0, 0, 0, 0)
	}
	if dice.IntN(2) == 0 {
		for range 1 + dice.IntN(6) {
			frame[12+dice.IntN(len(frame)-12)] = byte(dice.Uint32())
		}
	}
	if dice.IntN(4) == 0 {
		frame = frame[:15+dice.IntN(len(frame)-15)]
	}
	return frame
}

// datagram is a UDP datagram in its frame; br_netfilter and the stack look at the IPv4 header's
// checksum, and take a UDP checksum of 0.
func datagram(from, to [6]byte, source, destination net.IP, sport, dport int, payload []byte) []byte {
	size := 28 + len(payload)
	ip := append([]byte{0x45, 0, byte(size >> 8), byte(size), 0, 0, 0, 0, 64, 17, 0, 0}, source.To4()...)
	ip = append(ip, destination.To4()...)
	sum := 0
	for i := 0; i < len(ip); i += 2 {
		sum += int(ip[i])<<8 | int(ip[i+1])
	}
	sum = ^(sum + sum>>16)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	f := append(append(append([]byte{}, to[:]...), from[:]...), 8, 0)
	f = append(append(f, ip...), byte(sport>>8), byte(sport), byte(dport>>8), byte(dport), byte((size-20)>>8), byte(size-20), 0, 0)
	return append(f, payload...)
}

// resident is how much memory a process has, in kB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s*(\d+)`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmRSS in\n%s", b)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return kb
}
