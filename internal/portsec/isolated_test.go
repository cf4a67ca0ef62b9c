package portsec_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mdlayher/packet"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// ear keeps what came out somewhere.
type ear struct {
	mu     sync.Mutex
	frames [][]byte
}

func (h *ear) add(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frames = append(h.frames, bytes.Clone(b))
}

func (h *ear) any(is func(f []byte) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.frames, is)
}

func (h *ear) follow(r io.Reader) {
	buf := make([]byte, 65536)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		h.add(buf[:n])
	}
}

// followPackets reads what comes without an address.
func (h *ear) followPackets(c net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		h.add(buf[:n])
	}
}

// privates is a host on a LAN that forwards and listens everywhere, and beside that has a
// bridge with two taps.
type privates struct {
	t           *testing.T
	host, lan   *testnet.Net
	tap0, tap1  *os.File
	bridge      *packet.Conn // of a process of the host, at the bridge
	out         map[string]*ear
	bridgeMAC   net.HardwareAddr
	portMAC     net.HardwareAddr
	hostLAN     netip.Addr
	hostLAN6    netip.Addr
	bridgeLocal netip.Addr
}

// newPrivates makes it; isolated from the start, as the plan does it, or open.
func newPrivates(t *testing.T, isolated bool) *privates {
	t.Helper()
	testnet.RequireTap(t)
	testnet.RequireSecurity(t)
	p := &privates{t: t, host: testnet.New(t), lan: testnet.New(t), hostLAN: netip.MustParseAddr("198.18.0.5"), hostLAN6: netip.MustParseAddr("2001:db8::5"),
		out: map[string]*ear{"vm": {}, "other vm": {}, "lan": {}, "host": {}}}
	p.host.Veth("eth0", p.lan, "lan0")
	p.lan.Must(model.SetMAC{Link: "lan0", MAC: model.MAC(gatewayMAC.String())})
	give := func(n *testnet.Net, link string, list ...string) {
		for _, a := range list {
			n.Must(model.AddAddresses{Link: link, Addresses: []model.Address{{Link: link, Prefix: netip.MustParsePrefix(a), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}}})
		}
	}
	give(p.lan, "lan0", "198.18.0.1/24", "2001:db8::1/64")
	give(p.host, "eth0", "198.18.0.5/24", "2001:db8::5/64")
	p.host.Must(model.CreateBridge{Name: "br0"})
	quiet := func(link string, security model.PortSecurity) {
		if isolated {
			security.Link = link
			p.host.Must(model.SecurePorts{Ports: []model.PortSecurity{security}}, model.SetSetting{Path: "ipv6/conf/" + link + "/disable_ipv6", Value: "1"})
		}
	}
	quiet("br0", model.PortSecurity{Level: model.SecurityClosed})
	for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		p.host.Must(model.SetSetting{Path: path, Value: "1"})
	}
	for _, link := range []string{"all", "br0", "eth0"} {
		p.host.Must(model.SetSetting{Path: "ipv4/conf/" + link + "/rp_filter", Value: "0"})
	}
	for i, f := range []**os.File{&p.tap0, &p.tap1} {
		name := fmt.Sprintf("tap%d", i)
		p.host.Must(model.CreateTap{Name: name})
		quiet(name, model.PortSecurity{Level: model.SecurityOff, Guarded: true})
		p.host.Must(model.SetSetting{Path: "ipv4/conf/" + name + "/rp_filter", Value: "0"},
			model.SetMaster{Link: name, Master: "br0"}, model.SetUp{Link: name, Up: true})
		tap, err := testnet.OpenTap(p.host.Name(), name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tap.Close() })
		*f = tap
		p.host.Must(model.WaitUp{Link: name, Timeout: 5000})
	}
	go p.out["vm"].follow(p.tap0)
	go p.out["other vm"].follow(p.tap1)
	p.listen()
	look := p.host.Look()
	p.bridgeMAC, p.portMAC = hw(look.Link("br0").MAC), hw(look.Link("tap0").MAC)
	if isolated {
		return p
	}
	testnet.Eventually(t, func() error {
		for _, a := range p.host.Look().Addresses {
			if a.Link == "br0" && a.Prefix.Addr().Is6() && !a.Flags.Tentative {
				p.bridgeLocal = a.Prefix.Addr()
				return nil
			}
		}
		return errors.New("the bridge has no link-local address")
	})
	return p
}

