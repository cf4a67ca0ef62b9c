package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/lab/booted"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

var managedUplink = booted.Uplink{
	Link:      "eth0",
	Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.5/24"), netip.MustParsePrefix("2001:db8::5/64")},
	Gateways:  []netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8::1")},
}

// Whoever manages the uplink is found and told, by the real manager's own state, and the
// change is made and undone under its eyes.
func TestUnderAManager(t *testing.T) {
	says := map[string]string{
		"systemd-networkd": "note: eth0: systemd-networkd manages it (/etc/systemd/network/10-uplink.network)",
		"NetworkManager":   "note: eth0: NetworkManager manages it (uplink, in /etc/NetworkManager/system-connections/uplink.nmconnection)",
		"netplan":          "note: eth0: systemd-networkd manages it (/run/systemd/network/10-netplan-eth0.network, written by netplan)",
		"cloud-init":       "note: eth0: systemd-networkd manages it (/run/systemd/network/10-netplan-eth0.network, written by cloud-init)",
		"ifupdown2":        "note: eth0: ifupdown2 manages it (/etc/network/interfaces)",
		"ifupdown":         "note: eth0: ifupdown manages it (/etc/network/interfaces)",
	}
	all := booted.Managers()
	for _, m := range all {
		if strings.HasPrefix(m.Name, "netplan") {
			all = append(all, byCloudInit(m))
		}
	}
	bin := build(t)
	for _, m := range all {
		name := strings.TrimSuffix(strings.Fields(m.Name)[0], ",")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			underAManager(t, m, bin, says[name])
		})
	}
}

// again is what each manager does when it is told to, or starts anew, or a cable comes back:
// each time until it has decided about eth0. ifupdown and ifupdown2 do nothing by themselves.
var again = map[string][]string{
	"networkctl": {
		"networkctl reload; " + networkdLeaves, "systemctl restart systemd-networkd; " + networkdLeaves,
		"ip link set eth0 down; ip link set eth0 up; " + networkdLeaves,
	},
	"netplan": {"netplan apply; " + networkdLeaves, "systemctl restart systemd-networkd; " + networkdLeaves},
	"nmcli": {
		"nmcli general reload; nmcli connection reload; " + nmLeaves, "systemctl restart NetworkManager; nm-online -s -q; " + nmLeaves,
		"ip link set eth0 down; ip link set eth0 up; " + nmLeaves,
	},
}

const (
	networkdLeaves = "timeout 30 sh -c 'until networkctl list --no-legend eth0 | grep -q unmanaged; do sleep 0.1; done'"
	nmLeaves       = "timeout 30 sh -c 'until nmcli -t device | grep -q eth0:ethernet:unmanaged; do sleep 0.1; done'"
)

