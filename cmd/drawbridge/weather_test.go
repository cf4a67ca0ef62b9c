package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// sky is a host whose uplink, eth0, may be on one LAN or on another. Each LAN has a router
// with a real dnsmasq, which is its DHCP server and advertises its prefix.
type sky struct {
	t          *testing.T
	bin        string
	host, wire *testnet.Net
	servers    map[*testnet.Net]*exec.Cmd
	last       int    // of each pool
	said       string // by the server that was started last, the path of the file
}

func newSky(t *testing.T) *sky {
	t.Helper()
	testnet.RequireTap(t)
	testnet.RequireSecurity(t)
	testnet.RequireCommand(t, "dnsmasq", "dnsmasq-base")
	s := &sky{t: t, bin: filepath.Join(build(t), "drawbridge"), host: testnet.New(t), wire: testnet.New(t), servers: map[*testnet.Net]*exec.Cmd{}, last: 199}
	s.wire.Must(model.CreateBridge{Name: "air"}, model.SetUp{Link: "air", Up: true})
	s.wire.Veth("host", s.host, "eth0")
	s.wire.Must(model.SetMaster{Link: "host", Master: "air"})
	s.host.Must(model.SetSetting{Path: "ipv6/conf/eth0/accept_ra", Value: "0"}) // the test says what the host has
	t.Cleanup(func() {
		if t.Failed() {
			status, _ := s.drawbridge("status", "--json")
			t.Log(status, s.answers())
			if log := regexp.MustCompile(`"log": "(.*)"`).FindStringSubmatch(status); log != nil {
				said, _ := os.ReadFile(log[1])
				t.Logf("the service said:\n%s", said)
			}
		}
		_, _ = s.drawbridge("down", "--yes")
	})
	return s
}

func address(s string) model.Address {
	return model.Address{Prefix: netip.MustParsePrefix(s), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}
}

// lan makes a LAN, NAME, of a number: its router is 198.18.N.1 and 2001:db8:N::1, and gives
// 198.18.N.100 to 199 away.
func (s *sky) lan(name string, n int) *testnet.Net {
	s.t.Helper()
	router := testnet.New(s.t)
	s.wire.Veth(name, router, "lan0")
	router.Must(model.SetSetting{Path: "ipv4/ip_forward", Value: "1"}, model.SetSetting{Path: "ipv6/conf/all/forwarding", Value: "1"},
		model.AddAddresses{Link: "lan0", Addresses: []model.Address{address(fmt.Sprintf("198.18.%d.1/24", n)), address(fmt.Sprintf("2001:db8:%d::1/64", n))}})
	s.serve(router, n)
	return router
}

// serve starts the DHCP server of a LAN; silence ends it.
func (s *sky) serve(router *testnet.Net, n int) {
	s.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", router.Name(), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-hosts", "--no-resolv", "--port=0",
		"--interface=lan0", "--bind-dynamic", "--dhcp-authoritative", "--no-ping", "--log-facility=-", "--dhcp-leasefile="+filepath.Join(s.t.TempDir(), "leases"), "--pid-file",
		fmt.Sprintf("--dhcp-range=198.18.%d.100,198.18.%[1]d.%d,3600", n, s.last),
		"--enable-ra", "--ra-param=lan0,4,1800", fmt.Sprintf("--dhcp-range=2001:db8:%d::,ra-only,64,3600", n))
	said, err := os.Create(filepath.Join(s.t.TempDir(), "said"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.said = said.Name()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.servers[router] = cmd
	s.t.Cleanup(func() {
		s.silence(router)
		if s.t.Failed() {
			b, _ := os.ReadFile(said.Name())
			s.t.Logf("the server of 198.18.%d.0/24 said:\n%s", n, b)
		}
		_ = said.Close()
	})
}

func (s *sky) silence(router *testnet.Net) {
	if cmd := s.servers[router]; cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		delete(s.servers, router)
	}
}

// join brings the uplink into a LAN, as somebody would who plugs the cable in and has an
// address by DHCP there; leave takes it out of all.
func (s *sky) join(name string, n int) {
	s.t.Helper()
	s.wire.Must(model.SetMaster{Link: name, Master: "air"})
	s.host.Must(model.SetUp{Link: "eth0", Up: true}, model.WaitUp{Link: "eth0", Timeout: 10000})
	s.roll(n)
}

// roll gives the host its addresses of a LAN, and the ways out.
func (s *sky) roll(n int) {
	s.t.Helper()
	s.host.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{address(fmt.Sprintf("198.18.%d.5/24", n)), address(fmt.Sprintf("2001:db8:%d::5/64", n))}})
	s.ip("route", "add", "default", "via", fmt.Sprintf("198.18.%d.1", n))
	s.ip("-6", "route", "add", "default", "via", fmt.Sprintf("2001:db8:%d::1", n))
}

func (s *sky) leave(name string) {
	s.t.Helper()
	s.host.Must(model.SetUp{Link: "eth0"})
	s.ip("addr", "flush", "dev", "eth0")
	s.wire.Must(model.SetMaster{Link: name})
}

