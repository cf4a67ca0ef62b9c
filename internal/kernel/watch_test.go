package kernel_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// quiet waits until a bell has not rung for a moment.
func quiet(bell <-chan struct{}) {
	for {
		select {
		case <-bell:
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

// Everything that a plan looks at and that somebody else may change rings.
func TestWhatRings(t *testing.T) {
	t.Parallel()
	testnet.RequireCommand(t, "nft", "nftables")
	n := testnet.New(t)
	run := func(words string) {
		t.Helper()
		args := append([]string{"netns", "exec", n.Name()}, strings.Fields(words)...)
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", words, err, out)
		}
	}
	run("ip link add br0 type bridge")
	run("ip link set br0 up")
	run("ip addr add 198.18.0.5/24 dev br0")
	run("ip link add port0 type veth peer name far0")
	run("ip link set port0 up master br0")
	run("ip link set far0 up")
	run("nft add table inet mine; add chain inet mine c { type filter hook forward priority 0; }")
	ctx, cancel := context.WithCancel(t.Context())
	bell, by, err := n.WatchBy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	quiet(bell)
	by()
	for _, act := range []string{
		"ip link set br0 mtu 1400",
		"ip addr add 198.18.1.5/24 dev br0",
		"ip route add 198.18.9.0/24 via 198.18.0.1",
		"ip rule add priority 77 lookup main",
		"ip neigh add 198.18.0.9 lladdr 02:00:00:00:00:01 dev br0",
		"bridge fdb add 02:00:00:00:00:02 dev port0 master static",
		"ip neigh add proxy 198.18.0.44 dev br0",
		"ip neigh del proxy 198.18.0.44 dev br0",
		"sysctl -qw net.ipv4.ip_forward=1",
		"nft add rule inet mine c ip saddr 198.18.0.9 drop",
		"nft delete table inet mine",
	} {
		began := time.Now()
		run(act)
		select {
		case _, open := <-bell:
			if !open {
				t.Fatal("it has ended")
			}
			t.Logf("%s: after %v, by %v", act, time.Since(began).Round(time.Millisecond), by())
		case <-time.After(testnet.Patience):
			t.Errorf("%s does not ring", act)
		}
		quiet(bell)
	}
	// What is learned is nobody's doing, and there is much of it on a large LAN.
	run("ip neigh add 198.18.0.10 lladdr 02:00:00:00:00:03 nud stale dev br0")
	run("bridge fdb add 02:00:00:00:00:04 dev port0 master dynamic")
	select {
	case <-bell:
		t.Errorf("what is learned rings, by %v", by())
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	for range bell { // until it is closed
	}
}

// Who has rung is told by its name, also where its socket has another number than its
// process: here it is not the first one of the process, and of a service it may be one that
// systemd has opened.
func TestWhoRang(t *testing.T) {
	t.Parallel()
	n := testnet.New(t)
	n.Must(model.CreateBridge{Name: "br0"}, model.SetUp{Link: "br0", Up: true})
	bell, by, err := n.WatchBy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	quiet(bell)
	by()
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	n.Must(model.AddAddresses{Link: "br0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.1.5/24"), Origin: model.Static}}})
	told(t, by, strings.TrimSpace(string(self)))
	// A program with a name longer than what the kernel keeps of it.
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	const name = "a-program-of-a-long-name"
	long := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(ip, long); err != nil {
		t.Fatal(err)
	}
	// It reads its orders from a pipe, so that it is there when it is looked up.
	cmd := exec.Command(long, "-n", n.Name(), "-batch", "-")
	orders, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := orders.Write([]byte("addr add 198.18.2.5/24 dev br0\n")); err != nil {
		t.Fatal(err)
	}
	told(t, by, name)
	orders.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if who := by(); len(who) > 0 {
		t.Errorf("nobody has rung, and it is told as %q", who)
	}
}

// told waits until one is told as who has rung, and nobody else.
func told(t *testing.T, by func() []string, name string) {
	t.Helper()
	testnet.Eventually(t, func() error {
		switch who := by(); {
		case len(who) == 0:
			return errors.New("nobody is told")
		case !slices.Equal(who, []string{name}):
			t.Errorf("%s is told as %q", name, who)
		}
		return nil
	})
}
