package portsec_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// site is a host with a bridge, on it an uplink to a LAN and a tap whose wire end the
// test has in its hand.
type site struct {
	t         testing.TB
	host, lan *testnet.Net
	tap       *os.File
	wire      *packet.Conn // the LAN's end of the uplink's cable
}

func newSite(t testing.TB) *site {
	t.Helper()
	testnet.RequireTap(t)
	testnet.RequireSecurity(t)
	s := &site{t: t, host: testnet.New(t), lan: testnet.New(t)}
	s.host.Veth("eth0", s.lan, "lan0")
	s.lan.Must(model.SetMAC{Link: "lan0", MAC: model.MAC(gatewayMAC.String())})
	static := func(p string) model.Address {
		return model.Address{Link: "lan0", Prefix: netip.MustParsePrefix(p), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}
	}
	s.lan.Must(model.AddAddresses{Link: "lan0", Addresses: []model.Address{static("198.18.0.1/24"), static("2001:db8::1/64")}})
	s.host.Must(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "eth0", Master: "br0"},
		model.CreateTap{Name: "tap0"}, model.SetMaster{Link: "tap0", Master: "br0"}, model.SetUp{Link: "tap0", Up: true})
	tap, err := testnet.OpenTap(s.host.Name(), "tap0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	s.tap = tap
	s.lan.Inside(func() error {
		ifi, err := net.InterfaceByName("lan0")
		if err != nil {
			return err
		}
		if s.wire, err = packet.Listen(ifi, packet.Raw, 3 /* ETH_P_ALL */, nil); err != nil {
			return err
		}
		return s.wire.SetPromiscuous(true)
	})
	t.Cleanup(func() { s.wire.Close() })
	s.host.Must(model.WaitUp{Link: "tap0", Timeout: 5000})
	return s
}

func (s *site) send(frames ...[]byte) {
	s.t.Helper()
	for _, f := range frames {
		if _, err := s.tap.Write(f); err != nil {
			s.t.Fatal(err)
		}
	}
}

// marked is what a frame is known again by: behind all headers, whatever they are.
func marked(b byte) []byte {
	m := make([]byte, 8)
	_, _ = rand.Read(m)
	m[0] = b
	return m
}

// known is what an attack's frame is known again by: the mark, or for IPv6 the
// flow label that is made of it, since a bridge may cut off what is behind the packet.
func known(f, mark []byte) []byte {
	if len(f) < 54 || !bytes.Equal(f[12:14], be(typeIPv6)) {
		return mark
	}
	f[15], f[16], f[17] = mark[1]&0xf, mark[2], mark[3]
	return f[14:18]
}

// arrived sends frames, and counts those that come out at the LAN. After them goes one
// that always passes: when it has come, whatever has not will not.
func (s *site) arrived(known []byte, frames ...[]byte) int {
	s.t.Helper()
	end := marked('.')
	last := ether(gatewayMAC, ownMAC, typeIPv4, ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4001, end)))
	n := 0
	buf := make([]byte, 4096)
	// No more at once than the receiving socket has room for.
	const atOnce = 50
	for ; len(frames) > atOnce; frames = frames[atOnce:] {
		s.send(frames[:atOnce]...)
		more, _ := s.read(buf, known, end, 2*time.Millisecond)
		n += more
	}
	s.send(frames...)
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); {
		s.send(last) // again where a limit stops it
		more, ended := s.read(buf, known, end, 100*time.Millisecond)
		if n += more; ended {
			return n
		}
	}
	s.t.Fatal("not even what is allowed arrives")
	return 0
}

// read counts the known frames that come within a time, or before the end.
func (s *site) read(buf, known, end []byte, patience time.Duration) (n int, ended bool) {
	s.t.Helper()
	if err := s.wire.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	for {
		size, _, err := s.wire.ReadFrom(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return n, false
		case errors.Is(err, syscall.ENETDOWN): // told once, after the link was down
		case err != nil:
			s.t.Fatal(err)
		case bytes.Contains(buf[:size], end):
			return n, true
		case bytes.Contains(buf[:size], known):
			n++
		}
	}
}

// attack is something that no machine may do. Frames makes it, with a mark in each.
type attack struct {
	name   string
	frames func(mark []byte) [][]byte
}

func one(f func(mark []byte) []byte) func([]byte) [][]byte {
	return func(mark []byte) [][]byte { return [][]byte{f(mark)} }
}

