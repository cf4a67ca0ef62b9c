package portsec_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// What an attack does to a neighbour's kernel, where it arrives.
var effects = []struct {
	name   string
	frames [][]byte
	// done tells whether it has worked, undo makes the neighbour forget it.
	done func(s *site) bool
	undo func(s *site)
}{
	{"the neighbour believes that another's address is here", [][]byte{ether(broadcast, ownMAC, typeARP, arp(1, ownMAC, other4, gateway4))},
		func(s *site) bool { return s.neighbour(other4) == model.MAC(ownMAC.String()) }, nil},
	{"the same in VLAN 0", [][]byte{tagged(typeVLAN, ether(broadcast, ownMAC, typeARP, arp(1, ownMAC, netip.MustParseAddr("198.18.0.10"), gateway4)))},
		func(s *site) bool {
			return s.neighbour(netip.MustParseAddr("198.18.0.10")) == model.MAC(ownMAC.String())
		}, nil},
	{"the same by neighbour discovery", [][]byte{ether(gatewayMAC, ownMAC, typeIPv6, icmp6From(other6, gateway6, neighbour(135, gateway6, 1, ownMAC)))},
		func(s *site) bool { return s.neighbour(other6) == model.MAC(ownMAC.String()) }, nil},
	{"the bridge sends what is the gateway's here", [][]byte{ether(broadcast, gatewayMAC, typeARP, arp(1, gatewayMAC, own4, own4))},
		func(s *site) bool {
			for _, e := range s.host.Look().FDB {
				if e.MAC == model.MAC(gatewayMAC.String()) && e.Link == "tap0" {
					return true
				}
			}
			return false
		}, func(s *site) { _ = ping(s.lan, "198.18.0.77", 8, "-W1") }},
	{"the neighbour takes this for its router", [][]byte{ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, icmp6From(ownLocal, allNodes, advertisement(marked('!'))))},
		(*site).routed, (*site).unroute},
	{"the same behind options", [][]byte{ether(hw("33:33:00:00:00:01"), ownMAC, typeIPv6, ip6(ownLocal, allNodes, destination, cat(options(icmp6), sealed(ownLocal, allNodes, icmp6, advertisement(marked('!'))))))},
		(*site).routed, (*site).unroute},
	{"the same in fragments", fragments(icmp6, sealed(ownLocal, allNodes, icmp6, advertisement(marked('!'))), 24), (*site).routed, (*site).unroute},
}

func tagged(typ int, f []byte) []byte { return cat(f[:12], be(typ), be(0), f[12:]) }

func (s *site) neighbour(a netip.Addr) model.MAC {
	for _, n := range s.lan.Look().Neighbours {
		if n.Address == a && n.State != "failed" && n.State != "incomplete" {
			return n.MAC
		}
	}
	return ""
}

func (s *site) routed() bool {
	for _, r := range s.lan.Look().Routes {
		if r.IsDefault() && !r.Is4() && r.Gateway() == ownLocal {
			return true
		}
	}
	return false
}

func (s *site) unroute() {
	for _, r := range s.lan.Look().Routes {
		if r.Protocol == "ra" {
			s.lan.Must(model.DeleteRoutes{Routes: []model.Route{r}})
		}
	}
}

// A neighbour's own kernel falls for each of them as long as the port is open, and for
// none once it is secured.
func TestEffects(t *testing.T) {
	needPing(t)
	s := newSite(t)
	// Linux drops neighbour discovery in fragments (RFC 6980); others do not.
	s.lan.Must(model.SetSetting{Path: "ipv6/conf/lan0/suppress_frag_ndisc", Value: "0"}, model.SetSetting{Path: "ipv6/conf/lan0/accept_ra", Value: "2"})
	for _, e := range effects {
		t.Run(e.name, func(t *testing.T) {
			testnet.Eventually(t, func() error {
				s.send(e.frames...) // again: the neighbour's own address may take its second
				if !e.done(s) {
					return errors.New("it does not work at an open port either")
				}
				return nil
			})
			if e.undo != nil {
				e.undo(s)
			}
		})
	}
	s.lan.Must(model.SetUp{Link: "lan0"}, model.SetUp{Link: "lan0", Up: true}) // forgets its neighbours
	s.host.Must(model.SecurePorts{Ports: []model.PortSecurity{given}})
	s.lan.Must(model.WaitUp{Link: "lan0", Timeout: 5000})
	_ = ping(s.lan, "198.18.0.77", 8, "-W1") // tells the bridge where it is
	for _, e := range effects {
		t.Run(e.name+", secured", func(t *testing.T) {
			s.send(e.frames...)
			s.arrived([]byte("nothing in particular"))
			time.Sleep(20 * time.Millisecond) // what has arrived by then has been looked at
			if e.done(s) {
				t.Error("it works")
			}
		})
	}
}

