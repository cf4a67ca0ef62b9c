package portsec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"drawbridge/internal/lab/router"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// guest is a machine with a stack of its own, behind the secured port "port0" of a host
// on the LAN of 198.18.0.1 and 2001:db8::1.
type guest struct {
	t              testing.TB
	host, lan, own *testnet.Net
}

func newGuest(t testing.TB, p model.PortSecurity, static ...string) *guest {
	t.Helper()
	testnet.RequireSecurity(t)
	g := &guest{t, testnet.New(t), testnet.New(t), testnet.New(t)}
	g.host.Veth("eth0", g.lan, "lan0")
	address := func(link, p string) model.Operation {
		return model.AddAddresses{Link: link, Addresses: []model.Address{{Link: link, Prefix: netip.MustParsePrefix(p), Origin: model.Static}}}
	}
	g.lan.Must(model.SetMAC{Link: "lan0", MAC: model.MAC(gatewayMAC.String())}, address("lan0", "198.18.0.1/24"), address("lan0", "2001:db8::1/64"))
	p.Link = "port0"
	g.host.Must(model.CreateBridge{Name: "br0"}, model.SetMaster{Link: "eth0", Master: "br0"},
		model.CreateVeth{Name: "port0", Peer: model.Ref{Namespace: g.own.Name(), Name: "eth1"}, PeerMAC: model.MAC(ownMAC.String())},
		model.SecurePorts{Ports: []model.PortSecurity{p}}, model.SetMaster{Link: "port0", Master: "br0"}, model.SetUp{Link: "port0", Up: true})
	g.own.Must(model.SetUp{Link: "eth1", Up: true})
	for _, a := range static {
		g.own.Must(address("eth1", a))
	}
	g.host.Must(model.WaitUp{Link: "port0", Timeout: 5000})
	return g
}

// settled waits until duplicate address detection is through, everywhere.
func (g *guest) settled() {
	g.t.Helper()
	testnet.Eventually(g.t, func() error {
		for _, a := range append(g.own.Look().Addresses, g.lan.Look().Addresses...) {
			if a.Flags.Tentative || a.Flags.DADFailed {
				return fmt.Errorf("%s: %+v", a.Prefix, a.Flags)
			}
		}
		return nil
	})
}

// ping tells whether an echo comes back; size is the payload's, large ones go in fragments.
func ping(from *testnet.Net, to string, size int, more ...string) (err error) {
	from.Inside(func() error {
		args := append([]string{"-c1", "-W5", "-s", fmt.Sprint(size)}, more...)
		var out []byte
		if out, err = exec.Command("ping", append(args, to)...).CombinedOutput(); err != nil {
			err = fmt.Errorf("ping %s: %w: %s", to, err, out)
		}
		return nil
	})
	return err
}

// tcp sends 1 MB each way on a connection from one to the other.
func tcp(t *testing.T, server, client *testnet.Net, address string) {
	t.Helper()
	const size = 1 << 20
	var l net.Listener
	server.Inside(func() (err error) { l, err = net.Listen("tcp", net.JoinHostPort(address, "0")); return err })
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		_, err = io.Copy(c, io.LimitReader(c, size))
		done <- err
	}()
	client.Inside(func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		sent := make(chan error, 1)
		go func() { _, err := c.Write(make([]byte, size)); sent <- err }()
		n, err := io.Copy(io.Discard, io.LimitReader(c, size))
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes came back", n)
		}
		return errors.Join(err, <-sent)
	})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func needPing(t *testing.T) {
	t.Helper()
	testnet.RequireCommand(t, "ping", "iputils-ping")
}

