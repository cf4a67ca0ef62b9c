package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/lab/booted"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"

	"github.com/google/go-cmp/cmp"
)

// firewalled is a booted host with a real firewall, which has eth0 on a LAN.
type firewalled struct {
	t         *testing.T
	host, lan *testnet.Net
	booted    *booted.Host
	bin       string
}

// newFirewalled boots a host with a package's units, after what its installation does.
func newFirewalled(t *testing.T, pkg, program, prepare string, units ...string) *firewalled {
	t.Helper()
	testnet.RequireBooted(t)
	testnet.RequireSecurity(t)
	testnet.RequirePackage(t, func() error { _, err := booted.Package(".", pkg, program); return err })
	folder, err := booted.Package(".", pkg, program)
	if err != nil {
		t.Fatal(err)
	}
	f := &firewalled{t: t, bin: build(t)}
	f.host, f.lan = site(t)
	o := booted.Options{Namespace: "/run/netns/" + f.host.Name(), Binds: []string{f.bin}, Units: append([]string{"prepare.service", "dbus.service"}, units...), Files: map[string]string{
		"usr/local/sbin/prepare":              "#!/bin/sh\nset -e\n" + prepare,
		"etc/systemd/system/prepare.service":  "[Unit]\nBefore=" + strings.Join(append(units, "dbus.service"), " ") + "\n[Service]\nType=oneshot\nExecStart=/usr/local/sbin/prepare\n",
		"usr/share/doc/drawbridge/nat.yaml":   firewalledNAT,
		"usr/share/doc/drawbridge/lan.yaml":   firewalledLAN,
		"usr/share/doc/drawbridge/route.yaml": firewalledRoute,
	}}
	if folder != "" {
		o.Packages = []string{folder}
	}
	page := t.TempDir()
	if err := os.WriteFile(filepath.Join(page, "index.html"), []byte("the page of the LAN"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("ip", "netns", "exec", f.lan.Name(), "busybox", "httpd", "-f", "-p", "80", "-h", page)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	if f.booted, err = booted.Boot(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = f.booted.Run(context.Background(), filepath.Join(f.bin, "drawbridge"), "down", "--yes")
		if err := f.booted.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

const (
	firewalledNAT = `networks: {private: {mode: nat, bridge: br1, subnet: 198.18.7.0/24, subnet6: "2001:db8:7::/64", zone: lab.home.arpa}}
machines:
  web: {vmm: namespace, nics: {eth1: {network: private, address: [198.18.7.10/24, "2001:db8:7::10/64"], publish: ["8080:80"]}}}
  db: {vmm: namespace, nics: {eth1: {network: private, address: 198.18.7.11/24}}}
`
	firewalledRoute = `networks: {lan: {mode: routed, bridge: br0, uplink: eth0}}
machines: {web: {vmm: namespace, nics: {eth1: {network: lan, address: [198.18.0.10/24, "2001:db8::10/64"]}}}}
`
	firewalledLAN = `networks: {lan: {mode: bridged, bridge: br0, uplink: eth0}, inner: {mode: host-only, bridge: br2, subnet: 198.18.8.0/24}}
machines:
  web: {vmm: namespace, nics: {eth1: {network: lan, address: [198.18.0.10/24, "2001:db8::10/64"]}, eth2: {network: inner, address: 198.18.8.10/24}}}
  db: {vmm: namespace, nics: {eth1: {network: inner, address: 198.18.8.11/24}}}
`
)

// do runs a line in the host.
func (f *firewalled) do(line string) string {
	f.t.Helper()
	out, err := f.try(line)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func (f *firewalled) try(line string) (string, error) {
	return f.booted.Run(f.t.Context(), "sh", "-c", "cd /usr/share/doc/drawbridge; PATH="+f.bin+":$PATH; "+line)
}

// reaches waits until a machine's ping is answered.
func (f *firewalled) reaches(machine string, addresses ...string) {
	f.t.Helper()
	if !f.opens() {
		f.t.Errorf("%s opens no connection to the LAN", machine)
	}
	for _, a := range addresses {
		testnet.Within(f.t, testnet.Patience, func() error {
			if f.pings(machine, a) {
				return nil
			}
			return fmt.Errorf("%s does not reach %s", machine, a)
		})
	}
}

// pings asks a machine to ping once, and waits for what it says.
func (f *firewalled) pings(machine, address string) bool {
	f.t.Helper()
	before := len(f.do("drawbridge machine console --log " + machine))
	f.do("echo 'ping " + address + "' | drawbridge machine console " + machine)
	said := regexp.MustCompile(regexp.QuoteMeta(address) + `( answered after|: )`)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if m := said.FindString(f.do("drawbridge machine console --log " + machine)[before:]); m != "" {
			return strings.HasSuffix(m, "after")
		}
	}
	return false
}

// served asks from the LAN for pages.
func (f *firewalled) served(urls ...string) {
	f.t.Helper()
	for _, url := range urls {
		if out, err := exec.CommandContext(f.t.Context(), "ip", "netns", "exec", f.lan.Name(), "curl", "-sS", "-m", "10", url).CombinedOutput(); err != nil || !strings.Contains(string(out), "web") {
			f.t.Errorf("%s from the LAN: %v: %s", url, err, out)
		}
	}
}

// named looks a name up from inside of a machine, at the network's own server.
func (f *firewalled) named() {
	f.t.Helper()
	f.do(`pid=$(drawbridge machine list --json | sed -n '/"name": "web"/,/"pid"/ s/.*"pid": \([0-9]*\).*/\1/p'); nsenter -t $pid -n busybox nslookup -type=a db.lab.home.arpa 198.18.7.1 | grep 198.18.7.11`)
}

// opens tells whether a machine opens a connection to the LAN: many a firewall lets pings pass.
func (f *firewalled) opens() bool {
	f.t.Helper()
	out, err := f.try(`pid=$(drawbridge machine list --json | sed -n '/"name": "web"/,/"pid"/ s/.*"pid": \([0-9]*\).*/\1/p'); nsenter -t $pid -n curl -sS -m 5 http://198.18.0.1/`)
	return err == nil && strings.Contains(out, "the page of the LAN")
}

// quiet is a plan without steps.
func (f *firewalled) quiet(file string) {
	f.t.Helper()
	f.do("drawbridge plan --detailed-exitcode " + file)
}

// modes tries each mode beside the firewall, which is as before after each.
func (f *firewalled) modes(rules func() string) {
	f.t.Helper()
	before := rules()
	same := func(what string) {
		f.t.Helper()
		if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(rules(), "\n")); diff != "" {
			f.t.Errorf("the firewall's rules before (-) and after %s (+):\n%s", what, diff)
		}
	}
	f.do("drawbridge up --yes nat.yaml")
	f.quiet("nat.yaml")
	f.reaches("web", "198.18.0.1", "2001:db8::1", "198.18.7.11")
	f.served("http://198.18.0.5:8080/", "http://[2001:db8::5]:8080/")
	f.named()
	f.do("drawbridge down --yes")
	same("nat")
	f.do("drawbridge up --yes route.yaml")
	f.quiet("route.yaml")
	f.reaches("web", "198.18.0.1", "2001:db8::1")
	f.served("http://198.18.0.10/", "http://[2001:db8::10]/")
	f.do("drawbridge down --yes")
	same("routed")
	// Who was behind the host is on the LAN now.
	if out, err := exec.CommandContext(f.t.Context(), "ip", "-n", f.lan.Name(), "neigh", "flush", "dev", "host0").CombinedOutput(); err != nil {
		f.t.Fatalf("%v: %s", err, out)
	}
	f.do("drawbridge up --yes lan.yaml")
	f.quiet("lan.yaml")
	f.reaches("web", "198.18.0.1", "2001:db8::1", "198.18.8.11")
	f.served("http://198.18.0.10/", "http://[2001:db8::10]/")
	f.do("drawbridge down --yes")
	same("bridged")
}

// A host with a real firewalld: machines of every mode are let through by zones, told to it as
// it runs. What it forgets when it is reloaded is noticed, and told again; so is what a person
// does with firewall-cmd instead of us.
func TestBesideFirewalld(t *testing.T) {
	t.Parallel()
	// Without polkit it asks nobody, and root may.
	f := newFirewalled(t, "firewalld", "firewalld", "rm -f /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service\n", "firewalld.service")
	f.do("firewall-cmd --state")
	// firewalld keeps the chains of a zone that was once in use, and nothing leads there.
	f.modes(func() string {
		return f.do("firewall-cmd --list-all-zones; for c in filter_INPUT filter_FORWARD filter_INPUT_ZONES filter_FORWARD_ZONES nat_PREROUTING_ZONES nat_POSTROUTING_ZONES filter_FWD_public filter_FWD_public_allow; do nft list chain inet firewalld $c; done")
	})

	f.do("drawbridge up --yes nat.yaml")
	f.do("firewall-cmd --reload")
	if f.pings("web", "198.18.0.1") {
		t.Error("firewalld keeps over a reload what it was told: then nothing is to be mended")
	}
	if out, err := f.try("drawbridge doctor"); err == nil || !strings.Contains(out, "network private no longer passes firewalld, in its zone trusted") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := f.try("drawbridge plan --detailed-exitcode nat.yaml"); err == nil || !strings.Contains(out, "firewall-cmd --zone=trusted --add-interface=br1") {
		t.Errorf("%v: %s", err, out)
	}
	// The very line that it tells does it.
	f.do("firewall-cmd --zone=trusted --add-interface=br1")
	f.quiet("nat.yaml")
	f.reaches("web", "198.18.0.1", "2001:db8::1")
	// A watch mends it by itself.
	f.do("firewall-cmd --reload; (cat nat.yaml; echo 'heal: true') >/tmp/heal.yaml; drawbridge watch --json /tmp/heal.yaml >/tmp/told & pid=$!; timeout 60 sh -c 'until grep -q mended /tmp/told; do sleep 0.1; done'; ok=$?; kill $pid; exit $ok")
	f.reaches("web", "198.18.0.1")
	f.do("drawbridge down --yes")
	if out := f.do("firewall-cmd --get-active-zones"); strings.TrimSpace(out) != "" {
		t.Errorf("left in zones: %s", out)
	}

	// A firewalld that is not this namespace's is told nothing: who started it is.
	other := testnet.New(t)
	other.Veth("eth0", f.lan, "other0")
	other.Must(model.AddAddresses{Link: "eth0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.1.5/24"), Origin: model.Static}}})
	rules := f.do("nft list table inet firewalld")
	load := exec.CommandContext(t.Context(), "ip", "netns", "exec", other.Name(), "nft", "-f", "-")
	load.Stdin = strings.NewReader(rules)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file := filepath.Join(t.TempDir(), "nat.yaml")
	if err := os.WriteFile(file, []byte(firewalledNAT), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(f.bin, "drawbridge"), "plan", "--netns", other.Name(), file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Let it through: firewall-cmd --zone=trusted --add-interface=br1") || strings.Contains(string(out), "Let network private through firewalld") {
		t.Errorf("%v: %s", err, out)
	}
}