func icmp6From(from, to netip.Addr, body []byte) []byte {
	return ip6(from, to, icmp6, sealed(from, to, icmp6, body))
}

// attacks: where a message has no room for the mark, that is behind it, as padding.
var attacks = []attack{
	{"MAC spoof", one(func(m []byte) []byte {
		return ether(broadcast, otherMAC, typeIPv4, ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4002, m)))
	})},
	{"MAC spoof in ARP", one(func(m []byte) []byte { return ether(broadcast, otherMAC, typeARP, arp(1, otherMAC, own4, other4), m) })},
	{"ARP answer for the gateway", one(func(m []byte) []byte { return ether(gatewayMAC, ownMAC, typeARP, arp(2, ownMAC, gateway4, other4), m) })},
	{"gratuitous ARP for the gateway", one(func(m []byte) []byte { return ether(broadcast, ownMAC, typeARP, arp(1, ownMAC, gateway4, gateway4), m) })},
	{"ARP question in the gateway's name", one(func(m []byte) []byte { return ether(broadcast, ownMAC, typeARP, arp(1, ownMAC, gateway4, other4), m) })},
	{"ARP for another MAC", one(func(m []byte) []byte { return ether(broadcast, ownMAC, typeARP, arp(2, otherMAC, own4, other4), m) })},
	{"ARP of odd lengths", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeARP, be(1), be(typeIPv4), []byte{8, 4}, be(2), ownMAC, own4.AsSlice(), gateway4.AsSlice(), make([]byte, 12), m)
	})},
	{"IPv4 spoof", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv4, ip4(other4, gateway4, udpNumber, 0, false, udp(4000, 4002, m)))
	})},
	{"IPv4 spoof in a ping", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv4, ip4(gateway4, other4, icmpNumber, 0, false, cat([]byte{8, 0, 0, 0, 0, 1, 0, 1}, m)))
	})},
	{"IPv4 spoof in a later fragment", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv4, ip4(other4, gateway4, udpNumber, 64, false, m))
	})},
	{"IPv6 spoof", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, ip6(netip.MustParseAddr("2001:db8::9"), gateway6, udpNumber, sealed(netip.MustParseAddr("2001:db8::9"), gateway6, udpNumber, udp(4000, 4002, m))))
	})},
	{"DHCP server", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeIPv4, ip4(own4, netip.MustParseAddr("255.255.255.255"), udpNumber, 0, false, udp(67, 68, dhcpMessage(2, gatewayMAC, other4, m))))
	})},
	{"DHCP server from another port", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeIPv4, ip4(own4, netip.MustParseAddr("255.255.255.255"), udpNumber, 0, false, udp(4711, 68, dhcpMessage(2, gatewayMAC, other4, m))))
	})},
	{"DHCP server with IPv4 options", one(func(m []byte) []byte {
		p := ip4(own4, netip.MustParseAddr("255.255.255.255"), udpNumber, 0, false, udp(67, 68, dhcpMessage(2, gatewayMAC, other4, m)))
		p = cat(p[:20], []byte{1, 1, 1, 1}, p[20:])
		p[0] = 0x46
		copy(p[2:], be(len(p)))
		copy(p[10:], be(0))
		copy(p[10:], be(int(sum(p[:24], 0))))
		return ether(broadcast, ownMAC, typeIPv4, p)
	})},
	{"DHCP server in fragments", func(m []byte) [][]byte {
		d := udp(67, 68, dhcpMessage(2, gatewayMAC, other4, m))
		to := netip.MustParseAddr("255.255.255.255")
		copy(d[8+44:], m) // in the first one as well
		return [][]byte{ether(broadcast, ownMAC, typeIPv4, ip4(own4, to, udpNumber, 0, true, d[:64])), ether(broadcast, ownMAC, typeIPv4, ip4(own4, to, udpNumber, 64, false, d[64:]))}
	}},
	{"DHCP for many MACs", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeIPv4, ip4(none4, netip.MustParseAddr("255.255.255.255"), udpNumber, 0, false, udp(68, 67, dhcpMessage(1, otherMAC, none4, m))))
	})},
	{"DHCPv6 server", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeIPv6, ip6(ownLocal, allNodes, udpNumber, sealed(ownLocal, allNodes, udpNumber, udp(547, 546, m))))
	})},
	{"DHCPv6 server from another port", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeIPv6, ip6(ownLocal, allNodes, udpNumber, sealed(ownLocal, allNodes, udpNumber, udp(4711, 546, m))))
	})},
	{"router advertisement", one(func(m []byte) []byte {
		return ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, icmp6From(ownLocal, allNodes, advertisement(m)))
	})},
	{"router advertisement behind hop-by-hop options", one(func(m []byte) []byte {
		ra := sealed(ownLocal, allNodes, icmp6, advertisement(m))
		return ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, ip6(ownLocal, allNodes, hopByHop, cat(options(icmp6), ra)))
	})},
	{"router advertisement behind destination options", one(func(m []byte) []byte {
		ra := sealed(ownLocal, allNodes, icmp6, advertisement(m))
		return ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, ip6(ownLocal, allNodes, destination, cat(options(destination), options(destination), options(icmp6), ra)))
	})},
	{"router advertisement in one fragment", one(func(m []byte) []byte {
		ra := sealed(ownLocal, allNodes, icmp6, advertisement(m))
		return ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, ip6(ownLocal, allNodes, fragHeader, cat(fragment(icmp6, 0, false), ra)))
	})},
	{"router advertisement behind options in one fragment", one(func(m []byte) []byte {
		ra := sealed(ownLocal, allNodes, icmp6, advertisement(m))
		return ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, ip6(ownLocal, allNodes, fragHeader, cat(fragment(destination, 0, false), options(icmp6), ra)))
	})},
	{"router advertisement in two fragments", func(m []byte) [][]byte {
		return fragments(icmp6, sealed(ownLocal, allNodes, icmp6, advertisement(m)), 24)
	}},
	// RFC 7113, 2.2: the first fragment has nothing but options.
	{"router advertisement in the second of two fragments", func(m []byte) [][]byte {
		return fragments(destination, cat(options(icmp6), sealed(ownLocal, allNodes, icmp6, advertisement(m))), 8)
	}},
	{"router advertisement in two fragments, the options cut", func(m []byte) [][]byte {
		return fragments(destination, cat([]byte{icmp6, 1, 1, 12}, make([]byte, 12), sealed(ownLocal, allNodes, icmp6, advertisement(m))), 8)
	}},
	{"router advertisement behind a mobility header", one(func(m []byte) []byte {
		return ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, ip6(ownLocal, allNodes, 135, cat(options(icmp6), sealed(ownLocal, allNodes, icmp6, advertisement(m)))))
	})},
	{"redirect", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(ownLocal, gateway6, cat([]byte{137, 0, 0, 0, 0, 0, 0, 0}, ownLocal.AsSlice(), own6.AsSlice(), []byte{2, 1}, ownMAC, cat([]byte{253, 2}, make([]byte, 6), m))))
	})},
	{"neighbour advertisement for the gateway", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(ownLocal, allNodes, neighbour(136, gateway6, 2, ownMAC)), m)
	})},
	{"neighbour advertisement in the gateway's name", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(gateLocal, allNodes, neighbour(136, own6, 2, ownMAC)), m)
	})},
	{"neighbour advertisement for another MAC", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(own6, allNodes, neighbour(136, own6, 2, otherMAC)), m)
	})},
	{"neighbour advertisement with two options", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(own6, allNodes, cat(neighbour(136, own6, 2, ownMAC), []byte{2, 1}, otherMAC)), m)
	})},
	{"neighbour advertisement for the gateway behind options", one(func(m []byte) []byte {
		na := sealed(ownLocal, allNodes, icmp6, neighbour(136, gateway6, 2, ownMAC))
		return ether(gatewayMAC, ownMAC, typeIPv6, ip6(ownLocal, allNodes, destination, cat(options(icmp6), na)), m)
	})},
	{"neighbour advertisement for the gateway in a fragment", one(func(m []byte) []byte {
		na := sealed(ownLocal, allNodes, icmp6, neighbour(136, gateway6, 2, ownMAC))
		return ether(gatewayMAC, ownMAC, typeIPv6, ip6(ownLocal, allNodes, fragHeader, cat(fragment(icmp6, 0, false), na)), m)
	})},
	{"neighbour solicitation in the gateway's name", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(gateway6, allNodes, neighbour(135, other6, 1, ownMAC)), m)
	})},
	{"asking whether the gateway's address is free", one(func(m []byte) []byte {
		return ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(none6, allNodes, neighbour(135, gateway6, 0, nil)), m)
	})},
	{"multicast query", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeIPv6, icmp6From(ownLocal, allNodes, cat([]byte{130, 0, 0, 0}, make([]byte, 20))), m)
	})},
	{"spanning tree", one(func(m []byte) []byte {
		bpdu := cat([]byte{0x42, 0x42, 3}, make([]byte, 35), m)
		return ether(hw("01:80:c2:00:00:00"), ownMAC, len(bpdu), bpdu)
	})},
	{"spanning tree as IPv4", one(func(m []byte) []byte {
		return ether(hw("01:80:c2:00:00:00"), ownMAC, typeIPv4, ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4002, m)))
	})},
	{"spanning tree of a VLAN (PVST+)", one(func(m []byte) []byte {
		bpdu := cat([]byte{0xaa, 0xaa, 3, 0, 0, 0x0c, 1, 0x0b}, make([]byte, 35), m)
		return ether(hw("01:00:0c:cc:cc:cd"), ownMAC, len(bpdu), bpdu)
	})},
	{"VLAN hop", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeVLAN, be(7), be(typeIPv4), ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4002, m)))
	})},
	{"VLAN hop with two tags", one(func(m []byte) []byte {
		return ether(broadcast, ownMAC, typeVLAN, be(1), be(typeVLAN), be(7), be(typeIPv4), ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4002, m)))
	})},
	{"another protocol", one(func(m []byte) []byte { return ether(broadcast, ownMAC, 0x8863, m) })},
}

