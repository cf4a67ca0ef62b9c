package keeper_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"drawbridge/internal/keeper"
	"drawbridge/internal/kernel"
	"drawbridge/internal/lab/router"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

const leaseTime = 4 * time.Second

var (
	leased = netip.MustParsePrefix("198.18.0.100/24")
	server = netip.MustParsePrefix("198.18.0.1/24")
)

// site is a host with a leased address on eth0, and a LAN with its DHCP server.
func site(t *testing.T) (host, lan *testnet.Net, serve context.CancelFunc) {
	t.Helper()
	host, lan = testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "port0")
	lan.Must(model.AddAddresses{Link: "port0", Addresses: []model.Address{{Prefix: server, Origin: model.Static}}})
	host.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{{Prefix: leased, Origin: model.DHCP, Lifetime: &model.Lifetime{Valid: 4, Preferred: 4}}}})
	ctx, stop := context.WithCancel(t.Context())
	d := router.NewDHCP(router.DHCPConfig{Server: server, First: leased.Addr(), Last: leased.Addr(), Gateway: server.Addr(), Domain: "lab.invalid", LeaseTime: leaseTime}, log.New(io.Discard, "", 0))
	lan.Inside(func() error { return d.Start(ctx, "port0") })
	return host, lan, stop
}

func inside(n *testnet.Net) func(fn func() error) error {
	return func(fn func() error) error { return kernel.Enter("/run/netns/"+n.Name(), fn) }
}

func try(t *testing.T, host *testnet.Net) (l keeper.Lease, err error) {
	t.Helper()
	mac, perr := net.ParseMAC(string(host.Look().Link("eth0").MAC))
	if perr != nil {
		t.Fatal(perr)
	}
	err = inside(host)(func() (err error) {
		l, err = keeper.Try(t.Context(), keeper.Lease{Uplink: "eth0", Link: "br0", Prefix: leased, Timed: true, Hostname: "alice"}, keeper.Identities(nil, mac, nil))
		return err
	})
	return l, err
}

// TestKeep: past several ends of the lease the address is there, on br0 alone; and the
// keeper ends when it leaves.
func TestKeep(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for leases to end")
	}
	host, _, _ := site(t)
	lease, err := try(t, host)
	if err != nil || lease.Server != server.Addr() {
		t.Fatalf("%+v %v", lease, err)
	}
	there := host.Look().AddressesOf("eth0")[:1]
	host.Must(model.CreateBridge{Name: "br0", MAC: host.Look().Link("eth0").MAC}, model.AddAddresses{Link: "br0", Addresses: there},
		model.SetMaster{Link: "eth0", Master: "br0"}, model.DeleteAddresses{Link: "eth0", Addresses: there}, model.WaitUp{Link: "br0", Timeout: 3000})
	states := make(chan keeper.State, 100)
	k := keeper.Keeper{Lease: lease, Kernel: host, Inside: inside(host), Lock: func() (func(), error) { return func() {}, nil },
		Tell: func(s keeper.State) { states <- s }, Log: t.Logf, Clock: kernel.Uptime}
	ended := make(chan error, 1)
	go func() { ended <- k.Run(t.Context()) }()
	for end := time.Now().Add(2*leaseTime + leaseTime/2); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if as := host.Look().AddressesOf("br0"); len(as) == 0 || as[0].Prefix != leased || as[0].Lifetime == nil {
			t.Fatalf("on br0: %+v", as)
		}
	}
	if s := <-states; s.Failing != "" || s.Until.Before(s.Renewed) {
		t.Errorf("%+v", s)
	}

	// the old client, which knows nothing of the bridge
	host.Must(model.AddAddresses{Link: "eth0", Addresses: there})
	testnet.Eventually(t, func() error {
		for _, a := range host.Look().AddressesOf("eth0") {
			if a.Prefix == leased {
				return fmt.Errorf("%s is still on the port", leased)
			}
		}
		return nil
	})

	host.Must(model.DeleteAddresses{Link: "br0", Addresses: there})
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the address is gone, and its keeper is not")
	}
}

// TestNobodyAnswers: a lease that no server extends is not promised.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	host, lan, serve := site(t)
	serve()
	lan.Must(model.DeleteAddresses{Link: "port0", Addresses: lan.Look().AddressesOf("port0")[:1]})
	testnet.Eventually(t, func() error { // its socket closes a moment later
		if l, err := try(t, host); err == nil {
			return fmt.Errorf("promised: %+v", l)
		}
		return nil
	})
}

// TestLocked: what is renewed while somebody else is at work is noted on the address later.
func TestLocked(t *testing.T) {
	t.Parallel()
	host, _, _ := site(t)
	lease, err := try(t, host)
	if err != nil {
		t.Fatal(err)
	}
	lease.Link = "eth0"
	states := make(chan keeper.State, 100)
	k := keeper.Keeper{Lease: lease, Kernel: host, Inside: inside(host), Lock: func() (func(), error) { return nil, os.ErrExist },
		Tell: func(s keeper.State) { states <- s }, Log: t.Logf, Clock: kernel.Uptime}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case s := <-states:
		if s.Failing == "" {
			t.Errorf("%+v", s)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing told")
	}
}
