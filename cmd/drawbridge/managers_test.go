package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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
		"systemd-networkd": "warn: eth0: systemd-networkd manages it (/etc/systemd/network/10-uplink.network)",
		"NetworkManager":   "warn: eth0: NetworkManager manages it (uplink, in /etc/NetworkManager/system-connections/uplink.nmconnection)",
		"netplan":          "warn: eth0: systemd-networkd manages it (/run/systemd/network/10-netplan-eth0.network, written by netplan)",
		"cloud-init":       "warn: eth0: systemd-networkd manages it (/run/systemd/network/10-netplan-eth0.network, written by cloud-init)",
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
			underAManager(t, m, bin, says[name])
		})
	}
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
	file := filepath.Join(bin, "lan.yaml")
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
	if out := run("plan", file); !strings.Contains(out, says) || strings.Contains(out, "could not be asked") {
		t.Errorf("it does not say\n%s\nbut\n%s", says, out)
	}
	run("up", "--yes", file)
	if got := host.Look().Link("eth0").Master; got != "br0" {
		t.Errorf("eth0's master is %q", got)
	}
	for _, address := range []string{"198.18.0.1", "2001:db8::1"} {
		if out, err := h.Run(t.Context(), "ping", "-c1", "-W5", address); err != nil {
			t.Errorf("from br0: %s", out)
		}
	}
	run("down", "--yes")
	if got := host.Look(); got.Link("br0") != nil || got.Link("eth0").Master != "" {
		t.Errorf("after down: %v", names(*got))
	}
	for _, address := range []string{"198.18.0.1", "2001:db8::1"} {
		if out, err := h.Run(t.Context(), "ping", "-c1", "-W5", address); err != nil {
			t.Errorf("from eth0: %s", out)
		}
	}
}