var other6 = netip.MustParseAddr("2001:db8::9")

// wrappers put an attack into another envelope: what a rule that looks for ARP, IPv4 or
// IPv6 at its usual place does not find.
var wrappers = []struct {
	name string
	wrap func(f []byte) []byte
}{
	{"", func(f []byte) []byte { return f }},
	{" in VLAN 0", func(f []byte) []byte { return cat(f[:12], be(typeVLAN), be(0), f[12:]) }},
	{" in VLAN 0 with priority", func(f []byte) []byte { return cat(f[:12], be(typeVLAN), be(0xe000), f[12:]) }},
	{" in 802.1ad", func(f []byte) []byte { return cat(f[:12], be(typeQinQ), be(0), f[12:]) }},
	{" in 802.1ad and VLAN 0", func(f []byte) []byte { return cat(f[:12], be(typeQinQ), be(0), be(typeVLAN), be(0), f[12:]) }},
	{" in LLC/SNAP", func(f []byte) []byte {
		return cat(f[:12], be(len(f)-14+8), []byte{0xaa, 0xaa, 3, 0, 0, 0}, f[12:])
	}},
	{" in LLC/SNAP in VLAN 0", func(f []byte) []byte {
		return cat(f[:12], be(typeVLAN), be(0), be(len(f)-14+8), []byte{0xaa, 0xaa, 3, 0, 0, 0}, f[12:])
	}},
}

