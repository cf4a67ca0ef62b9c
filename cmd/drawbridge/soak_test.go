//go:build soak

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/lab/flow"
)

// The soak: the real program in a real lab, `up` and `down` again and again under probes at
// 1,000 a second, and past the ends of what DHCP and router advertisements give. It takes
// minutes:
//
//	make soak
//
// It is not built otherwise: a test that is always left out is none.
var soak = flag.Int("soak", 10, "how many times the soak goes up and down")

const soakFile = `networks:
  lan: {mode: bridged, bridge: br0, uplink: eth0}
`

// soakCase is a lab, what is done to its host before, and how long each state lasts.
type soakCase struct {
	name  string
	lab   []string // options of "lab up"
	setup []string // in the host
	need  string   // a program; the case is skipped without it
	// wait is how long the host stays bridged, and released, in each run.
	wait time.Duration
	// there must be in what "ip addr; ip route; ip -6 route" of the host say at the end of
	// every wait.
	there []string
}

var soakCases = []soakCase{
	{name: "plain", wait: 300 * time.Millisecond},
	{name: "strict rp_filter", setup: []string{"sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1"}, wait: 300 * time.Millisecond},
	{name: "second uplink", setup: []string{
		"ip link add eth1 type veth peer name eth1-far", "ip link set eth1-far up", "ip link set eth1 up",
		"ip addr add 198.18.0.55/24 dev eth1", "ip addr add 2001:db8::55/64 dev eth1 nodad",
		"ip route append default via 198.18.0.1 dev eth1", "ip -6 route append default via 2001:db8::99 dev eth1 metric 2048",
	}, wait: 300 * time.Millisecond, there: []string{"198.18.0.0/24 dev eth1", "2001:db8::/64 dev eth1", "default via 198.18.0.1 dev eth1"}},
	// A lease of 6 s: renewed at 3 s, over at 6 s.
	{name: "DHCP", lab: []string{"--lease-time", "6s"}, need: "dhclient", setup: []string{
		"ip route del default", "mkdir -p /run/soak", "dhclient -4 -q -lf /run/soak/leases -pf /run/soak/pid eth0",
	}, wait: 8 * time.Second, there: []string{"inet 198.18.0.100/24", "default via 198.18.0.1"}},
	// Advertisements each 2 s, for 6 s.
	{name: "RA", lab: []string{"--host-ra", "--ra-interval", "2s", "--ra-lifetime", "6s"}, setup: []string{"sleep 3", "ip -6 route del default proto static"},
		wait: 8 * time.Second, there: []string{"inet6 2001:db8::db:ff:fe00:5/64", "default via fe80::db:ff:fe00:1 dev"}},
	{name: "RA, stable privacy", lab: []string{"--host-ra", "--ra-interval", "2s", "--ra-lifetime", "6s"}, setup: []string{
		"sysctl -q -w net.ipv6.conf.eth0.stable_secret=2001:db8::1:2:3:4", "ip link set eth0 down", "ip link set eth0 up",
		"ip addr add 2001:db8::5/64 dev eth0 nodad", "ip route add default via 198.18.0.1", "sleep 4",
		"sh -c 'ip -6 -o addr show dev eth0 mngtmpaddr | grep -o 2001:[0-9a-f:]* > /run/slaac'",
	}, wait: 8 * time.Second, there: []string{"default via fe80::db:ff:fe00:1 dev"}},
}

func TestSoak(t *testing.T) {
	bin := filepath.Join(build(t), "drawbridge")
	for _, c := range soakCases {
		t.Run(c.name, func(t *testing.T) { c.run(t, bin) })
	}
}

func (c soakCase) run(t *testing.T, bin string) {
	if _, err := exec.LookPath(c.need); c.need != "" && err != nil {
		t.Skip(err)
	}
	name := fmt.Sprintf("soak%d", os.Getpid())
	do := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(bin, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("drawbridge %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	host := func(command string) string {
		t.Helper()
		return do("lab", "exec", "--name", name, "host", "--", "sh", "-c", command)
	}
	file := filepath.Join(t.TempDir(), "drawbridge.yaml")
	if err := os.WriteFile(file, []byte(soakFile), 0o600); err != nil {
		t.Fatal(err)
	}
	do(append([]string{"lab", "up", "--name", name}, c.lab...)...)
	defer do("lab", "down", "--name", name)
	for _, command := range c.setup {
		host(command)
	}
	slaac := strings.Fields(host("cat /run/slaac 2>/dev/null || true"))
	check := func(when string) {
		t.Helper()
		time.Sleep(c.wait)
		state := host("ip addr; ip route; ip -6 route")
		for _, want := range append(slaac, c.there...) {
			if !strings.Contains(state, want) {
				t.Errorf("%s: no %q in\n%s", when, want, state)
			}
		}
	}
	c.probe(t, bin, name)() // the neighbours are found: not what is measured
	for run := 1; run <= *soak; run++ {
		measure := c.probe(t, bin, name)
		host("drawbridge up " + file + " --yes")
		check(fmt.Sprintf("run %d, bridged", run))
		host("drawbridge down --yes")
		check(fmt.Sprintf("run %d, released", run))
		c.judge(t, run, measure())
	}
}

// probe measures until the returned function is called.
func (c soakCase) probe(t *testing.T, bin, name string) func() []flow.Result {
	cmd := exec.Command(bin, "lab", "probe", "--name", name, "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the flows begin
	return func() (results []flow.Result) {
		t.Helper()
		_ = cmd.Process.Signal(os.Interrupt)
		err := json.NewDecoder(out).Decode(&results)
		werr := cmd.Wait()
		if err != nil || werr != nil {
			t.Fatalf("probes: %v %v", err, werr)
		}
		return results
	}
}

// judge: nothing is lost, and the TCP stream stands still for no longer than 50 ms. On a
// busy machine everything stands still at times: what the UDP flows waited for without
// losing anything is no fault of the network's. (One lost segment costs 205 ms.)
func (c soakCase) judge(t *testing.T, run int, results []flow.Result) {
	t.Helper()
	var line []string
	pause := 0.0
	for _, r := range results {
		pause = max(pause, r.SenderPauseMS)
		if r.Network == "udp" && r.Lost == 0 {
			pause = max(pause, r.LongestGapMS)
		}
	}
	for _, r := range results {
		line = append(line, fmt.Sprintf("%s: %d of %d lost, gap %.1f ms", r.Name, r.Lost, r.Sent, r.LongestGapMS))
		if r.Error != "" || r.Lost > 0 || r.Network == "tcp" && r.LongestGapMS > 50+pause {
			t.Errorf("run %d: %+v", run, r)
		}
	}
	t.Logf("run %d: %s; the machine's pause %.1f ms", run, strings.Join(line, "; "), pause)
}
