package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"drawbridge/internal/testnet"
)

// site of a lab: the real program in a LAN with a router, a neighbour and a second subnet.
type labSite struct {
	t         *testing.T
	bin, name string
}

func newLabSite(t *testing.T, options ...string) *labSite {
	t.Helper()
	testnet.Require(t)
	s := &labSite{t, filepath.Join(build(t), "drawbridge"), fmt.Sprintf("test%d-%s", os.Getpid(), strings.ToLower(t.Name()))}
	if out, err := exec.Command(s.bin, append([]string{"lab", "up", "--name", s.name}, options...)...).CombinedOutput(); err != nil {
		t.Fatalf("lab up: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(s.bin, "lab", "down", "--name", s.name).Run() })
	return s
}

// try runs a shell's line in a namespace of the lab.
func (s *labSite) try(namespace, line string) (string, error) {
	out, err := exec.Command(s.bin, "lab", "exec", "--name", s.name, namespace, "--", "/bin/sh", "-c", line).CombinedOutput()
	return string(out), err
}

func (s *labSite) do(namespace, line string) string {
	s.t.Helper()
	out, err := s.try(namespace, line)
	if err != nil {
		s.t.Fatalf("%s: %s: %v\n%s", namespace, line, err, out)
	}
	return out
}

// eventually waits until a line succeeds.
func (s *labSite) eventually(namespace, line string) string {
	s.t.Helper()
	var out string
	testnet.Within(s.t, testnet.Patience, func() (err error) {
		if out, err = s.try(namespace, line); err != nil {
			err = fmt.Errorf("%s: %s: %w\n%s", namespace, line, err, out)
		}
		return err
	})
	return out
}

// dump is all that 'down' must bring back.
func (s *labSite) dump() string {
	return s.do("host", `ip -o addr | sed 's/ valid_lft.*//'; ip route; ip -6 route | sed 's/ expires [0-9]*sec//'; ip rule; ip -6 rule; ip neigh show proxy; ip -6 neigh show proxy
for f in $(find /proc/sys/net/ipv4 /proc/sys/net/ipv6 -name forwarding -o -name force_forwarding -o -name ip_forward -o -name 'proxy_*' -o -name accept_ra -o -name rp_filter | sort); do echo $f $(cat $f); done`)
}

func (s *labSite) file(content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "drawbridge.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// labStatus is what of "status --json" is looked at.
type labStatus struct {
	Services []struct {
		PID     int                        `json:"pid"`
		Learned []struct{ Address string } `json:"learned"`
	} `json:"services"`
}

func (s *labSite) status() (st labStatus) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.do("host", "drawbridge status --json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// learned waits until the machine is routed at so many addresses that fit.
func (s *labSite) learned(fits string) string {
	s.t.Helper()
	var found string
	testnet.Within(s.t, testnet.Patience, func() error {
		status := s.status()
		for _, service := range status.Services {
			for _, l := range service.Learned {
				if found = l.Address; regexp.MustCompile(fits).MatchString(found) {
					return nil
				}
			}
		}
		return fmt.Errorf("no address %s was learned: %+v", fits, status)
	})
	return found
}

const autoFile = `networks: {lan: {mode: %s, bridge: br0}}
machines: {web: {vmm: %s, nics: {eth1: {network: lan, tap: tap0}}}}
`

// TestAccessPoint: on a LAN that takes frames of one MAC address only, bridging is refused
// with the reason, and fails where it is forced; auto takes routed, and a real machine has an
// address by the LAN's own DHCP server and one by its router's advertisements, at which the
// LAN and the subnet beyond reach it. Killed in the middle of it, the relay goes on; and
// 'down' leaves nothing.
func TestAccessPoint(t *testing.T) {
	t.Parallel()
	testnet.RequireCommand(t, "linux.uml", "user-mode-linux")
	testnet.RequireSecurity(t)
	s := newLabSite(t, "--access-point", "--ra-interval", "2s")
	before := s.dump()
	bridged, auto := s.file(fmt.Sprintf(autoFile, "bridged", "namespace")), s.file(fmt.Sprintf(autoFile, "auto", "uml"))

	out, err := s.try("host", "drawbridge up --yes "+bridged)
	if err == nil || !strings.Contains(out, "drops frames from any MAC address but its own") || !strings.Contains(out, "mode: routed") {
		t.Errorf("bridged is not refused: %v\n%s", err, out)
	}
	if got := s.dump(); got != before {
		t.Errorf("refused, and changed:\n%s", got)
	}
	s.do("host", "drawbridge up --yes --ignore-mac-filter "+bridged)
	if out, err := s.try("host", "for i in 1 2 3 4 5 6; do drawbridge machine list --json | grep -q 198.18.0.1 && exit 1; sleep 0.5; done"); err != nil {
		t.Errorf("a machine that is bridged to an access point has an address of its LAN:\n%s", out)
	}
	s.do("host", "drawbridge down --yes")

	out = s.do("host", "drawbridge up --yes "+auto)
	if !strings.Contains(out, "network lan is routed, not bridged: eth0 is on a LAN that drops frames") {
		t.Errorf("the reason is not told:\n%s", out)
	}
	four, six := s.learned(`^198\.18\.0\.1\d\d$`), s.learned(`^2001:db8::.*:`)
	reached := func() {
		t.Helper()
		for _, from := range []string{"host", "neighbour", "far"} {
			s.eventually(from, "ping -c1 -W2 "+four)
			s.eventually(from, "ping -c1 -W2 "+six)
		}
		s.eventually("neighbour", "curl -sS -m 5 http://"+four+"/ | grep -i web")
		s.eventually("neighbour", "curl -sS -m 5 'http://["+six+"]/' | grep -i web")
	}
	reached()
	if out := s.do("host", "drawbridge up --yes "+auto); !strings.Contains(out, "nothing to do") {
		t.Errorf("again, it does something:\n%s", out)
	}
	// The relay is killed: another takes its place, and what was learned stays meanwhile.
	s.do("host", fmt.Sprintf("kill -9 %d", s.status().Services[0].PID))
	reached()
	s.eventually("host", "drawbridge status | grep -E 'lan +serves.*running'")

	s.do("host", "drawbridge down --yes")
	if after := s.dump(); after != before {
		t.Errorf("'down' left the host otherwise. Before:\n%s\nafter:\n%s", before, after)
	}
}