// given is the security of a machine whose addresses are known.
var given = model.PortSecurity{Link: "tap0", Level: model.SecurityStrict, MACs: []model.MAC{model.MAC(ownMAC.String())}, IPv4: model.SourceList, IPv6: model.SourceList,
	Sources: []netip.Prefix{netip.PrefixFrom(own4, 32), netip.PrefixFrom(own6, 128)}}

// Every attack arrives as long as the port is not secured, in every envelope, and none
// of them once it is.
func TestAttacks(t *testing.T) {
	s := newSite(t)
	for _, secured := range []bool{false, true} {
		if secured {
			s.host.Must(model.SecurePorts{Ports: []model.PortSecurity{given}})
		}
		for _, a := range attacks {
			for _, w := range wrappers {
				mark := marked('!')
				frames := a.frames(mark)
				for i := range frames {
					mark = known(frames[i], mark)
					frames[i] = w.wrap(frames[i])
				}
				n := s.arrived(mark, frames...)
				// Of fragments the later ones tell nothing: without the first they are none.
				if whole := n == len(frames); whole == secured {
					t.Errorf("secured: %v: %s%s: %d of %d frames arrived", secured, a.name, w.name, n, len(frames))
				}
			}
		}
	}
	p := s.host.Look().SecurityOf("tap0")
	if p == nil || p.Altered || p.DroppedTotal() < uint64(len(attacks)*len(wrappers)) {
		t.Errorf("counted: %+v", p)
	}
	s.host.Must(model.FreePorts{Links: []string{"tap0"}})
	if n := s.arrived([]byte("not sent")); n != 0 {
		t.Error(n)
	}
}