func (p *privates) listen() {
	inside := func(n *testnet.Net, link string) *packet.Conn {
		var c *packet.Conn
		n.Inside(func() error {
			ifi, err := net.InterfaceByName(link)
			if err != nil {
				return err
			}
			c, err = packet.Listen(ifi, packet.Raw, 3 /* ETH_P_ALL */, nil)
			return err
		})
		p.t.Cleanup(func() { c.Close() })
		return c
	}
	p.bridge = inside(p.host, "br0")
	go p.out["lan"].followPackets(inside(p.lan, "lan0"))
	p.host.Inside(func() error {
		c, err := net.ListenPacket("udp", ":4001") // both families
		if err != nil {
			return err
		}
		p.t.Cleanup(func() { c.Close() })
		go p.out["host"].followPackets(c)
		return nil
	})
}

// trespass is a way from a machine to the host, or by it, or back.
type trespass struct {
	name  string
	where string // it is seen to have worked
	// frame is sent by the machine; nil: by a process of the host.
	frame func(p *privates, mark []byte) []byte
	// worked tells a frame by which it is seen; nil: one with the mark.
	worked func(p *privates, f []byte) bool
}

var lldpGroup = hw("01:80:c2:00:00:0e")

func trespasses() []trespass {
	to4 := func(mac func(p *privates) net.HardwareAddr) func(*privates, []byte) []byte {
		return func(p *privates, mark []byte) []byte {
			return ether(mac(p), ownMAC, typeIPv4, ip4(netip.MustParseAddr("198.18.0.77"), p.hostLAN, udpNumber, 0, false, udp(4000, 4001, mark)))
		}
	}
	to6 := func(mac func(p *privates) net.HardwareAddr) func(*privates, []byte) []byte {
		return func(p *privates, mark []byte) []byte {
			from := netip.MustParseAddr("2001:db8::77")
			return ether(mac(p), ownMAC, typeIPv6, ip6(from, p.hostLAN6, udpNumber, sealed(from, p.hostLAN6, udpNumber, udp(4000, 4001, mark))))
		}
	}
	is := func(mac net.HardwareAddr) func(*privates) net.HardwareAddr {
		return func(*privates) net.HardwareAddr { return mac }
	}
	bridge := func(p *privates) net.HardwareAddr { return p.bridgeMAC }
	port := func(p *privates) net.HardwareAddr { return p.portMAC }
	all := hw("33:33:00:00:00:01")
	return []trespass{
		{"ARP for the host's address on its LAN", "vm",
			func(p *privates, _ []byte) []byte {
				return ether(broadcast, ownMAC, typeARP, arp(1, ownMAC, netip.MustParseAddr("198.18.0.77"), p.hostLAN))
			},
			func(p *privates, f []byte) bool {
				return len(f) >= 42 && bytes.Equal(f[12:14], be(typeARP)) && f[21] == 2 && bytes.Equal(f[28:32], p.hostLAN.AsSlice())
			}},
		{"a ping to all IPv6 nodes", "vm",
			func(_ *privates, mark []byte) []byte {
				return ether(all, ownMAC, typeIPv6, icmp6From(ownLocal, allNodes, cat([]byte{128, 0, 0, 0, 0, 1, 0, 1}, mark)))
			},
			// It is answered when it is known where the sender is.
			func(p *privates, f []byte) bool {
				return len(f) > 54 && bytes.Equal(f[6:12], p.bridgeMAC) && f[20] == icmp6 && (f[54] == 129 || f[54] == 135)
			}},
		{"neighbour discovery of the bridge", "vm",
			func(p *privates, _ []byte) []byte {
				l := p.bridgeLocal.As16()
				group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: l[13], 14: l[14], 15: l[15]})
				return ether(cat([]byte{0x33, 0x33, 0xff}, l[13:]), ownMAC, typeIPv6, icmp6From(ownLocal, group, neighbour(135, p.bridgeLocal, 1, ownMAC)))
			},
			func(_ *privates, f []byte) bool { return len(f) > 54 && f[20] == icmp6 && f[54] == 136 }},
		{"IPv4 to the bridge's MAC address", "host", to4(bridge), nil},
		{"IPv6 to the bridge's MAC address", "host", to6(bridge), nil},
		{"IPv4 to the port's MAC address", "host", to4(port), nil},
		{"IPv4 by broadcast", "host", to4(is(broadcast)), nil},
		{"IPv6 by multicast", "host", to6(is(all)), nil},
		{"IPv4 to the group of LLDP", "host", to4(is(lldpGroup)), nil},
		{"IPv6 to the group of LLDP", "host", to6(is(lldpGroup)), nil},
		{"IPv4 by way of the host", "lan",
			func(p *privates, mark []byte) []byte {
				return ether(p.bridgeMAC, ownMAC, typeIPv4, ip4(netip.MustParseAddr("198.18.0.77"), gateway4, udpNumber, 0, false, udp(4000, 4002, mark)))
			}, nil},
		{"IPv6 by way of the host", "lan",
			func(p *privates, mark []byte) []byte {
				from := netip.MustParseAddr("2001:db8:7::77")
				return ether(p.bridgeMAC, ownMAC, typeIPv6, ip6(from, gateway6, udpNumber, sealed(from, gateway6, udpNumber, udp(4000, 4002, mark))))
			}, nil},
		{"a process of the host that writes frames itself", "vm", nil, nil},
	}
}

