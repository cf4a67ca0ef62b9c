package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drawbridge/internal/lab/booted"
	"drawbridge/internal/lab/flow"
	"drawbridge/internal/model"
	"drawbridge/internal/persist"
	"drawbridge/internal/testnet"

	"github.com/google/go-cmp/cmp"
)

// lost runs fn and tells which of 1,000 probes a second in each of four flows to the host
// were lost meanwhile: to the addresses that a link has now.
func (s *persistSite) lost(fn func()) {
	s.t.Helper()
	var four, six netip.Addr
	for _, a := range s.host.Look().Addresses {
		switch {
		case a.Prefix.Addr().Is4() && a.Link != "lo":
			four = a.Prefix.Addr()
		case a.Origin == model.Static && a.Link != "lo":
			six = a.Prefix.Addr()
		}
	}
	ctx, stop := context.WithCancel(s.t.Context())
	targets := []flow.Target{
		{Name: "IPv4", Network: "udp", Address: four},
		{Name: "IPv6", Network: "udp", Address: six},
		{Name: "TCP", Network: "tcp", Address: four},
		{Name: "TCP over IPv6", Network: "tcp", Address: six},
	}
	ready := make(chan struct{})
	var results []flow.Result
	var all sync.WaitGroup
	all.Go(func() {
		inside := func(_ string, f func() error) error { return s.lan.Kernel.Inside(f) }
		results = flow.Run(ctx, targets, inside, sync.OnceFunc(func() { close(ready) }))
	})
	<-ready
	func() {
		defer all.Wait()
		defer stop()
		fn()
	}()
	for _, r := range results {
		if r.Error != "" || r.Lost > 0 {
			tell := s.t.Errorf
			if s.lossy != nil {
				tell, *s.lossy = s.t.Logf, true
			}
			tell("%s: %d of %d lost; longest silence %.1f ms at %.0f ms; %s", r.Name, r.Lost, r.Sent, r.LongestGapMS, r.GapAtMS, r.Error)
		}
	}
}

type takeOver struct {
	name, booted string
	files        map[string]string
	has          string
	again        []string
	// apply is the manager's own way of beginning anew: it may lose something, as without us.
	apply string
}

// takeOvers are the managers, what tells that they have the bridge, and what they do when
// they are told to look again or start anew.
var takeOvers = []takeOver{
	{name: "networkd", booted: "systemd-networkd", has: `networkctl --no-legend | grep -q 'br0.*configur' && ! networkctl --no-legend | grep -q 'eth0.*unmanaged'`, again: []string{"networkctl reload", "systemctl restart systemd-networkd"}},
	{name: "netplan", booted: "netplan", has: `networkctl --no-legend | grep -q 'br0.*configur' && ! networkctl --no-legend | grep -q 'eth0.*unmanaged'`, again: []string{"netplan generate; networkctl reload", "systemctl restart systemd-networkd"}, apply: "netplan apply"},
	{name: "NetworkManager", booted: "NetworkManager", has: `nmcli -t device | grep -q 'br0:bridge:connected:drawbridge br0' && nmcli -t device | grep -q 'eth0:ethernet:connected:drawbridge eth0'`, again: []string{"nmcli general reload; nmcli connection reload", "systemctl restart NetworkManager; nm-online -s -q"}},
	{name: "ifupdown", booted: "ifupdown,", files: map[string]string{"etc/network/interfaces": interfacesFile + "iface eth0 inet static\n\taddress 198.18.0.5/24\n\tgateway 198.18.0.1\niface eth0 inet6 static\n\taddress 2001:db8::5/64\n\tgateway 2001:db8::1\n"}, has: "grep -q br0=br0 /run/network/ifstate && ifquery --state br0", again: []string{"ifup -a"}},
	{name: "ifupdown2", booted: "ifupdown2", files: map[string]string{"etc/network/interfaces": interfacesFile + "iface eth0\n\taddress 198.18.0.5/24\n\taddress 2001:db8::5/64\n\tgateway 198.18.0.1\n\tgateway 2001:db8::1\n"}, has: "ifquery --check br0", again: []string{"ifreload -a; true"}},
}

func init() {
	for _, c := range persistCases {
		for _, m := range takeOvers {
			if c.name == m.name+"-dhcp" && c.booted == m.booted && c.manager != persist.Netplan && c.manager != persist.Ifupdown {
				m.name, m.files = c.name, c.files
				takeOvers = append(takeOvers, m)
			}
		}
	}
}

// A manager takes over what is up, from the files, and no packet is lost: neither then, nor
// when it looks again or starts anew, nor when it is given its uplink back.
//
// Side by side they take each other's time, and a manager that is slow loses what it does
// not lose otherwise: who has lost something is tried again alone, and loses nothing then.
func TestTakeOver(t *testing.T) {
	lossy := make([]bool, len(takeOvers))
	t.Run("side by side", func(t *testing.T) {
		for i, c := range takeOvers {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.test(t, &lossy[i])
			})
		}
	})
	for i, c := range takeOvers {
		if lossy[i] {
			t.Run(c.name+" alone", func(t *testing.T) { c.test(t, nil) })
		}
	}
}