// What is allowed works: duplicate address detection, ARP, neighbour discovery, pings in
// fragments, groups, and TCP both ways over both protocols.
func TestAMachineWithAddressesWorks(t *testing.T) {
	needPing(t)
	for name, p := range map[string]model.PortSecurity{"strict": given, "mac": {Level: model.SecurityMAC, MACs: given.MACs}, "generous": generous, "any": anyAddress} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuest(t, p, "198.18.0.2/24", "2001:db8::2/64")
			g.settled()
			for _, err := range []error{
				ping(g.own, "198.18.0.1", 56), ping(g.own, "198.18.0.1", 4000), ping(g.lan, "198.18.0.2", 4000),
				ping(g.own, "2001:db8::1", 56), ping(g.own, "2001:db8::1", 4000), ping(g.lan, "2001:db8::2", 4000),
				ping(g.lan, "2001:db8::2", 56), ping(g.own, "ff02::1%eth1", 56),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			tcp(t, g.lan, g.own, "198.18.0.1")
			tcp(t, g.own, g.lan, "2001:db8::2")
			// It joins a group: a report of multicast listeners that nothing may stop.
			var c *net.UDPConn
			g.own.Inside(func() (err error) {
				ifi, err := net.InterfaceByName("eth1")
				if err != nil {
					return err
				}
				c, err = net.ListenMulticastUDP("udp6", ifi, &net.UDPAddr{IP: net.ParseIP("ff02::4711"), Port: 4711})
				return err
			})
			defer c.Close()
			if p.Level == model.SecurityStrict {
				g.sawAddresses()
			}
			if p.Rate == 0 {
				p := g.host.Look().SecurityOf("port0")
				if p.DroppedTotal() != 0 {
					t.Errorf("dropped: %v", p.Dropped)
				}
			}
		})
	}
}

// sawAddresses: what it used is remembered, with how and when it was seen.
func (g *guest) sawAddresses() {
	g.t.Helper()
	seen := map[netip.Addr]string{}
	for _, s := range g.host.Look().SecurityOf("port0").Seen {
		seen[s.Address] = s.By
		if s.SecondsAgo > 600 {
			g.t.Errorf("seen: %+v", s)
		}
	}
	want := map[netip.Addr]string{own4: model.SeenByARP, own6: model.SeenByND, ownLocal: model.SeenByND}
	if !maps.Equal(seen, want) {
		g.t.Errorf("seen: %v, want %v", seen, want)
	}
}

var anyAddress = model.PortSecurity{Level: model.SecurityStrict, MACs: given.MACs, IPv4: model.SourceAny, IPv6: model.SourceAny}

