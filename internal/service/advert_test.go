package service_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv6"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// A kernel makes its address and default route of what is advertised, keeps them over a
// change, and gives the route up when the servers stop.
func TestServeRouterAdvertisements(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do(model.StartService{Service: all()})
	vm := s.port("tap0")
	routes := func() (n int) {
		for _, r := range vm.Look().Routes {
			if r.IsDefault() && !r.Is4() && r.Protocol == "ra" {
				n++
			}
		}
		return n
	}
	autoconf := func() (out []string) {
		for _, a := range vm.Look().AddressesOf("eth0") {
			if a.Origin == model.RA {
				out = append(out, a.Prefix.Masked().String())
			}
		}
		return out
	}
	testnet.Within(t, testnet.Patience, func() error {
		if n, as := routes(), autoconf(); n != 1 || !slices.Equal(as, []string{"2001:db8:7::/64"}) {
			return fmt.Errorf("%d default routes, addresses of %v%s", n, as, s.log())
		}
		return nil
	})

	solicit(t, vm)

	// Another prefix: the old one is deprecated at once, the router stays one all the time.
	lost := make(chan bool)
	done := make(chan struct{})
	go func() {
		missing := false
		for {
			select {
			case <-done:
				lost <- missing
				return
			default:
				missing = missing || routes() == 0
				time.Sleep(5 * time.Millisecond)
			}
		}
	}()
	next := all()
	next.RA.Prefixes = []model.RAPrefix{{Prefix: netip.MustParsePrefix("2001:db8:8::/64")}}
	s.do(model.ChangeService{Service: next})
	testnet.Within(t, testnet.Patience, func() error {
		for _, a := range vm.Look().AddressesOf("eth0") {
			old := netip.MustParsePrefix("2001:db8:7::/64").Contains(a.Prefix.Addr())
			if a.Origin == model.RA && old && !a.Flags.Deprecated {
				return fmt.Errorf("%s is not deprecated", a.Prefix)
			}
		}
		if as := autoconf(); !slices.Contains(as, "2001:db8:8::/64") {
			return fmt.Errorf("addresses of %v", as)
		}
		return nil
	})
	close(done)
	if <-lost {
		t.Error("over the change, the default route was gone for a while")
	}

	s.do(model.StopService{Network: "private"})
	testnet.Eventually(t, func() error {
		if n := routes(); n != 0 {
			return fmt.Errorf("%d default routes are left", n)
		}
		return nil
	})
}

// solicit asks for an advertisement (RFC 4861, 6.3.7), which comes to who asked alone.
func solicit(t *testing.T, n *testnet.Net) {
	t.Helper()
	n.Inside(func() error {
		raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			return err
		}
		defer raw.Close()
		c := ipv6.NewPacketConn(raw)
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
		if err := errors.Join(c.SetICMPFilter(&filter), c.SetControlMessage(ipv6.FlagDst, true), c.SetMulticastHopLimit(255)); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(testnet.Patience))
		if _, err := c.WriteTo([]byte{133, 0, 0, 0, 0, 0, 0, 0}, &ipv6.ControlMessage{IfIndex: ifi.Index, HopLimit: 255}, &net.IPAddr{IP: net.ParseIP("ff02::2"), Zone: "eth0"}); err != nil {
			return err
		}
		for {
			_, cm, _, err := c.ReadFrom(make([]byte, 1500))
			if err != nil {
				return fmt.Errorf("no answer to a solicitation: %w", err)
			}
			if !cm.Dst.IsMulticast() {
				return nil
			}
		}
	})
}
