package booted_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/lab/booted"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

var uplink = booted.Uplink{
	Link:      "eth0",
	Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.5/24"), netip.MustParsePrefix("2001:db8::5/64")},
	Gateways:  []netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8::1")},
}

// site is a host's network with a neighbour that is its gateway.
func site(t *testing.T) *testnet.Net {
	t.Helper()
	testnet.RequireBooted(t)
	host, lan := testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "host0")
	lan.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.0.1/24"), Origin: model.Static}, {Prefix: netip.MustParsePrefix("2001:db8::1/64"), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}}})
	return host
}

func closed(t *testing.T, h *booted.Host) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console:\n%s", h.Console())
		}
		if err := h.Close(); err != nil || strings.Contains(h.Console(), "left behind") {
			t.Errorf("%v: %s", err, h.Console())
		}
	})
}

// A host keeps its files over a reboot, and neither its /run nor the links that it made;
// the machine sees none of them.
func TestAHostReboots(t *testing.T) {
	net := site(t)
	dir := t.TempDir()
	h, err := booted.Boot(t.Context(), booted.Options{Namespace: "/run/netns/" + net.Name(), Binds: []string{dir}, Files: map[string]string{"etc/drawbridge/was-here": "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, h)
	for _, path := range []string{"/etc/written", "/run/written", filepath.Join(dir, "shared")} {
		if err := h.Write(t.Context(), path, "by the host\n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Run(t.Context(), "ip", "link", "add", "br7", "type", "bridge"); err != nil {
		t.Fatal(err)
	}
	if net.Look().Link("br7") == nil {
		t.Error("the host is in another network namespace")
	}
	if out, err := h.Run(t.Context(), "sh", "-c", "echo 1 > /proc/sys/kernel/sysrq"); err == nil {
		t.Errorf("it may write the machine's own settings: %s", out)
	}
	if _, err := h.Run(t.Context(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"); err != nil {
		t.Errorf("it may not write those of its network: %v", err)
	}
	if err := h.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := h.Run(t.Context(), "sh", "-c", "cat /etc/written /etc/drawbridge/was-here; ls /run/written; hostname; cat /proc/1/comm; busctl list --no-legend | grep -c org.freedesktop.systemd1; true")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"by the host\nyes", "'/run/written': No such file", "host\nsystemd\n1\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing after the reboot in:\n%s", want, out)
		}
	}
	if net.Look().Link("br7") != nil {
		t.Error("a link outlives the reboot")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "shared")); err != nil || string(b) != "by the host\n" {
		t.Errorf("a shared folder is not shared: %q, %v", b, err)
	}
	for _, path := range []string{"/etc/written", "/run/written", "/etc/drawbridge/was-here"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is on the machine: %v", path, err)
		}
	}
}

func TestAUnitThatFailsIsTold(t *testing.T) {
	net := site(t)
	h, err := booted.Boot(t.Context(), booted.Options{
		Namespace: "/run/netns/" + net.Name(), Units: []string{"broken.service"},
		Files: map[string]string{"etc/systemd/system/broken.service": "[Service]\nType=oneshot\nExecStart=false\n"},
	})
	if err == nil {
		_ = h.Close()
		t.Fatal("it booted")
	}
	if !strings.Contains(err.Error(), "broken.service") {
		t.Error(err)
	}
}

// Each manager gives the uplink its addresses at boot, moves it into a bridge in its own
// way, and does so again after a reboot.
func TestManagers(t *testing.T) {
	for _, m := range booted.Managers() {
		t.Run(strings.Fields(m.Name)[0], func(t *testing.T) {
			net := site(t)
			testnet.RequirePackage(t, func() error { _, err := m.Folders("."); return err })
			h, err := m.Boot(t.Context(), ".", uplink, booted.Options{Namespace: "/run/netns/" + net.Name()})
			if err != nil {
				t.Fatal(err)
			}
			closed(t, h)
			has(t, net, "eth0")
			if _, err := h.Run(t.Context(), "sh", "-c", m.Bridged(uplink)); err != nil {
				t.Fatal(err)
			}
			has(t, net, "br0")
			if l := net.Look().Link("eth0"); l.Master != "br0" {
				t.Errorf("eth0's master is %q", l.Master)
			}
			if m.Package == "network-manager" || m.Package == "" {
				if err := h.Reboot(t.Context()); err != nil {
					t.Fatal(err)
				}
				has(t, net, "br0")
			}
		})
	}
}

// has waits until a link has the uplink's addresses, and default routes.
func has(t *testing.T, net *testnet.Net, link string) {
	t.Helper()
	begin := time.Now()
	testnet.Within(t, 30*time.Second, func() error {
		ns := net.Look()
		for _, p := range uplink.Addresses {
			found := false
			for _, a := range ns.AddressesOf(link) {
				found = found || a.Prefix == p
			}
			if !found {
				return fmt.Errorf("%s lacks %s: %s", link, p, model.SplitAddresses(ns.AddressesOf(link)))
			}
		}
		defaults := 0
		for _, r := range ns.Routes {
			if r.Destination.Bits() == 0 && r.NextHops[0].Link == link {
				defaults++
			}
		}
		if defaults < 2 {
			return fmt.Errorf("%s has %d default routes", link, defaults)
		}
		return nil
	})
	t.Logf("%s after %v", link, time.Since(begin).Round(time.Millisecond))
}
