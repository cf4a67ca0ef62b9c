package service_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// query asks for a name at an address, from inside a namespace.
func query(n *testnet.Net, from, network string, at netip.Addr, name string, kind dnsmessage.Type, patience time.Duration) (answers []string, code dnsmessage.RCode, err error) {
	err = kernel.Enter("/run/netns/"+n.Name(), func() error {
		d := net.Dialer{Timeout: 2 * time.Second}
		switch {
		case from != "" && network == "udp":
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
		case from != "":
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		c, err := d.Dial(network, netip.AddrPortFrom(at, 53).String())
		if err != nil {
			return err
		}
		defer c.Close()
		q, err := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}).Pack()
		if err != nil {
			return err
		}
		if network == "tcp" {
			q = append([]byte{byte(len(q) >> 8), byte(len(q))}, q...)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(q); err != nil {
			return err
		}
		buf := make([]byte, 4096)
		got, err := c.Read(buf)
		if err != nil {
			return err
		}
		buf = buf[:got]
		if network == "tcp" {
			buf = buf[2:]
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf); err != nil || m.ID != 7 {
			return errors.Join(err, fmt.Errorf("answer %+v", m.Header))
		}
		code = m.RCode
		for _, a := range m.Answers {
			switch b := a.Body.(type) {
			case *dnsmessage.AResource:
				answers = append(answers, netip.AddrFrom4(b.A).String())
			case *dnsmessage.AAAAResource:
				answers = append(answers, netip.AddrFrom16(b.AAAA).String())
			case *dnsmessage.PTRResource:
				answers = append(answers, b.PTR.String())
			}
		}
		return nil
	})
	return answers, code, err
}

// resolves fails the test unless a name is answered so.
func resolves(t *testing.T, n *testnet.Net, network string, at netip.Addr, name string, kind dnsmessage.Type, want ...string) {
	t.Helper()
	resolvesFrom(t, n, "", network, at, name, kind, want...)
}

// resolvesFrom asks from an address of the namespace's.
func resolvesFrom(t *testing.T, n *testnet.Net, from, network string, at netip.Addr, name string, kind dnsmessage.Type, want ...string) {
	t.Helper()
	testnet.Eventually(t, func() error {
		got, _, err := query(n, from, network, at, name, kind, 6*time.Second)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%s by %s is %v, want %v", name, network, got, want)
		}
		return err
	})
}

// Names are answered to the network and to the host, by both addresses and protocols, and
// to nobody else; what is not of the zone is asked of the upstream.
func TestServeNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vm := s.port("tap0")
	far := testnet.New(t) // a router's side of the host: not of the network
	s.Veth("eth0", far, "eth0")
	s.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.1.1/24"), Origin: model.Static}}})
	far.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.1.2/24"), Origin: model.Static}}},
		model.AddRoutes{Routes: []model.Route{{Table: model.TableMain, Type: "unicast", Protocol: "static", Scope: "global", Destination: netip.MustParsePrefix("198.18.7.0/24"),
			NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.1.1")}}}}})
	upstream(t, far, "198.18.1.2:53")
	want := all()
	want.DNS.Upstreams = []netip.AddrPort{netip.MustParseAddrPort("198.18.1.9:53"), netip.MustParseAddrPort("198.18.1.2:53")} // the first is nobody
	s.do(model.StartService{Service: want})
	a := lease(t, vm)
	vm.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{{Prefix: netip.PrefixFrom(a, 24), Origin: model.Static}, {Prefix: netip.MustParsePrefix("2001:db8:7::99/64"), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}}})

	for _, network := range []string{"udp", "tcp"} {
		for _, at := range []netip.Addr{host4.Addr(), host6.Addr()} {
			resolves(t, vm, network, at, "alice.home.arpa.", dnsmessage.TypeA, a.String())
			resolves(t, s.Net, network, at, "Gateway.Home.Arpa.", dnsmessage.TypeAAAA, "2001:db8:7::1")
		}
		// The host, from another address of its own, as masquerade would have it.
		resolvesFrom(t, s.Net, "198.18.1.1", network, host4.Addr(), "gateway.home.arpa.", dnsmessage.TypeA, "198.18.7.1")
		resolves(t, vm, network, host4.Addr(), "web.", dnsmessage.TypeA, "198.18.7.9")
		resolves(t, vm, network, host4.Addr(), "www.example.com.", dnsmessage.TypeA, "198.18.99.99")
	}
	resolves(t, vm, "udp", host4.Addr(), "1.7.18.198.in-addr.arpa.", dnsmessage.TypePTR, "gateway.home.arpa.")
	if _, code, err := query(vm, "", "udp", host4.Addr(), "nobody.home.arpa.", dnsmessage.TypeA, 6*time.Second); err != nil || code != dnsmessage.RCodeNameError {
		t.Errorf("a name that is not there: %v, %v", code, err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if got, code, err := query(far, "", network, host4.Addr(), "alice.home.arpa.", dnsmessage.TypeA, 700*time.Millisecond); err == nil {
			t.Errorf("a stranger is answered by %s: %v %v", network, got, code)
		}
	}
}

// upstream is a name server that has one answer for everything.
func upstream(t *testing.T, n *testnet.Net, at string) {
	t.Helper()
	answer := func(q []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(q) != nil || len(m.Questions) != 1 {
			return nil
		}
		m.Response = true
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 60},
			Body: &dnsmessage.AResource{A: [4]byte{198, 18, 99, 99}}}}
		b, _ := m.Pack()
		return b
	}
	n.Inside(func() error {
		udp, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		tcp, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		t.Cleanup(func() { udp.Close(); tcp.Close() })
		go func() {
			b := make([]byte, 4096)
			for {
				n, from, err := udp.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo(answer(b[:n]), from)
			}
		}()
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				b := make([]byte, 4096)
				if n, err := c.Read(b); err == nil && n > 2 {
					a := answer(b[2:n])
					_, _ = c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
				}
				c.Close()
			}
		}()
		return nil
	})
}