// test is one manager's; lossy takes note of a loss instead of an error, nil for none.
func (c takeOver) test(t *testing.T, lossy *bool) {
	t.Helper()
	s := newPersistSite(t, managerNamed(t, c.booted), booted.Options{Files: c.files})
	s.lossy = lossy
	ns := s.settled("eth0")
	// NetworkManager writes resolv.conf, and ifupdown2 into iproute2, by themselves.
	etc := func() string {
		return strings.Join(slices.DeleteFunc(strings.Split(s.etc(), "\n"), func(l string) bool {
			return strings.Contains(l, "resolv.conf") || strings.Contains(l, "iproute2")
		}), "\n")
	}
	before, addresses := etc(), globals(&ns, "eth0")
	s.serve()
	shell := func(script string) {
		t.Helper()
		if out, err := s.booted.Run(t.Context(), "sh", "-c", script); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	s.lost(func() {
		if out := s.run("up", "--yes", "--persist", s.file); strings.Contains(out, "taken over: ") != (c.name != "ifupdown2") || strings.Contains(out, "rolling back") {
			t.Errorf("up says\n%s", out)
		}
		shell(c.has)
	})
	asIs := func(when string) {
		t.Helper()
		testnet.Within(t, testnet.Patience, func() error {
			if ns := s.host.Look(); ns.Link("eth0").Master != "br0" || ns.Link("tap0").Master != "br0" || globals(ns, "br0") != addresses || globals(ns, "eth0") != "" {
				return fmt.Errorf("%s: eth0 in %q with %q, br0 with %q", when, ns.Link("eth0").Master, globals(ns, "eth0"), globals(ns, "br0"))
			}
			return nil
		})
	}
	asIs("taken over")
	for _, act := range c.again {
		s.lost(func() { shell(act + "\n" + c.has) })
		asIs(act)
	}
	if c.apply != "" {
		shell(c.apply + "\n" + c.has)
		asIs(c.apply)
		s.settled("br0")
	}
	if out := s.run("persist", "write", "--yes", s.file); !strings.Contains(out, "nothing to do") || strings.Contains(out, "take over") {
		t.Errorf("written again: %s", out)
	}
	if out := s.run("doctor"); strings.Contains(out, "manager-takes-back") {
		t.Errorf("the doctor says %s", out)
	}
	s.lost(func() {
		s.run("persist", "remove", "--yes")
		asIs("without the files")
		s.run("down", "--yes")
	})
	if after := etc(); after != before {
		t.Errorf("/etc is another:\n%s", cmp.Diff(before, after))
	}
	ns = s.settled("eth0")
	if ns.Link("br0") != nil || globals(&ns, "eth0") != addresses {
		t.Errorf("after down: %v, eth0 with %s", names(ns), globals(&ns, "eth0"))
	}
}

// serve answers probes in the host.
func (s *persistSite) serve() {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.t.Cleanup(stop)
	s.host.Inside(func() error { return flow.Serve(ctx) })
}

// A manager that hangs, or dies under it, has not taken it over, or has after all: the host is
// on its LAN in either case, and the manager leaves alone what it has not taken.
func TestTakeOverFails(t *testing.T) {
	for _, c := range []struct{ booted, unit string }{
		{"systemd-networkd", "systemd-networkd"},
		{"NetworkManager", "NetworkManager"},
	} {
		t.Run(c.booted, func(t *testing.T) {
			t.Parallel()
			s := newPersistSite(t, managerNamed(t, c.booted), booted.Options{})
			ns := s.settled("eth0")
			addresses := globals(&ns, "eth0")
			s.serve()
			s.run("up", "--yes", s.file)
			drawbridge := filepath.Join(s.bin, "drawbridge")
			try := func(script, want string) {
				t.Helper()
				out, err := s.booted.Run(t.Context(), "sh", "-c", script, "sh", drawbridge, s.file)
				if err != nil || !strings.Contains(out, want) {
					t.Errorf("%v: it says\n%s", err, out)
				}
			}
			asIs := func(when string) {
				t.Helper()
				testnet.Within(t, testnet.Patience, func() error {
					if ns := s.host.Look(); ns.Link("eth0").Master != "br0" || globals(ns, "br0") != addresses || globals(ns, "eth0") != "" || strings.Contains(model.SplitAddresses(ns.AddressesOf("br0")), "tentative") {
						return fmt.Errorf("%s: eth0 in %q with %q, br0 with %q", when, ns.Link("eth0").Master, globals(ns, "eth0"), globals(ns, "br0"))
					}
					return nil
				})
			}
			signal := func(name string) string { return "systemctl kill --kill-whom=main -s " + name + " " + c.unit }
			s.lost(func() { // it hangs
				try(signal("STOP")+`; "$1" persist write --yes "$2" 2>&1; code=$?; `+signal("CONT")+"; exit $code", "no answer within")
				asIs("it hung")
			})
			try("cat /run/systemd/network/00-drawbridge-beside.network /run/NetworkManager/conf.d/90-drawbridge-beside.conf 2>/dev/null; true", "br0")
			testnet.Within(t, testnet.Patience, func() error {
				_, err := s.booted.Run(t.Context(), "systemctl", "is-active", c.unit)
				return err
			})
			time.Sleep(100 * time.Millisecond)
			asIs("it goes on")
			// It dies, and systemd starts it anew.
			try(`"$1" persist write --yes "$2" 2>&1 | while read -r line; do echo "$line"; case $line in *"take over"*) `+signal("KILL")+";; esac; done", "take over")
			asIs("it died")
			if out := s.run("persist", "write", "--yes", s.file); !strings.Contains(out, "nothing to do") {
				t.Errorf("again: %s", out)
			}
			asIs("again")
			s.run("persist", "remove", "--yes")
			s.run("down", "--yes")
			ns = s.settled("eth0")
			if globals(&ns, "eth0") != addresses {
				t.Errorf("after down eth0 has %s", globals(&ns, "eth0"))
			}
		})
	}
}
