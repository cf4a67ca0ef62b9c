package service_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/service"
	"drawbridge/internal/testnet"
)

// TestMain: this test binary is the supervisor and the server as well.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case service.SupervisorCommand:
			err = service.RunSupervisor(os.Args[2])
		case service.ServerCommand:
			err = service.RunServer()
		case cagedCommand:
			caged(os.Args[2])
		default:
			testnet.Main(m)
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testnet.Main(m)
}

var (
	host4 = netip.MustParsePrefix("198.18.7.1/24")
	host6 = netip.MustParsePrefix("2001:db8:7::1/64")
)

// site is a host with the bridge br1, and a manager of its services.
type site struct {
	*testnet.Net
	*service.Manager
	t   *testing.T
	dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	host := testnet.New(t)
	host.Must(model.CreateBridge{Name: "br1", MAC: "02:00:00:00:07:01"}, model.AddAddresses{Link: "br1", Addresses: []model.Address{
		{Prefix: host4, Origin: model.Static}, {Prefix: host6, Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}}})
	dir := t.TempDir()
	m := service.NewManager(filepath.Join(dir, "services"))
	m.Namespace, m.Leases = "/run/netns/"+host.Name(), filepath.Join(dir, "leases")
	var err error
	if m.Executable, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	s := &site{host, m, t, dir}
	t.Cleanup(func() {
		list, err := m.List(context.Background())
		for _, x := range list {
			err = errors.Join(err, m.Do(context.Background(), model.StopService{Network: x.Network}))
		}
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

// port makes a namespace whose eth0 is on a port of br1.
func (s *site) port(name string) *testnet.Net {
	s.t.Helper()
	vm := testnet.New(s.t)
	s.Veth(name, vm, "eth0")
	s.Must(model.SetMaster{Link: name, Master: "br1"})
	return vm
}

// all is everything that a network may serve.
func all() model.Service {
	return model.Service{Network: "private", Link: "br1",
		DHCP4: &model.DHCP4Config{Server: host4, First: netip.MustParseAddr("198.18.7.100"), Last: netip.MustParseAddr("198.18.7.120"), LeaseSeconds: 600,
			Router: host4.Addr(), DNS: []netip.Addr{host4.Addr()}, Domain: "home.arpa",
			Static: []model.StaticLease{{MAC: "02:00:00:00:00:09", Name: "web", Address: netip.MustParseAddr("198.18.7.9")}}},
		RA: &model.RAConfig{Prefixes: []model.RAPrefix{{Prefix: netip.MustParsePrefix("2001:db8:7::/64")}}, LifetimeSeconds: 1800, DNS: []netip.Addr{host6.Addr()}, Search: []string{"home.arpa"}},
		DNS: &model.DNSConfig{Listen: []netip.Addr{host4.Addr(), host6.Addr()}, Clients: []netip.Prefix{host4.Masked(), host6.Masked()}, Zone: "home.arpa",
			Names: []model.DNSName{{Name: "gateway", Addresses: []netip.Addr{host4.Addr(), host6.Addr()}}}}}
}

func (s *site) do(op model.Operation) {
	s.t.Helper()
	if err := s.Manager.Do(s.t.Context(), op); err != nil {
		s.t.Fatal(err, s.log())
	}
}

func (s *site) log() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "services", "private", "shim.log"))
	return "\n" + string(b)
}

// one is the only service, as it is.
func (s *site) one() model.Service {
	s.t.Helper()
	list, err := s.List(s.t.Context())
	if err != nil || len(list) != 1 {
		s.t.Fatalf("%+v %v", list, err)
	}
	return list[0]
}

// in runs a command inside a namespace.
func in(t *testing.T, n *testnet.Net, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", n.Name(), name}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// lease gets an address with udhcpc, which changes nothing by itself here.
func lease(t *testing.T, n *testnet.Net) netip.Addr {
	t.Helper()
	udhcpc := testnet.RequireCommand(t, "udhcpc", "udhcpc")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = bound ] && echo \"got $ip $router $dns $domain\"\nexit 0\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	out, err := in(t, n, udhcpc, "-i", "eth0", "-n", "-q", "-f", "-t", "20", "-T", "1", "-s", script, "-x", "hostname:alice")
	if err != nil {
		t.Fatalf("udhcpc: %v\n%s", err, out)
	}
	_, words, _ := strings.Cut(out, "got ")
	fields := strings.Fields(words)
	if len(fields) < 4 || fields[1] != "198.18.7.1" || fields[2] != "198.18.7.1" || fields[3] != "home.arpa" {
		t.Fatalf("udhcpc got %q", out)
	}
	return netip.MustParseAddr(fields[0])
}

// The server has no rights: not of its user, not by capability, not by what it may run.
func TestServerHasNoRights(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do(model.StartService{Service: all()})
	pid := s.one().PID
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "Groups:\t \n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	if os.Geteuid() == 0 && os.Getenv("DRAWBRIDGE_TEST_IN_USERNS") == "" && !strings.Contains(string(status), "Uid:\t65534\t65534\t65534\t65534") {
		t.Errorf("it runs as\n%s", status)
	}
}

// A client gets an address, a router, names; the host and others resolve its name.
func TestServeDHCP(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vm := s.port("tap0")
	s.do(model.StartService{Service: all()})
	a := lease(t, vm)
	got := s.one()
	if len(got.Leases) != 1 || got.Leases[0].Address != a || got.Leases[0].Name != "alice" || got.Leases[0].Port != "tap0" || len(got.Troubles) > 0 {
		t.Errorf("%+v%s", got, s.log())
	}
}

// An address that somebody uses without having asked is not given to anybody else.
func TestUsedAddressIsNotGiven(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	squatter, vm := s.port("tap0"), s.port("tap1")
	want := all()
	want.DHCP4.First, want.DHCP4.Last = netip.MustParseAddr("198.18.7.100"), netip.MustParseAddr("198.18.7.101")
	squatter.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.7.100/24"), Origin: model.Static}}})
	s.do(model.StartService{Service: want})
	if a := lease(t, vm); a != netip.MustParseAddr("198.18.7.101") {
		t.Errorf("it got %s", a)
	}
}

// dhclient gets an address, keeps it over a start of its own, and gives it back.
func TestServeDhclient(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dhclient := testnet.RequireCommand(t, "dhclient", "isc-dhcp-client")
	vm := s.port("tap0")
	s.do(model.StartService{Service: all()})
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ -z \"$new_ip_address\" ] || ip addr replace $new_ip_address/24 dev $interface\nexit 0\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		args = append(args, "-4", "-cf", "/dev/null", "-sf", script, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "eth0")
		if out, err := in(t, vm, dhclient, args...); err != nil {
			t.Fatalf("dhclient %v: %v\n%s", args, err, out)
		}
	}
	run("-1")
	first := s.one().Leases
	if len(first) != 1 || first[0].Port != "tap0" {
		t.Fatalf("%+v%s", first, s.log())
	}
	run("-x")
	run("-1") // it asks for what it had (init-reboot)
	if again := s.one().Leases; len(again) != 1 || again[0].Address != first[0].Address {
		t.Errorf("it had %+v, and has %+v", first, again)
	}
	run("-r")
	testnet.Eventually(t, func() error {
		if left := s.one().Leases; len(left) != 0 {
			return fmt.Errorf("given back, and there: %+v%s", left, s.log())
		}
		return nil
	})
}