// Floods stop at their limits, both of them, and what is not a flood does not.
func TestLimits(t *testing.T) {
	s := newSite(t)
	flood := func(to []byte, count, size int) (mark []byte, frames [][]byte) {
		mark = marked('!')
		for range count {
			frames = append(frames, ether(to, ownMAC, typeIPv4, ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4002, cat(mark, make([]byte, size))))))
		}
		return mark, frames
	}
	count := func(what string, to []byte, n, size int) (arrived int, took time.Duration) {
		begin := time.Now()
		mark, frames := flood(to, n, size)
		arrived = s.arrived(mark, frames...)
		t.Logf("%s: %d of %d frames in %v", what, arrived, n, time.Since(begin).Round(time.Millisecond))
		return arrived, time.Since(begin)
	}
	if n, _ := count("open, broadcasts", broadcast, 400, 64); n != 400 {
		t.Error("an open port stops a flood")
	}
	storm := given
	storm.Storm = 100
	s.host.Must(model.SecurePorts{Ports: []model.PortSecurity{storm}})
	if n, took := count("100 broadcasts/s", broadcast, 400, 64); n > 10+2+int(took.Seconds()*100) || n < 5 {
		t.Errorf("%d broadcasts in %v", n, took)
	}
	if n, _ := count("100 broadcasts/s, unicast", gatewayMAC, 400, 64); n != 400 {
		t.Error("a limit of broadcasts stops others")
	}
	if n := s.host.Look().SecurityOf("tap0").Dropped["too many broadcasts"]; n < 300 {
		t.Errorf("%d are counted", n)
	}
	rate := given
	rate.Rate = 8e6 // 1 MB/s, of which a second's worth and 256 KiB may come at once
	s.host.Must(model.SecurePorts{Ports: []model.PortSecurity{rate}})
	const size = 1000
	if n, took := count("8 Mbit/s", gatewayMAC, 3000, size); n*size > 1e6+256<<10+int(took.Seconds()*1e6) || n*size < 1e6 {
		t.Errorf("%d frames of %d bytes in %v", n, size, took)
	}
}

// An isolated port hears nothing of another isolated one, but of the rest.
func TestIsolation(t *testing.T) {
	s := newSite(t)
	s.host.Must(model.CreateTap{Name: "tap1"}, model.SetMaster{Link: "tap1", Master: "br0"}, model.SetUp{Link: "tap1", Up: true})
	other, err := testnet.OpenTap(s.host.Name(), "tap1")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s.host.Must(model.WaitUp{Link: "tap1", Timeout: 5000})
	for _, isolated := range []bool{false, true} {
		s.host.Must(model.SetIsolated{Links: []string{"tap0", "tap1"}, Isolated: isolated})
		mark := marked('!')
		if n := s.arrived(mark, ether(broadcast, ownMAC, typeIPv4, ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4002, mark)))); n != 1 {
			t.Errorf("isolated: %v: %d frames at the LAN", isolated, n)
		}
		if err := heard(other, mark); (err == nil) == isolated {
			t.Errorf("isolated: %v: at the other tap: %v", isolated, err)
		}
	}
}

// heard reads what comes to a tap, up to a marked frame, or to the end of its patience.
func heard(tap interface {
	Read(b []byte) (int, error)
	SetReadDeadline(t time.Time) error
}, mark []byte) error {
	if err := tap.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := tap.Read(buf)
		if err != nil {
			return fmt.Errorf("not heard: %w", err)
		}
		if bytes.Contains(buf[:n], mark) {
			return nil
		}
	}
}