// globals are a link's addresses but for link-local ones.
func globals(ns *model.Namespace, link string) string {
	var out []string
	for _, a := range ns.AddressesOf(link) {
		if a.Origin != model.LinkLocal {
			out = append(out, a.Prefix.String())
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// byCloudInit is netplan with the file that cloud-init writes.
func byCloudInit(m booted.Manager) booted.Manager {
	manage := m.Manage
	m.Name = "cloud-init"
	m.Manage = func(u booted.Uplink) map[string]string {
		files := manage(u)
		files["etc/netplan/50-cloud-init.yaml"] = files["etc/netplan/10-uplink.yaml"]
		delete(files, "etc/netplan/10-uplink.yaml")
		return files
	}
	return m
}

func underAManager(t *testing.T, m booted.Manager, bin, says string) {
	t.Helper()
	testnet.RequireBooted(t)
	testnet.RequirePackage(t, func() error { _, err := m.Folders("."); return err })
	host, lan := testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "host0")
	gateway := func(s string) model.Address {
		return model.Address{Prefix: netip.MustParsePrefix(s), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}
	}
	lan.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{gateway("198.18.0.1/24"), gateway("2001:db8::1/64")}})
	file := filepath.Join(bin, "lan-"+m.Package+m.Program+".yaml")
	if err := os.WriteFile(file, []byte(bridgedFile), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := m.Boot(t.Context(), ".", managedUplink, booted.Options{Namespace: "/run/netns/" + host.Name(), Binds: []string{bin}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	drawbridge := filepath.Join(bin, "drawbridge")
	run := func(args ...string) string {
		t.Helper()
		out, err := h.Run(t.Context(), append([]string{drawbridge}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	testnet.Within(t, testnet.Patience, func() error {
		if ns := host.Look(); len(ns.AddressesOf("eth0")) < 3 || strings.Contains(model.SplitAddresses(ns.AddressesOf("eth0")), "tentative") {
			return fmt.Errorf("eth0 has only %s", model.SplitAddresses(ns.AddressesOf("eth0")))
		}
		return nil
	})
	testnet.Within(t, testnet.Patience, func() error { // it has its name on the bus a moment after it has started
		if out := run("plan", file); !strings.Contains(out, says) || strings.Contains(out, "could not be asked") {
			return fmt.Errorf("it does not say\n%s\nbut\n%s", says, out)
		}
		return nil
	})
	run("up", "--yes", file)
	if got := host.Look().Link("eth0").Master; got != "br0" {
		t.Errorf("eth0's master is %q", got)
	}
	for _, address := range []string{"198.18.0.1", "2001:db8::1"} {
		if out, err := h.Run(t.Context(), "ping", "-c1", "-W5", address); err != nil {
			t.Errorf("from br0: %s", out)
		}
	}
	for _, act := range again[m.Program] {
		if out, err := h.Run(t.Context(), "sh", "-c", act); err != nil {
			t.Fatalf("%s: %v: %s", act, err, out)
		}
		if ns := host.Look(); ns.Link("eth0").Master != "br0" || globals(ns, "eth0") != "" || globals(ns, "br0") != "198.18.0.5/24 2001:db8::5/64" {
			t.Errorf("after %q: eth0 in %q with %q, br0 with %q", act, ns.Link("eth0").Master, globals(ns, "eth0"), globals(ns, "br0"))
		}
	}
	// A manager that acts by itself is kept off, and is no risk; the others are told of.
	out, err := h.Run(t.Context(), drawbridge, "doctor")
	if told := strings.Contains(out, "manager-takes-back:eth0"); err != nil || told != (again[m.Program] == nil) {
		t.Errorf("what the doctor says of the manager: %v\n%s", err, out)
	}
	run("down", "--yes")
	if again[m.Program] != nil { // nobody confirms: the guard rolls back, and gives back
		if out, err := h.Run(t.Context(), drawbridge, "up", "--yes", "--confirm", "1s", file); err == nil || !strings.Contains(out, "rolled back") {
			t.Errorf("%v: %s", err, out)
		}
	}
	if out, err := h.Run(t.Context(), "sh", "-c", "ls /run/systemd/network/*drawbridge* /run/NetworkManager/conf.d/*drawbridge*"); err == nil {
		t.Errorf("after down there is still %s", out)
	}
	testnet.Within(t, testnet.Patience, func() error { // its manager has it again
		if out := run("plan", file); !strings.Contains(out, says) {
			return errors.New(out)
		}
		return nil
	})
	if got := host.Look(); got.Link("br0") != nil || got.Link("eth0").Master != "" {
		t.Errorf("after down: %v", names(*got))
	}
	for _, address := range []string{"198.18.0.1", "2001:db8::1"} {
		if out, err := h.Run(t.Context(), "ping", "-c1", "-W5", address); err != nil {
			t.Errorf("from eth0: %s", out)
		}
	}
}

// A lease that networkd had is ours while it is told to leave the uplink alone, and its own
// again afterwards: the address stays the same.
func TestBesideWithALease(t *testing.T) {
	t.Parallel()
	lease := persistCases[slices.IndexFunc(persistCases, func(c persistCase) bool { return c.name == "networkd-dhcp" })]
	s := newPersistSite(t, managerNamed(t, lease.booted), booted.Options{Files: lease.files})
	s.settled("eth0")
	leases := s.leases()
	address := globals(s.host.Look(), "eth0")
	s.run("up", "--yes", s.file)
	for _, act := range append([]string{"true"}, again["networkctl"]...) {
		if _, err := s.booted.Run(t.Context(), "sh", "-c", act); err != nil {
			t.Fatal(err)
		}
		ns := s.settled("br0")
		if now := globals(&ns, "br0"); now != address || globals(&ns, "eth0") != "" {
			t.Errorf("after %q: br0 has %s, eth0 %s", act, now, globals(&ns, "eth0"))
		}
		if now := s.leases(); !slices.Equal(now, leases) {
			t.Errorf("after %q: leases %v, before: %v", act, now, leases)
		}
	}
	s.run("down", "--yes")
	ns := s.settled("eth0")
	if now := globals(&ns, "eth0"); now != address {
		t.Errorf("after down: %s, before: %s", now, address)
	}
	if now := s.leases(); !slices.Equal(now, leases) {
		t.Errorf("after down: leases %v, before: %v", now, leases)
	}
}