func (s *sky) ip(args ...string) string {
	s.t.Helper()
	return s.in(s.host, "ip", args...)
}

func (s *sky) in(n *testnet.Net, name string, args ...string) string {
	s.t.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", n.Name(), name}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *sky) drawbridge(args ...string) (string, error) {
	out, err := exec.Command(s.bin, append(args, "--netns", s.host.Name())...).CombinedOutput()
	return string(out), err
}

func (s *sky) up(file string) {
	s.t.Helper()
	if out, err := s.drawbridge("up", "--yes", file); err != nil {
		s.t.Fatalf("up: %v\n%s", err, out)
	}
}

func (s *sky) file(text string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "drawbridge.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// says waits until what a command prints fits, and gives what fits; not, until it does not.
func (s *sky) says(fits string, args ...string) string {
	s.t.Helper()
	var found string
	testnet.Within(s.t, testnet.Patience, func() error {
		out, _ := s.drawbridge(args...)
		if found = regexp.MustCompile(fits).FindString(out); found == "" {
			return fmt.Errorf("drawbridge %s does not say %q:\n%s", strings.Join(args, " "), fits, out)
		}
		return nil
	})
	return found
}

func (s *sky) saysNot(fits string, args ...string) {
	s.t.Helper()
	testnet.Within(s.t, testnet.Patience, func() error {
		if out, _ := s.drawbridge(args...); regexp.MustCompile(fits).MatchString(out) {
			return fmt.Errorf("drawbridge %s still says %q:\n%s", strings.Join(args, " "), fits, out)
		}
		return nil
	})
}

// reaches waits until somebody has an answer from an address.
func (s *sky) reaches(from *testnet.Net, a string) {
	s.t.Helper()
	testnet.Within(s.t, testnet.Patience, func() error {
		out, err := exec.Command("ip", "netns", "exec", from.Name(), "ping", "-c1", "-W1", a).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ping %s: %w\n%s%s", a, err, out, s.ip("neigh", "show", "proxy"))
		}
		return nil
	})
}

// answers are the addresses that the uplink answers for and that are routed to the bridge.
func (s *sky) answers() string {
	return s.ip("neigh", "show", "proxy") + s.ip("-6", "neigh", "show", "proxy") + s.ip("route", "show", "dev", "br0") + s.ip("-6", "route", "show", "dev", "br0")
}

const routedFile = `networks: {lan: {mode: routed, bridge: br0, uplink: eth0}}
machines:
  web: {vmm: namespace, nics: {eth1: {network: lan, tap: tap0}}}
  fix: {vmm: namespace, nics: {eth1: {network: lan, tap: tap1, address: [198.18.1.10/24, "2001:db8:1::10/64"], gateway: 198.18.1.1}}}
`

// A laptop is carried from one LAN to another and back, while machines are routed to it. On the
// new LAN nothing of the old one is answered for, and its machines have addresses there; back
// again, what the file gives is answered for, but for what somebody else has by now.
func TestAnotherLAN(t *testing.T) {
	t.Parallel()
	s := newSky(t)
	first, second := s.lan("a", 1), s.lan("b", 2)
	s.join("a", 1)
	s.up(s.file(routedFile))
	four := s.says(`198\.18\.1\.1\d\d`, "status", "--json")
	six := s.says(`2001:db8:1:0:[0-9a-f:]+`, "status", "--json")
	for _, a := range []string{four, six, "198.18.1.10", "2001:db8:1::10"} {
		s.reaches(first, a)
	}

	s.leave("a")
	s.says(`eth0 is down, or has no carrier`, "status")
	s.join("b", 2)
	moved := s.says(`198\.18\.2\.1\d\d`, "status", "--json")
	s.reaches(second, moved)
	s.reaches(second, s.says(`2001:db8:2:0:[0-9a-f:]+`, "status", "--json"))
	testnet.Within(t, testnet.Patience, func() error {
		if left := s.answers(); strings.Contains(left, four) || strings.Contains(left, six) {
			return fmt.Errorf("of the LAN before is left:\n%s", left)
		}
		return nil
	})
	s.says(`198\.18\.1\.10, which the file gives to a machine, is not of the LAN of eth0`, "status")
	s.says(`service-trouble:lan[\s\S]*198\.18\.1\.10, which the file gives to a machine, is not of`, "doctor")
	s.saysNot(regexp.QuoteMeta(moved)+` .*not of the LAN`, "status")

	// Somebody on the first LAN has taken one of the file's addresses.
	s.leave("b")
	first.Must(model.AddAddresses{Link: "lan0", Addresses: []model.Address{address("198.18.1.10/24")}})
	s.join("a", 1)
	s.reaches(first, "2001:db8:1::10")
	s.says(`198\.18\.1\.10, which the file gives to a machine, somebody else on the LAN has`, "status")
	if left := s.answers(); strings.Contains(left, "198.18.1.10 dev eth0 proxy") {
		t.Errorf("it answers for what somebody else has:\n%s", left)
	}
	s.reaches(first, s.says(`198\.18\.1\.1\d\d`, "status", "--json"))

	// The link is taken out of the host, and another one has its name: a USB adapter.
	s.ip("link", "del", "eth0")
	s.wire.Veth("again", s.host, "eth0")
	s.wire.Must(model.SetMaster{Link: "again", Master: "air"})
	s.roll(1)
	s.says(`forwarding-off`, "doctor")
	if out, err := s.drawbridge("doctor", "--fix", "forwarding-off", "--yes"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.reaches(first, s.says(`198\.18\.1\.1\d\d`, "status", "--json"))
}

// The LAN's DHCP server is silent when a machine starts: nobody is told anything that is not
// so; it is told of, and as soon as the server is there again the machine has its address.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := newSky(t)
	router := s.lan("a", 1)
	s.silence(router)
	s.join("a", 1)
	file := s.file(`networks: {lan: {mode: routed, bridge: br0, uplink: eth0}}
machines: {web: {vmm: namespace, nics: {eth1: {network: lan, tap: tap0}}}}
`)
	s.up(file)
	w := startWatch(t, s.bin, s.host.Name(), file)
	s.says(`no DHCP server of the LAN of eth0 has answered the machine with 02:`, "status")
	s.says(`risk, certain: service-trouble:lan[\s\S]*no DHCP server of the LAN`, "doctor")
	if out := s.says(`"learned"[\s\S]*|"services"[\s\S]*`, "status", "--json"); strings.Contains(out, "198.18.1.1") {
		t.Errorf("it has an address that nobody gave:\n%s", out)
	}
	if e := w.next("trouble"); !strings.HasPrefix(e.Words[0], "network lan: no DHCP server") {
		t.Errorf("watch tells %q", e.Words)
	}
	s.serve(router, 1)
	s.reaches(router, s.says(`198\.18\.1\.1\d\d`, "status", "--json"))
	s.saysNot(`no DHCP server`, "status")
	w.next("no-trouble")
}

