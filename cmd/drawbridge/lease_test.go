package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/lab/router"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

const leaseTime = 6 * time.Second

var leased = netip.MustParsePrefix("198.18.0.100/24")

// A DHCP lease through everything that may become of a change, longer each time than the
// lease itself: the address is there at every moment, its server knows of it, and no
// process of ours is left over.
func TestALeaseNeverRunsOut(t *testing.T) {
	testnet.RequireTap(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: the clients write below /etc, in a mount namespace of their own")
	}
	t.Parallel() // it waits most of the time
	bin := build(t)
	for _, client := range []struct {
		name, pkg string
		// anew is how long the client may be without an address where it begins anew: on the
		// uplink, after the way back, by its own doing.
		anew time.Duration
		args func(dir string) []string
	}{
		{"dhclient", "isc-dhcp-client", 0, func(dir string) []string {
			return []string{"-4", "-d", "-lf", dir + "/leases", "-pf", dir + "/pid", "eth0"}
		}},
		// On a port it hears nothing, and begins anew when its own lease is over: by itself after
		// 20 s, which no server's lease is shorter than but this one's. Its script then takes the
		// address off the uplink, until the server has given it again.
		{"udhcpc", "udhcpc", 10 * time.Second, func(string) []string { return []string{"-f", "-i", "eth0", "-A", "1", "-t", "1", "-T", "1"} }},
	} {
		t.Run(client.name, func(t *testing.T) {
			path := testnet.RequireCommand(t, client.name, client.pkg)
			t.Parallel()
			s := newLeaseSite(t, bin)
			s.anew = client.anew
			s.start(path, client.args(t.TempDir())...)
			defer s.watch()()

			t.Log("a change that nobody confirms")
			out := s.drawbridge(3, "up", "--yes", "--confirm", (leaseTime + 2*time.Second).String(), s.file)
			if !strings.Contains(out, "is a DHCP lease of 198.18.0.1") {
				t.Errorf("up tells nothing of the lease:\n%s", out)
			}
			s.requireNoKeeper()
			time.Sleep(leaseTime + time.Second)

			t.Log("a change that is taken back")
			waiting := s.upAndWait()
			time.Sleep(leaseTime + time.Second)
			s.drawbridge(0, "rollback")
			_ = waiting.Wait()
			s.requireNoKeeper()

			t.Log("both are killed, and nobody looks for a while")
			waiting = s.upAndWait()
			s.kill9("guard", waiting)
			time.Sleep(leaseTime + time.Second)
			if n := len(s.processes("keeper")); n != 1 {
				t.Errorf("%d keepers while the address is on br0", n)
			}
			if out := s.drawbridge(6, "doctor"); !strings.Contains(out, "1. broken, certain: change-interrupted:journal") {
				t.Errorf("the doctor does not tell that a change is half done:\n%s", out)
			}
			s.drawbridge(0, "recover")
			s.requireNoKeeper()
			if l := s.host.Look().Link("br0"); l != nil {
				t.Error("br0 is there after recover")
			}

			t.Log("a change that stays, and goes")
			s.drawbridge(0, "up", "--yes", s.file)
			time.Sleep(leaseTime + time.Second)
			if n := len(s.processes("keeper")); n != 1 {
				t.Errorf("%d keepers while the address is on br0", n)
			}
			s.drawbridge(0, "doctor") // somebody renews the lease
			s.drawbridge(0, "down", "--yes")
			s.requireNoKeeper()
			time.Sleep(leaseTime + time.Second)
		})
	}
}

type leaseSite struct {
	t         *testing.T
	host      *testnet.Net
	server    *router.DHCP
	bin, file string
	anew      time.Duration
}

