package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/keeper"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

var heardGroups = []string{"239.1.2.3", "ff02::1:3", "ff05::1:3"}

// A program that has joined groups on eth0, and knows of no bridge, misses not one
// datagram of theirs: not over `up`, not on br0, not over `down`.
func TestMulticastGoesOn(t *testing.T) {
	host, lan := site(t)
	bin := filepath.Join(build(t), "drawbridge")
	file := filepath.Join(t.TempDir(), "lan.yaml")
	if err := os.WriteFile(file, []byte("networks:\n  lan: {mode: bridged, bridge: br0, uplink: eth0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	drawbridge := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(bin, append(args, "--netns", host.Name())...).CombinedOutput()
		if err != nil {
			t.Fatalf("drawbridge %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	before := host.Look().Normalised()
	var listeners []*listener
	for _, g := range heardGroups {
		listeners = append(listeners, listen(t, host, g))
	}
	stop := announce(t, lan)
	defer stop()

	if out := drawbridge("plan", file); !strings.Contains(out, "socat -u UDP4-RECV:0,ip-add-membership=239.1.2.3:br0 - &") {
		t.Errorf("no command:\n%s", out)
	}
	if out := drawbridge("up", "--yes", file); !strings.Contains(out, "Let br0 hear the multicast groups of eth0") {
		t.Errorf("no step:\n%s", out)
	}
	goOn(t, listeners, "bridged")
	held := holderOf(t, drawbridge("status", "--json"))
	if !held.Alive || held.Link != "br0" || fmt.Sprint(held.Groups) != fmt.Sprint(addresses(heardGroups)) {
		t.Errorf("status tells %+v", held)
	}
	if out := drawbridge("up", "--yes", file); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up:\n%s", out)
	}
	drawbridge("down", "--yes")
	goOn(t, listeners, "released")
	requireGone(t, held.PID)
	if err := sameAs(before, host.Look().Normalised()); err != nil {
		t.Error(err)
	}
	stop()
	for _, l := range listeners {
		if heard, missed := l.count(); missed > 0 || heard == 0 {
			t.Errorf("%s: %d heard, %d missed", l.group, heard, missed)
		} else {
			t.Logf("%s: %d heard, none missed", l.group, heard)
		}
	}
}

// What holds the memberships may die: status tells, and `up` makes it anew.
func TestMulticastHolderDies(t *testing.T) {
	host, _ := site(t)
	bin := filepath.Join(build(t), "drawbridge")
	file := filepath.Join(t.TempDir(), "lan.yaml")
	if err := os.WriteFile(file, []byte("networks:\n  lan: {mode: bridged, bridge: br0, uplink: eth0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listen(t, host, heardGroups[0])
	drawbridge := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(bin, append(args, "--netns", host.Name())...).CombinedOutput()
		if err != nil {
			t.Fatalf("drawbridge %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	drawbridge("up", "--yes", file)
	first := holderOf(t, drawbridge("status", "--json"))
	_ = syscall.Kill(first.PID, syscall.SIGKILL)
	testnet.Eventually(t, func() error {
		if out := drawbridge("status"); !strings.Contains(out, "multicast 239.1.2.3 of eth0, nobody hears it: run drawbridge up") {
			return fmt.Errorf("status: %s", out)
		}
		return nil
	})
	drawbridge("up", "--yes", file)
	second := holderOf(t, drawbridge("status", "--json"))
	if !second.Alive || second.PID == first.PID {
		t.Errorf("after up: %+v", second)
	}
	// Somebody deletes the bridge: nothing is left that could be heard on it.
	host.Must(model.DeleteLink{Name: "br0"})
	requireGone(t, second.PID)
	drawbridge("down", "--yes")
}

// requireGone waits until a process has ended (a dead one that nobody has reaped counts).
func requireGone(t *testing.T, pid int) {
	t.Helper()
	testnet.Eventually(t, func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("process %d lives on", pid)
		}
		return nil
	})
}

func holderOf(t *testing.T, status string) keeper.Groups {
	t.Helper()
	var st struct{ Multicast []keeper.Groups }
	if err := json.Unmarshal([]byte(status), &st); err != nil || len(st.Multicast) != 1 {
		t.Fatalf("%v: %s", err, status)
	}
	return st.Multicast[0]
}

func addresses(words []string) []netip.Addr {
	var out []netip.Addr
	for _, w := range words {
		out = append(out, netip.MustParseAddr(w))
	}
	return out
}

// listener is a program's socket that has joined a group on eth0.
type listener struct {
	group string
	mu    sync.Mutex
	heard []int
}

const groupPort = 5000

func listen(t *testing.T, host *testnet.Net, group string) *listener {
	t.Helper()
	index := host.Look().Link("eth0").Index
	var c *net.UDPConn
	host.Inside(func() (err error) {
		network, at := "udp6", net.IPv6unspecified
		if netip.MustParseAddr(group).Is4() {
			network, at = "udp4", net.IPv4zero
		}
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			return joinErr(raw.Control(func(fd uintptr) {
				a := netip.MustParseAddr(group)
				if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
					return
				}
				if a.Is4() {
					err = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: a.As4(), Ifindex: int32(index)})
				} else {
					err = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: a.As16(), Interface: uint32(index)})
				}
			}), &err)
		}}
		p, err := config.ListenPacket(t.Context(), network, net.JoinHostPort(at.String(), strconv.Itoa(groupPort)))
		if err != nil {
			return err
		}
		c = p.(*net.UDPConn)
		return nil
	})
	l := &listener{group: group}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 64); ; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			to, number, _ := strings.Cut(string(buf[:n]), " ")
			if i, err := strconv.Atoi(number); err == nil && to == group {
				l.mu.Lock()
				l.heard = append(l.heard, i)
				l.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return l
}

func joinErr(err error, inner *error) error {
	if err != nil {
		return err
	}
	return *inner
}

func (l *listener) count() (heard, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 1; i < len(l.heard); i++ {
		missed += max(0, l.heard[i]-l.heard[i-1]-1)
	}
	return len(l.heard), missed
}

// goOn waits until every listener has heard more than it has now.
func goOn(t *testing.T, listeners []*listener, when string) {
	t.Helper()
	for _, l := range listeners {
		now, _ := l.count()
		testnet.Eventually(t, func() error {
			if heard, _ := l.count(); heard < now+50 {
				return fmt.Errorf("%s: %s is not heard any more (%d datagrams before, %d now)", when, l.group, now, heard)
			}
			return nil
		})
	}
}

// announce sends numbered datagrams to the groups, 500 a second to each, until it is stopped.
func announce(t *testing.T, lan *testnet.Net) (stop func()) {
	t.Helper()
	index := lan.Look().Link("host0").Index
	var four, six int
	lan.Inside(func() (err error) {
		if four, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.SetsockoptIPMreqn(four, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}); err != nil {
			return err
		}
		if six, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.SetsockoptInt(six, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index)
	})
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(four)
		defer unix.Close(six)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			for _, g := range heardGroups {
				a, data := netip.MustParseAddr(g), fmt.Appendf(nil, "%s %d", g, i)
				if a.Is4() {
					_ = unix.Sendto(four, data, 0, &unix.SockaddrInet4{Port: groupPort, Addr: a.As4()})
				} else {
					_ = unix.Sendto(six, data, 0, &unix.SockaddrInet6{Port: groupPort, Addr: a.As16(), ZoneId: uint32(index)})
				}
			}
		}
	}()
	return sync.OnceFunc(func() { close(quit); <-done })
}