// A machine with a lease may use that address and no other; where it renews, it goes on;
// what is not its own it cannot have, nor a router's IPv6 address.
func TestAMachineWithALeaseWorks(t *testing.T) {
	needPing(t)
	g := newGuest(t, leased, "198.18.0.77/24")
	quiet := log.New(io.Discard, "", 0)
	server := router.NewDHCP(router.DHCPConfig{Server: netip.MustParsePrefix("198.18.0.1/24"), First: netip.MustParseAddr("198.18.0.100"), Last: netip.MustParseAddr("198.18.0.102"),
		Gateway: gateway4, LeaseTime: time.Hour}, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g.lan.Inside(func() error {
		if err := server.Start(ctx, "lan0"); err != nil {
			return err
		}
		return router.Advertise(ctx, router.AdvertConfig{Link: "lan0", Prefix: netip.MustParsePrefix("2001:db8::/64"), Interval: time.Second, Lifetime: time.Hour}, quiet)
	})
	// Before it has a lease it may not send at all, whatever address it gives itself.
	if err := ping(g.own, "198.18.0.1", 56, "-W1"); err == nil {
		t.Error("it sends without a lease")
	}
	g.own.Must(model.DeleteAddresses{Link: "eth1", Addresses: g.own.Look().AddressesOf("eth1")[:1]})

	var lease *nclient4.Lease
	g.own.Inside(func() (err error) {
		c, err := nclient4.New("eth1", nclient4.WithTimeout(5*time.Second), nclient4.WithRetry(3))
		if err != nil {
			return err
		}
		defer c.Close()
		lease, err = c.Request(ctx)
		return err
	})
	got, _ := netip.AddrFromSlice(lease.ACK.YourIPAddr.To4())
	g.own.Must(model.AddAddresses{Link: "eth1", Addresses: []model.Address{{Link: "eth1", Prefix: netip.PrefixFrom(got, 24), Origin: model.Static}}})
	if p := g.host.Look().SecurityOf("port0"); !slices.Equal(p.Learned, []netip.Addr{got}) || p.Altered {
		t.Errorf("leased %s, learned %+v", got, p)
	}
	for _, err := range []error{ping(g.own, "198.18.0.1", 4000), ping(g.lan, got.String(), 56)} {
		if err != nil {
			t.Error(err)
		}
	}
	// It renews by unicast, from its own address (RFC 2131, 4.4.5).
	g.own.Inside(func() error {
		renewal, err := dhcpv4.NewRenewFromAck(lease.ACK)
		if err != nil {
			return err
		}
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: got.AsSlice(), Port: 68}, &net.UDPAddr{IP: gateway4.AsSlice(), Port: 67})
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(renewal.ToBytes()); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		answer := make([]byte, 2048)
		n, err := c.Read(answer)
		if err != nil {
			return err
		}
		ack, err := dhcpv4.FromBytes(answer[:n])
		if err == nil && ack.MessageType() != dhcpv4.MessageTypeAck {
			err = fmt.Errorf("%s", ack.Summary())
		}
		return err
	})
	// Nor may it use another address now, beside its own.
	g.own.Must(model.AddAddresses{Link: "eth1", Addresses: []model.Address{{Link: "eth1", Prefix: netip.MustParsePrefix("198.18.0.77/24"), Origin: model.Static}}})
	if err := ping(g.own, "198.18.0.1", 56, "-W1", "-I", "198.18.0.77"); err == nil {
		t.Error("it sends from an address that is not leased")
	}
	g.addressesByAdvertisement()
	// The rules may be set anew, other ones even: what was learned stays.
	p := leased
	p.Link, p.Rate = "port0", 1e9
	g.host.Must(model.SecurePorts{Ports: []model.PortSecurity{p}})
	if err := ping(g.own, "198.18.0.1", 56); err != nil {
		t.Error(err)
	}
}

// addressesByAdvertisement waits for one, uses it, and tries to take the router's own.
func (g *guest) addressesByAdvertisement() {
	t := g.t
	t.Helper()
	testnet.Eventually(t, func() error {
		for _, a := range g.own.Look().Addresses {
			if netip.MustParsePrefix("2001:db8::/64").Contains(a.Prefix.Addr()) && !a.Flags.Tentative {
				return nil
			}
		}
		return errors.New("no address by router advertisement")
	})
	if err := ping(g.own, "2001:db8::1", 56); err != nil {
		t.Error(err)
	}
	local := ""
	for _, a := range g.lan.Look().Addresses {
		if a.Prefix.Addr().IsLinkLocalUnicast() {
			local = a.Prefix.Addr().String()
		}
	}
	if err := ping(g.own, local+"%eth1", 56); err != nil {
		t.Error(err)
	}
	before := g.host.Look().SecurityOf("port0").Dropped["another IPv6 address"]
	g.own.Must(model.AddAddresses{Link: "eth1", Addresses: []model.Address{{Link: "eth1", Prefix: netip.MustParsePrefix(local + "/64"), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}}})
	if err := ping(g.own, "2001:db8::1", 56, "-W1", "-I", local+"%eth1"); err == nil {
		t.Error("it sends from the router's address")
	}
	if after := g.host.Look().SecurityOf("port0").Dropped["another IPv6 address"]; after == before {
		t.Error("not even a neighbour advertisement for the router's address was dropped")
	}
	g.own.Must(model.DeleteAddresses{Link: "eth1", Addresses: []model.Address{{Link: "eth1", Prefix: netip.MustParsePrefix(local + "/64")}}})
}
