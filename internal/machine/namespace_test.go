package machine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// veth makes a pair as a plan does: the VM's half is named after the host's.
func (h *house) veth(link, address string) {
	h.t.Helper()
	h.Must(model.CreateVeth{Name: link, Peer: model.Ref{Name: model.PeerName(link)}}, model.SetUp{Link: link, Up: true})
	if address != "" {
		h.address(link, address)
	}
}

func namespaceConfig(name string, nics ...model.NICConfig) model.MachineConfig {
	return model.MachineConfig{Name: name, VMM: "namespace", NICs: nics}
}

func TestNamespaceLife(t *testing.T) {
	h := newHouse(t)
	h.veth("tap0", "198.18.0.1/24")
	nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24"), Gateway: netip.MustParseAddr("198.18.0.1")}
	begin := time.Now()
	h.do(model.StartMachine{Machine: namespaceConfig("web", nic, model.NICConfig{Name: "eth2"})})
	t.Logf("started in %v", time.Since(begin))
	h.ping("web", "198.18.0.1")
	m := h.one("web")
	if l := m.Inside.Link("eth1"); l == nil || l.MAC != nic.MAC {
		t.Fatalf("inside: %+v", l)
	}
	if here := h.Look(); here.Link(model.PeerName("tap0")) != nil {
		t.Error("the VM's half is still here")
	}
	// Its cable comes off, and back on; the pair lives on all the while.
	for range 3 {
		h.do(model.UnplugNIC{Machine: "web", NIC: "eth1"})
		if m := h.one("web"); !m.NICs[0].Declared || m.Inside.Link("eth1") != nil {
			t.Fatalf("unplugged: %+v", m.NICs)
		}
		h.do(model.PlugNIC{Machine: "web", NIC: nic})
		h.ping("web", "198.18.0.1")
	}
	h.do(model.StopMachine{Name: "web"})
	if here := h.Look(); here.Link(model.PeerName("tap0")) == nil {
		t.Error("the VM's half was not given back")
	}
	// So that it can be started again.
	h.do(model.StartMachine{Machine: namespaceConfig("web", nic)})
	h.ping("web", "198.18.0.1")
}

func TestTwentyAtOnce(t *testing.T) {
	h := newHouse(t)
	h.Must(model.CreateBridge{Name: "br0"})
	h.address("br0", "198.18.0.1/24")
	const count = 20
	for i := range count {
		link := fmt.Sprintf("tap%d", i)
		h.veth(link, "")
		h.Must(model.SetMaster{Link: link, Master: "br0"})
	}
	begin := time.Now()
	all(t, count, func(i int) error {
		return h.Manager.Do(t.Context(), model.StartMachine{Machine: namespaceConfig(fmt.Sprintf("vm%d", i),
			model.NICConfig{Name: "eth1", Link: fmt.Sprintf("tap%d", i), Addresses: prefixes(fmt.Sprintf("198.18.0.%d/24", 100+i))})})
	})
	t.Logf("%d started in %v", count, time.Since(begin))
	all(t, count, func(i int) error {
		_, err := h.Ping(t.Context(), fmt.Sprintf("vm%d", i), fmt.Sprintf("198.18.0.%d", 100+(i+1)%count))
		return err
	})
	list, err := h.List(t.Context())
	if err != nil || len(list) != count {
		t.Fatalf("%d listed, %v", len(list), err)
	}
	begin = time.Now()
	all(t, count, func(i int) error { return h.Manager.Do(t.Context(), model.StopMachine{Name: fmt.Sprintf("vm%d", i)}) })
	t.Logf("%d stopped in %v", count, time.Since(begin))
}