func newLeaseSite(t *testing.T, bin string) *leaseSite {
	t.Helper()
	host, lan := testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "host0")
	server := netip.MustParsePrefix("198.18.0.1/24")
	lan.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{{Prefix: server, Origin: model.Static}}})
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	d := router.NewDHCP(router.DHCPConfig{Server: server, First: leased.Addr(), Last: leased.Addr(), Gateway: server.Addr(), Domain: "lab.invalid", LeaseTime: leaseTime}, log.New(io.Discard, "", 0))
	lan.Inside(func() error { return d.Start(ctx, "host0") })
	file := filepath.Join(t.TempDir(), "lan.yaml")
	if err := os.WriteFile(file, []byte("networks:\n  lan: {mode: bridged, bridge: br0, uplink: eth0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &leaseSite{t: t, host: host, server: d, bin: filepath.Join(bin, "drawbridge"), file: file}
}

// start runs a client in the host, with a copy of /etc to write in, and waits until it has
// its address.
func (s *leaseSite) start(path string, args ...string) {
	s.t.Helper()
	etc := s.t.TempDir()
	script := `cp -a /etc/. "$1" && mount --bind "$1" /etc && shift && exec nsenter --net="$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", script, "sh", etc, "/run/netns/" + s.host.Name(), path}, args...)...)
	said, err := os.Create(filepath.Join(etc, "..", "client"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if links, _ := s.found(); len(links) > 0 {
			return
		}
		if time.Now().After(end) {
			words, _ := os.ReadFile(said.Name())
			s.t.Fatalf("%s got no address:\n%s", path, words)
		}
	}
}

// found are the links that have the address, and whether there is a bridge of ours.
func (s *leaseSite) found() (links []string, bridged bool) {
	ns, err := s.host.Observe(context.Background())
	if err != nil {
		return []string{err.Error()}, true // looked again at once
	}
	for _, a := range ns.Addresses {
		if a.Prefix == leased {
			links = append(links, a.Link)
		}
	}
	return links, ns.Link("br0") != nil
}

// watch looks after the address, at the host and at the server, until it is stopped.
func (s *leaseSite) watch() (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		seen := time.Now()
		for {
			select {
			case <-quit:
				return
			case <-time.After(30 * time.Millisecond):
			}
			links, bridged := s.found()
			switch {
			case len(links) > 0:
				seen = time.Now()
			case bridged || time.Since(seen) > s.anew:
				s.t.Errorf("%s: %s is nowhere", time.Now().Format("15:04:05.000"), leased)
				return
			}
			// On eth0 it is the client's to keep, who may have begun anew.
			if slices.Contains(links, "br0") && len(s.server.Leases()) == 0 {
				s.t.Errorf("%s: the server's lease of what is on br0 has run out", time.Now().Format("15:04:05.000"))
				return
			}
		}
	})
	return func() { close(quit); done.Wait() }
}

func (s *leaseSite) drawbridge(want int, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.bin, append(args, "--netns", s.host.Name())...)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != want {
		s.t.Fatalf("drawbridge %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, out)
	}
	return string(out)
}

// upAndWait begins a change that waits for a confirmation for long.
func (s *leaseSite) upAndWait() *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(s.bin, "up", "--yes", "--confirm", "600s", s.file, "--netns", s.host.Name())
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(60 * time.Second); !strings.Contains(s.drawbridge(0, "status"), "waits to be confirmed"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("the change does not come to its confirmation")
		}
	}
	return cmd
}

// processes are those of a hidden command of ours for this host.
func (s *leaseSite) processes(command string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []int
	for _, file := range files {
		line, err := os.ReadFile(file)
		args := strings.Split(string(line), "\x00")
		if err == nil && len(args) > 2 && args[0] == s.bin && args[1] == command && strings.Contains(string(line), s.host.Name()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			out = append(out, pid)
		}
	}
	return out
}

func (s *leaseSite) requireNoKeeper() {
	s.t.Helper()
	testnet.Eventually(s.t, func() error {
		if left := s.processes("keeper"); len(left) > 0 {
			return fmt.Errorf("keepers are left over: %v", left)
		}
		return nil
	})
}

func (s *leaseSite) kill9(command string, up *exec.Cmd) {
	s.t.Helper()
	guards := s.processes(command)
	if len(guards) != 1 {
		s.t.Fatalf("%d guards", len(guards))
	}
	_ = syscall.Kill(guards[0], syscall.SIGKILL)
	_ = up.Process.Kill()
	_ = up.Wait()
}