// One machine asks the LAN's DHCP server for addresses in the name of a thousand, speaks for
// others, and sends whatever comes to its mind. The pool of twenty is not used up, the relay
// goes on as it was, and the next machine has its address.
func TestOneTakesAll(t *testing.T) {
	t.Parallel()
	s := newSky(t)
	router := s.lan("a", 1)
	s.silence(router)
	s.last = 119
	s.serve(router, 1)
	s.join("a", 1)
	const file = `networks: {lan: {mode: routed, bridge: br0, uplink: eth0}}
taps: {tap0: {network: lan, security: off}}
`
	s.up(s.file(file))
	tap, err := testnet.OpenTap(s.host.Name(), "tap0")
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	s.says(`tap0 .*forwarding`, "status")
	pid := s.says(`"pid": \d+`, "status", "--json")
	dice := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for i := range 1000 {
		from := [6]byte{2, 0xaa, 0, 0, byte(i >> 8), byte(i)}
		chaddr := from
		if i%3 == 2 {
			chaddr[1] = 0xbb // somebody else's
		}
		frame := discover(t, from, chaddr)
		if i%2 == 1 {
			for range 1 + dice.IntN(8) {
				frame[12+dice.IntN(len(frame)-12)] = byte(dice.Uint32())
			}
			frame = frame[:14+dice.IntN(len(frame)-14)]
		}
		if _, err := tap.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	s.says(`behind tap0 more than 16 clients ask for addresses by DHCP`, "status")
	s.up(s.file(file + `machines: {web: {vmm: namespace, nics: {eth1: {network: lan, tap: tap1}}}}
`))
	s.reaches(router, s.says(`198\.18\.1\.1[01]\d`, "status", "--json"))
	s.says(pid, "status", "--json")
	said, err := os.ReadFile(s.said)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, m := range regexp.MustCompile(`DHCPDISCOVER\(lan0\) (02:aa:00:00:\S+)`).FindAllStringSubmatch(string(said), -1) {
		asked[m[1]] = true
	}
	if len(asked) == 0 || len(asked) > 16 || strings.Contains(string(said), "02:bb") {
		t.Errorf("the server heard of %d made-up clients: %v", len(asked), asked)
	}
}

// discover is a client's first question, in its frame.
func discover(t *testing.T, from, chaddr [6]byte) []byte {
	t.Helper()
	m, err := dhcpv4.NewDiscovery(chaddr[:])
	if err != nil {
		t.Fatal(err)
	}
	payload := m.ToBytes()
	f := append(append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from[:]...), 8, 0)
	ip := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(28+len(payload)))
	ip = append(ip, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255)
	var sum uint32 // br_netfilter looks at it
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16)) //nolint:gosec // the ones' complement sum of 20 bytes
	f = append(append(f, ip...), 0, 68, 0, 67)
	f = binary.BigEndian.AppendUint16(f, uint16(8+len(payload)))
	return append(append(f, 0, 0), payload...)
}
