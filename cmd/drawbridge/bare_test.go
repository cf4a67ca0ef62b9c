package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// On a kernel without IPv6 (ipv6.disable=1) and without nf_tables, what can work does, and goes
// again; what needs either is refused with the reason and what to do, before anything is touched.
func TestBareKernel(t *testing.T) {
	if !testnet.InsideUML() {
		testnet.Require(t)
		t.Parallel()
		testnet.InUML(t, "^TestBareKernel$", []string{"ipv6 disable=1", "tun", "veth", "bridge"}, built+"="+build(t))
		return
	}
	if _, err := os.Stat("/proc/sys/net/ipv6/conf"); err == nil {
		t.Fatal("this kernel has IPv6")
	}
	host, lan := testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "host0")
	lan.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{address("198.18.0.1/24")}})
	host.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{address("198.18.0.5/24")}})
	bin := filepath.Join(build(t), "drawbridge")
	before := host.Look().Normalised()
	for _, c := range []struct {
		mode, address string
		reaches       *testnet.Net // the machine, from there
		says          string
	}{
		{"bridged, uplink: eth0", "198.18.0.10", lan, "tap0 is not secured, and may send what it likes: this kernel has no nftables"},
		{"routed, uplink: eth0", "198.18.0.10", lan, "tap0 is not secured"},
		{"host-only, host: [198.18.9.1/24]", "198.18.9.2", host, "this kernel has no nftables"},
		{"nat", "", nil, "mode: nat needs nftables: this kernel has no nftables"},
		{"isolated", "", nil, "cannot be isolated from this host: this kernel has no nftables"},
		{`host-only, host: ["2001:db8:9::1/64"]`, "", nil, "this kernel has no IPv6"},
	} {
		nic := "network: p, tap: tap0"
		if c.address != "" {
			nic += ", address: " + c.address + "/24"
		}
		file := filepath.Join(t.TempDir(), "drawbridge.yaml")
		text := fmt.Sprintf("networks: {p: {mode: %s}}\nmachines: {web: {vmm: namespace, nics: {eth1: {%s}}}}\n", c.mode, nic)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(bin, "up", "--yes", file, "--netns", host.Name()).CombinedOutput()
		if done := err == nil; done != (c.reaches != nil) || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: %v\n%s", c.mode, err, out)
		}
		if c.reaches != nil {
			testnet.Within(t, testnet.Patience, func() error {
				out, err := exec.Command("ip", "netns", "exec", c.reaches.Name(), "ping", "-c1", "-W1", c.address).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%s: %w\n%s", c.mode, err, out)
				}
				return nil
			})
			if out, err := exec.Command(bin, "down", "--yes", "--netns", host.Name()).CombinedOutput(); err != nil {
				t.Errorf("%s: down: %v\n%s", c.mode, err, out)
			}
		} else if !strings.Contains(string(out), "nothing was changed") {
			t.Errorf("%s: it does not say that nothing was changed:\n%s", c.mode, out)
		}
		if err := sameAs(before, host.Look().Normalised()); err != nil {
			t.Errorf("%s: %v", c.mode, err)
		}
	}
}
