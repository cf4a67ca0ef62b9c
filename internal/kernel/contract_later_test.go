package kernel_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"drawbridge/internal/kernel/fake"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// What comes later than the change: the fake tells it as the real kernel does.

// observed is a link's operational state as a dump tells it.
func observed(t *testing.T, k doer, link string) string {
	t.Helper()
	ns, err := k.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := ns.Link(link)
	if l == nil {
		t.Fatalf("no %s", link)
	}
	return l.OperState
}

func do(t *testing.T, k doer, ops ...model.Operation) {
	t.Helper()
	for _, op := range ops {
		if _, err := k.Do(t.Context(), op); err != nil {
			t.Fatalf("%T: %s %s: %v", k, op.Op(), op.Object(), err)
		}
	}
}

// TestLinkwatchComesLater: who looks at once may see the state that was, and who waits for the
// link sees the one that is. The fake is always late; the real kernel is where it has other
// things to do, and on an idle machine hardly ever.
func TestLinkwatchComesLater(t *testing.T) {
	t.Parallel()
	live := testnet.New(t)
	memory := fake.New(*live.Look())
	for _, k := range []doer{memory, live} {
		do(t, k, cable("eth0")...)
		late := false
		for range 40 {
			do(t, k, model.SetUp{Link: "eth0-far"})
			late = late || observed(t, k, "eth0") == "up"
			testnet.Eventually(t, func() error {
				if s := observed(t, k, "eth0"); s != "lowerlayerdown" {
					return fmt.Errorf("%T: eth0 is %s", k, s)
				}
				return nil
			})
			do(t, k, model.SetUp{Link: "eth0-far", Up: true}, model.WaitUp{Link: "eth0", Timeout: 3000})
			if s := observed(t, k, "eth0"); s != "up" {
				t.Errorf("%T: eth0 was waited for, and is %s", k, s)
			}
			if late {
				break
			}
		}
		switch {
		case late:
		case k == doer(memory):
			t.Errorf("%T: the state was never late", k)
		default:
			t.Logf("%T: the state was never late", k)
		}
	}
}

// TestDuplicateAddressDetection: an IPv6 address is tentative, then it is good, or dadfailed
// where another host of the LAN has it; with nodad it is good at once.
func TestDuplicateAddressDetection(t *testing.T) {
	t.Parallel()
	live, lan := testnet.New(t), testnet.New(t)
	live.Veth("eth0", lan, "port0")
	taken := address("2001:db8::77/64", nodad)
	lan.Must(model.AddAddresses{Link: "port0", Addresses: []model.Address{taken}})
	// The LAN's own link-local address, too: without it nobody is there to object.
	testnet.Eventually(t, func() error { return settled(lan, "port0") })
	testnet.Eventually(t, func() error { return settled(live, "eth0") })
	memory := fake.New(*live.Look())
	memory.Taken = []netip.Addr{taken.Prefix.Addr()}

	free, other := address("2001:db8::5/64"), address("2001:db8::77/64")
	for _, k := range []doer{memory, live} {
		do(t, k, model.AddAddresses{Link: "eth0", Addresses: []model.Address{free, other, six2}})
		flags := func(a model.Address) model.AddressFlags {
			t.Helper()
			ns, err := k.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range ns.AddressesOf("eth0") {
				if x.Prefix == a.Prefix {
					return x.Flags
				}
			}
			t.Fatalf("%T: no %s", k, a.Prefix)
			return model.AddressFlags{}
		}
		if f := flags(six2); f.Tentative {
			t.Errorf("%T: tentative in spite of nodad: %+v", k, f)
		}
		if f := flags(free); !f.Tentative || f.DADFailed {
			t.Errorf("%T: at first: %+v", k, f)
		}
		testnet.Eventually(t, func() error {
			if f := flags(free); f.Tentative || f.DADFailed {
				return fmt.Errorf("%T: free, and %+v", k, f)
			}
			if f := flags(other); !f.Tentative || !f.DADFailed {
				return fmt.Errorf("%T: taken, and %+v", k, f)
			}
			return nil
		})
	}
}