func all(t *testing.T, n int, fn func(int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := fn(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestNamespaceShimKilled(t *testing.T) {
	h := newHouse(t)
	h.veth("tap0", "")
	h.do(model.StartMachine{Machine: namespaceConfig("web", model.NICConfig{Name: "eth1", Link: "tap0"})})
	if err := unix.Kill(parentOf(t, h.one("web").PID), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, func() error {
		if left := procs.In(filepath.Join(h.dir, "web")); len(left) > 0 {
			return fmt.Errorf("processes %v live on", left)
		}
		return nil
	})
	if m := h.one("web"); m.State != "failed" {
		t.Errorf("listed as %s", m.State)
	}
}

func TestGuestHaltsItself(t *testing.T) {
	h := newHouse(t)
	h.veth("tap0", "")
	h.do(model.StartMachine{Machine: namespaceConfig("web", model.NICConfig{Name: "eth1", Link: "tap0"})})
	var out bytes.Buffer
	if err := h.Console(t.Context(), "web", strings.NewReader("halt\n"), &out); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, func() error {
		if m := h.one("web"); m.State != "stopped" {
			return errors.New(m.State)
		}
		return nil
	})
	if here := h.Look(); here.Link(model.PeerName("tap0")) == nil {
		t.Error("the VM's half was not given back")
	}
}

func TestConsole(t *testing.T) {
	h := newHouse(t)
	h.do(model.StartMachine{Machine: namespaceConfig("web")})
	in, type_ := io.Pipe()
	out := &lockedBuffer{}
	done := make(chan error, 1)
	go func() { done <- h.Console(t.Context(), "web", in, out) }()
	fmt.Fprint(type_, "help\n")
	testnet.Eventually(t, func() error {
		if !strings.Contains(out.String(), "its addresses") {
			return fmt.Errorf("the console says %q", out.String())
		}
		return nil
	})
	fmt.Fprint(type_, "\x1d")
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Ctrl-] did not leave")
	}
	if m := h.one("web"); m.State != "running" {
		t.Errorf("it is %s after the console was left", m.State)
	}
	b, err := os.ReadFile(filepath.Join(h.dir, "web", "console.log"))
	if err != nil || !strings.Contains(string(b), "This is web") {
		t.Errorf("its log: %s %v", b, err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// TestDHCP: the guest keeps a lease of a few seconds for longer than it lasts, asks
// anew when it is given another configuration, and gives its host name.
func TestDHCP(t *testing.T) {
	for _, vmm := range []string{"namespace", "uml", "qemu"} {
		t.Run(vmm, func(t *testing.T) {
			h := newHouse(t)
			c := model.MachineConfig{Name: "web", VMM: vmm, Memory: 64 << 20}
			switch vmm {
			case "uml":
				needUML(t)
				h.tap("tap0", "198.18.0.1/24")
			case "qemu":
				c = qemuConfig(needQEMU(t))
				h.tap("tap0", "198.18.0.1/24")
			default:
				h.veth("tap0", "198.18.0.1/24")
			}
			asked := dhcpServer(t, h, "tap0", 4*time.Second)
			nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", DHCP: true}
			c.NICs = []model.NICConfig{nic}
			h.do(model.StartMachine{Machine: c})
			begin := time.Now()
			leased := func() error {
				for _, a := range h.one("web").Inside.AddressesOf("eth1") {
					if a.Prefix.String() == "198.18.0.100/24" && a.Origin == model.DHCP {
						return nil
					}
				}
				return errors.New("no lease")
			}
			testnet.Eventually(t, leased)
			t.Logf("a lease %v after the start", time.Since(begin))
			h.ping("web", "198.18.0.1")
			time.Sleep(5 * time.Second)
			if err := leased(); err != nil {
				t.Errorf("past the lease's time: %v", err)
			}
			if r := h.one("web").Inside.DefaultRoute(); r == nil || r.Gateway().String() != "198.18.0.1" {
				t.Errorf("default route: %+v", r)
			}
			nic.DHCP, nic.Addresses = false, prefixes("198.18.0.7/24")
			h.do(model.ConfigureNIC{Machine: "web", NIC: nic})
			if as := h.one("web").Inside.AddressesOf("eth1"); strings.Contains(model.SplitAddresses(as), "198.18.0.100") {
				t.Errorf("the lease's address stays: %v", as)
			}
			names := asked()
			if len(names) < 3 || names[0] != "web" {
				t.Errorf("requests with the host names %q", names)
			}
		})
	}
}

// TestAnotherServer: the network becomes another one while a machine has a lease of the one
// before, and its cable stays where it is. The server there refuses it, and it has an address
// of this one long before its lease is over.
func TestAnotherServer(t *testing.T) {
	h := newHouse(t)
	h.veth("tap0", "198.18.0.1/24")
	var other atomic.Bool
	serveDHCP(t, h, "tap0", func(m *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
		n, kind := byte(0), dhcpv4.MessageTypeOffer
		if other.Load() {
			n = 4
		}
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
			if c := m.ClientIPAddr.To4(); c != nil && !c.IsUnspecified() && c[2] != n {
				kind = dhcpv4.MessageTypeNak
			}
		}
		server, yours := net.IPv4(198, 18, n, 1), net.IPv4(198, 18, n, 100)
		if kind == dhcpv4.MessageTypeNak {
			yours = net.IPv4zero
		}
		return dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(yours), dhcpv4.WithServerIP(server),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(server),
			dhcpv4.WithLeaseTime(3600), dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(time.Second)))
	})
	c := model.MachineConfig{Name: "web", VMM: "namespace", NICs: []model.NICConfig{{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", DHCP: true}}}
	h.do(model.StartMachine{Machine: c})
	has := func(want string) func() error {
		return func() error {
			if as := model.SplitAddresses(h.one("web").Inside.AddressesOf("eth1")); !strings.Contains(as, want) {
				return fmt.Errorf("it has %s, and not %s", as, want)
			}
			return nil
		}
	}
	testnet.Within(t, testnet.Patience, has("198.18.0.100/24"))
	other.Store(true)
	testnet.Within(t, testnet.Patience, has("198.18.4.100/24"))
	if as := model.SplitAddresses(h.one("web").Inside.AddressesOf("eth1")); strings.Contains(as, "198.18.0.100") {
		t.Errorf("it has the address of before as well: %s", as)
	}
}

// dhcpServer gives everybody 198.18.0.100, and tells the host names of the requests.
func dhcpServer(t *testing.T, h *house, link string, lease time.Duration) func() []string {
	t.Helper()
	var mu sync.Mutex
	var names []string
	serveDHCP(t, h, link, func(m *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
			mu.Lock()
			names = append(names, m.HostName())
			mu.Unlock()
		}
		return dhcpv4.NewReplyFromRequest(m,
			dhcpv4.WithMessageType(kind),
			dhcpv4.WithYourIP(net.IPv4(198, 18, 0, 100)),
			dhcpv4.WithServerIP(net.IPv4(198, 18, 0, 1)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(198, 18, 0, 1))),
			dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
			dhcpv4.WithRouter(net.IPv4(198, 18, 0, 1)),
			dhcpv4.WithLeaseTime(uint32(lease/time.Second)))
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), names...)
	}
}

// serveDHCP answers on a link until the test ends.
func serveDHCP(t *testing.T, h *house, link string, answer func(m *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error)) {
	t.Helper()
	handler := func(c net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
		a, err := answer(m)
		if err != nil {
			return
		}
		if peer.(*net.UDPAddr).IP.IsUnspecified() || a.MessageType() == dhcpv4.MessageTypeNak {
			peer = &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
		}
		_, _ = c.WriteTo(a.ToBytes(), peer)
	}
	h.Inside(func() error {
		s, err := server4.NewServer(link, &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, handler)
		if err != nil {
			return err
		}
		go func() { _ = s.Serve() }()
		t.Cleanup(func() { _ = s.Close() })
		return nil
	})
}