// A host with a real ufw, which drops what comes in and what is forwarded: rules of ours at
// the end of its chains. Its reload leaves them, and where its own come behind them, they are
// put at the end again.
func TestBesideUfw(t *testing.T) {
	t.Parallel()
	f := newFirewalled(t, "ufw", "ufw", "cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/ufw.conf /etc/ufw/\n")
	f.do("ufw --force enable")
	f.modes(func() string {
		return f.do("for c in iptables-nft-save ip6tables-nft-save; do $c | sed '/^#/d; s/ \\[[0-9:]*\\]//'; done")
	})
	f.do("drawbridge up --yes nat.yaml")
	f.do("ufw reload")
	f.quiet("nat.yaml")
	f.reaches("web", "198.18.0.1")
	// Now it rejects, by a rule before ours.
	f.do("ufw default reject routed")
	if f.opens() {
		t.Error("rules behind a REJECT let something through")
	}
	if out, err := f.try("drawbridge plan --detailed-exitcode nat.yaml"); err == nil || !strings.Contains(out, "Let network private through the FORWARD of iptables-nft") {
		t.Errorf("%v: %s", err, out)
	}
	f.do("drawbridge up --yes nat.yaml")
	f.quiet("nat.yaml")
	f.reaches("web", "198.18.0.1")
	f.do("ufw --force disable; drawbridge up --yes nat.yaml")
	if out := f.do("iptables-nft-save; ip6tables-nft-save"); strings.Contains(out, "drawbridge:") {
		t.Errorf("it drops nothing any more, and ours are still there:\n%s", out)
	}
	f.reaches("web", "198.18.0.1")
}