// TestACopiedRouteMakesAdvertisementsRefused: the trap of a default route copied to the
// bridge as it is, `proto ra metric 1024`, and that one metric lower it is none.
func TestACopiedRouteMakesAdvertisementsRefused(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for lifetimes to run")
	}
	for _, c := range []struct {
		metric  uint32
		refused bool
	}{{model.MetricRA, true}, {model.MetricInterimRA, false}} {
		t.Run(fmt.Sprint("metric ", c.metric), func(t *testing.T) {
			t.Parallel()
			live, lan := testnet.New(t), testnet.New(t)
			live.Veth("eth0", lan, "port0")
			testnet.Eventually(t, func() error { return settled(lan, "port0") })
			testnet.Eventually(t, func() error { return settled(live, "eth0") })
			memory := fake.New(*live.Look())
			var router netip.Addr
			for _, a := range lan.Look().AddressesOf("port0") {
				if a.Origin == model.LinkLocal {
					router = a.Prefix.Addr()
				}
			}
			ra := fake.Advertisement{Arrives: "eth0", Router: router, Lifetime: raLifetime, HopLimit: 64, Prefix: netip.MustParsePrefix(slaacSubnet), Valid: raValid, Prefer: raPreferred}
			if !memory.Advertise(ra) {
				t.Fatal("the fake refuses the first one")
			}
			testnet.Eventually(t, func() error {
				advertise(t, lan, "port0")
				if a, own := slaac(live, "eth0"); a == nil || own == nil {
					return fmt.Errorf("no SLAAC address or route: %v %v", a, own)
				}
				return nil
			})
			compare(t, "after the first advertisement", memory, live)

			// The cutover, with the default route copied by hand.
			ns := live.Look()
			as, _ := movable(ns, "eth0")
			gone := model.Route{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("::/0"), Protocol: "ra", Scope: "global", Pref: "medium",
				Metric: c.metric, NextHops: []model.NextHop{{Link: "br0", Gateway: router}}}
			for _, k := range []doer{memory, live} {
				do(t, k, model.CreateBridge{Name: "br0", MAC: ns.Link("eth0").MAC, MTU: 1500},
					model.AddAddresses{Link: "br0", Addresses: inTransit(as)},
					model.SetMaster{Link: "eth0", Master: "br0"}, model.WaitUp{Link: "br0", Timeout: 3000},
					model.AddRoutes{Routes: []model.Route{gone}})
			}
			time.Sleep(2 * time.Second) // the addresses' lifetimes run
			if accepted := memory.Advertise(ra); accepted == c.refused {
				t.Errorf("the fake accepts it: %v", accepted)
			}
			refreshed := func() bool {
				advertise(t, lan, "port0")
				time.Sleep(100 * time.Millisecond)
				a, _ := slaac(live, "br0")
				return a != nil && a.Lifetime != nil && a.Lifetime.Valid >= raValid-1
			}
			if c.refused {
				for range 5 {
					if refreshed() {
						t.Fatal("the real kernel accepts it")
					}
				}
				return
			}
			testnet.Eventually(t, func() error {
				if !refreshed() {
					return fmt.Errorf("the real kernel refuses it")
				}
				return nil
			})
		})
	}
}

// TestReplaceHitsStrangers: the trap of `ip route replace` beside a second uplink with the
// same prefix. What loses its route is who came first.
func TestReplaceHitsStrangers(t *testing.T) {
	t.Parallel()
	live := testnet.New(t)
	memory := fake.New(*live.Look())
	start := concat(cable2, cable("eth0"), ops(
		model.AddAddresses{Link: "eth1", Addresses: []model.Address{address("198.18.0.50/24"), address("2001:db8::50/64", nodad)}},
		model.AddAddresses{Link: "eth0", Addresses: []model.Address{first, six}},
		model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:09"}))
	for _, k := range []doer{memory, live} {
		do(t, k, start...)
	}
	compare(t, "start", memory, live)
	four, sixth := connectedRoute("198.18.0.0/24", "198.18.0.5", "br0"), connectedRoute("2001:db8::/64", "", "br0")
	for _, r := range []model.Route{four, sixth} {
		if err := memory.Replace(r); err != nil {
			t.Fatal(err)
		}
	}
	run(t, live, "ip route replace 198.18.0.0/24 dev br0 proto kernel scope link src 198.18.0.5")
	run(t, live, "ip -6 route replace 2001:db8::/64 dev br0 proto kernel metric 256")
	compare(t, "replaced", memory, live)
	for _, r := range live.Look().RoutesOf("eth1") {
		if r.Table == model.TableMain && (r.Destination == four.Destination || r.Destination == sixth.Destination) {
			t.Errorf("the stranger still has %s: the trap is none", r.Destination)
		}
	}
}