// try makes one attempt, and tells whether it has worked by now.
func (p *privates) try(a trespass, mark []byte) bool {
	p.t.Helper()
	var err error
	if a.frame != nil {
		_, err = p.tap0.Write(a.frame(p, mark))
	} else {
		_, err = p.bridge.WriteTo(ether(broadcast, p.bridgeMAC, 0x88b5, mark, make([]byte, 46)), &packet.Addr{HardwareAddr: broadcast})
		if errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EPERM) {
			err = nil // dropped at the egress
		}
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return p.out[a.where].any(func(f []byte) bool {
		if a.worked != nil {
			return a.worked(p, f)
		}
		return bytes.Contains(f, mark)
	})
}

// settle waits until what was sent before has been dealt with: a tap's frame goes its way
// before the write ends, but for what waits for a neighbour's answer.
func (p *privates) settle() {
	p.t.Helper()
	end := marked('.')
	testnet.Eventually(p.t, func() error {
		if _, err := p.tap0.Write(ether(broadcast, ownMAC, 0x88b5, end, make([]byte, 46))); err != nil {
			return err
		}
		if !p.out["other vm"].any(func(f []byte) bool { return bytes.Contains(f, end) }) {
			return fmt.Errorf("one machine does not reach the other")
		}
		return nil
	})
}

// TestIsolated: each way from a machine to the host or by it works on a plain bridge, and
// none does where the bridge is closed and its ports are guarded, but the other machine is
// reached. Neither hears anything of the host.
func TestIsolated(t *testing.T) {
	t.Parallel()
	p := newPrivates(t, false)
	for _, a := range trespasses() {
		mark := marked('o')
		testnet.Eventually(t, func() error {
			if !p.try(a, mark) {
				return fmt.Errorf("%s: does not work on an open bridge either", a.name)
			}
			return nil
		})
	}
	open := p
	p = newPrivates(t, true)
	p.bridgeLocal = open.bridgeLocal // it has none, and is asked for another's
	look := p.host.Look()
	for _, a := range look.Addresses {
		if a.Link != "lo" && a.Link != "eth0" {
			t.Errorf("%s has the address %s", a.Link, a.Prefix)
		}
	}
	if s := look.SecurityOf("br0"); s == nil || s.Altered || s.Level != model.SecurityClosed {
		t.Errorf("read back: %+v", s)
	}
	marks := map[string][]byte{}
	for range 3 {
		for _, a := range trespasses() {
			if marks[a.name] == nil {
				marks[a.name] = marked('c')
			}
			p.try(a, marks[a.name])
		}
		p.settle()
	}
	for _, a := range trespasses() {
		if p.try(a, marks[a.name]) {
			t.Errorf("%s: gets through", a.name)
		}
	}
	p.settle()
	if !p.out["other vm"].any(func(f []byte) bool { return bytes.Equal(f[6:12], ownMAC) }) {
		t.Error("the other machine has heard nothing of this one")
	}
	for where, h := range map[string]*ear{"machine": p.out["vm"], "other machine": p.out["other vm"]} {
		h.any(func(f []byte) bool {
			if !bytes.Equal(f[6:12], ownMAC) {
				t.Errorf("the %s has heard the host: %x", where, f)
			}
			return false
		})
	}
}

// TestClosedBridgeAlone: a closed bridge alone is not enough.
func TestClosedBridgeAlone(t *testing.T) {
	t.Parallel()
	p := newPrivates(t, false)
	p.host.Must(model.SecurePorts{Ports: []model.PortSecurity{{Link: "br0", Level: model.SecurityClosed}}})
	for _, a := range trespasses() {
		if !strings.Contains(a.name, "LLDP") {
			continue
		}
		mark := marked('o')
		testnet.Eventually(t, func() error {
			if !p.try(a, mark) {
				return fmt.Errorf("%s: is stopped without its port being guarded", a.name)
			}
			return nil
		})
	}
}
