package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// watchEvent is a line of watch --json.
type watchEvent struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	Words []string  `json:"words"`
	Steps []string  `json:"steps"`
	By    []string  `json:"by"`
	Took  int64     `json:"took_ms"`
	Error string    `json:"error"`
}

// watcher is a running drawbridge watch.
type watcher struct {
	t      *testing.T
	events chan watchEvent
	stop   func()
}

func startWatch(t *testing.T, bin, namespace, file string) *watcher {
	t.Helper()
	cmd := exec.Command(bin, "watch", "--json", "--netns", namespace, file)
	return startWatcher(t, cmd, func() error { return cmd.Process.Signal(os.Interrupt) })
}

// startWatcher starts a command that is a watch --json; interrupt ends it.
func startWatcher(t *testing.T, cmd *exec.Cmd, interrupt func() error) *watcher {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, events: make(chan watchEvent, 100)}
	go func() {
		defer close(w.events)
		for in := bufio.NewScanner(out); in.Scan(); {
			var e watchEvent
			if json.Unmarshal(in.Bytes(), &e) == nil {
				w.events <- e
			}
		}
	}()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := errors.Join(interrupt(), cmd.Wait()); err != nil {
			t.Errorf("watch: %v\n%s", err, said.String())
		}
	}
	t.Cleanup(w.stop)
	w.next("watching")
	return w
}

// next is the next event, which must be of this kind.
func (w *watcher) next(kind string) watchEvent {
	w.t.Helper()
	select {
	case e, open := <-w.events:
		if !open || e.Event != kind {
			w.t.Fatalf("got %+v, want %s", e, kind)
		}
		return e
	case <-time.After(60 * time.Second):
		w.t.Fatalf("no %s", kind)
		return watchEvent{}
	}
}

// TestDrift: what somebody else changes is noticed and told; it is mended where the file
// says so, and then everything is as it was; what our own commands do is no drift.
func TestDrift(t *testing.T) {
	testnet.RequireTap(t)
	t.Parallel()
	bin := filepath.Join(build(t), "drawbridge")
	host, _ := site(t)
	name := host.Name()
	dir := t.TempDir()
	const text = "networks:\n  lan: {mode: bridged, bridge: br0, uplink: eth0}\n  own: {mode: host-only, bridge: br1, host: 198.18.7.1/24}\ntaps:\n  tap0: {network: lan}\n  tap1: {network: own}\n"
	write := func(file, more string) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(text+more), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	watchMistakes(t, bin, dir)
	healing, telling := write("heal.yaml", "heal: true\n"), write("tell.yaml", "")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run(bin, "up", "--netns", name, "--yes", healing)
	t.Cleanup(func() { _ = exec.Command(bin, "down", "--netns", name, "--yes").Run() })
	before := host.Look()

	w := startWatch(t, bin, name, healing)
	for _, c := range []struct {
		theft []string
		says  string
	}{
		{[]string{"link", "set", "tap0", "nomaster"}, "tap0"},
		{[]string{"link", "set", "tap0", "nomaster"}, "tap0"}, // the same again
		{[]string{"link", "set", "eth0", "nomaster"}, "eth0"},
		{[]string{"addr", "del", "198.18.0.5/24", "dev", "br0"}, "198.18.0.5/24"},
		{[]string{"addr", "del", "198.18.7.1/24", "dev", "br1"}, "198.18.7.1/24"},
		{[]string{"link", "del", "tap1"}, "tap1 is gone"},
	} {
		run(append([]string{"ip", "-n", name}, c.theft...)...)
		e := w.next("drift")
		if !strings.Contains(strings.Join(e.Words, " "), c.says) || len(e.Steps) == 0 {
			t.Errorf("%v is told as %+v", c.theft, e)
		}
		m := w.next("mended")
		t.Logf("%v: noticed after %d ms, mended after %d; by %v", c.theft, e.Took, m.Took, e.By)
	}
	after := host.Look()
	for _, link := range []string{"tap0", "eth0", "tap1"} {
		if after.Link(link) == nil || after.Link(link).Master != before.Link(link).Master {
			t.Errorf("%s is not where it was", link)
		}
	}
	for _, a := range before.Addresses {
		if a.Origin == model.Static && (a.Link == "br0" || a.Link == "br1") && !hasAddressOf(after, a) {
			t.Errorf("%s is not on %s again", a.Prefix, a.Link)
		}
	}
	if r := after.DefaultRoute(); r == nil || r.Link() != "br0" {
		t.Errorf("the default route is %+v", r)
	}
	w.stop()

	w = startWatch(t, bin, name, telling)
	run("ip", "-n", name, "link", "set", "tap0", "nomaster")
	w.next("drift")
	run("ip", "-n", name, "link", "set", "tap1", "nomaster")
	if e := w.next("drift"); len(e.Steps) != 2 {
		t.Errorf("both are told as %+v", e)
	}
	run(bin, "up", "--netns", name, "--yes", telling)
	w.next("as-wanted")
	w.stop()
	if e, more := <-w.events; more {
		t.Errorf("and then %+v", e)
	}
	run(bin, "down", "--netns", name, "--yes")
	if l := host.Look().Link("eth0"); l == nil || l.Master != "" {
		t.Errorf("after down: %+v", l)
	}
}

// TestDriftOfWhatIsNoLink: rules, machines, servers and settings ring as well as links do.
func TestDriftOfWhatIsNoLink(t *testing.T) {
	testnet.RequireTap(t)
	testnet.RequireCommand(t, "nft", "nftables")
	t.Parallel()
	bin := filepath.Join(build(t), "drawbridge")
	host, _ := site(t)
	file := filepath.Join(t.TempDir(), "all.yaml")
	const text = `heal: true
networks:
  private: {mode: nat, bridge: br1, subnet: 198.18.7.0/24, subnet6: none}
machines:
  web: {vmm: namespace, nics: {eth1: {network: private, tap: web0}}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "up", "--netns", host.Name(), "--yes", file).CombinedOutput(); err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(bin, "down", "--netns", host.Name(), "--yes").Run() })
	w := startWatch(t, bin, host.Name(), file)
	kill := func(argument string) func() error {
		return func() error {
			pids := running(bin, argument, host.Cookie())
			if len(pids) != 1 {
				return fmt.Errorf("%s: processes %v", argument, pids)
			}
			return syscall.Kill(pids[0], syscall.SIGKILL)
		}
	}
	inside := func(args ...string) func() error {
		return exec.Command("ip", append([]string{"netns", "exec", host.Name()}, args...)...).Run
	}
	for _, c := range []struct {
		what  string
		theft func() error
		mends string
		by    string
	}{
		{"a machine is killed", kill("machine-shim"), "Start the machine web", ""},
		{"servers are killed", kill("service-shim"), "Serve DHCP", ""},
		{"the rules are flushed", inside("nft", "flush", "ruleset"), "private", "nft"},
		{"forwarding is switched off", inside("sysctl", "-qw", "net.ipv4.conf.br1.forwarding=0"), "Forward IPv4 on br1", ""},
	} {
		began := time.Now()
		if err := c.theft(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		e := w.next("drift")
		if !strings.Contains(strings.Join(e.Steps, "\n"), c.mends) || c.by != "" && !slices.Contains(e.By, c.by) {
			t.Errorf("%s: told as %+v", c.what, e)
		}
		m := w.next("mended")
		t.Logf("%s: %q; noticed after %v, mended after %v", c.what, e.Words, e.Time.Sub(began).Round(time.Millisecond), m.Time.Sub(began).Round(time.Millisecond))
	}
	w.stop()
	if out, err := exec.Command(bin, "plan", "--netns", host.Name(), "--detailed-exitcode", file).CombinedOutput(); err != nil {
		t.Errorf("it is not whole: %v\n%s", err, out)
	}
}

func hasAddressOf(n *model.Namespace, want model.Address) bool {
	for _, a := range n.AddressesOf(want.Link) {
		if a.Prefix == want.Prefix {
			return true
		}
	}
	return false
}

// watchMistakes: what is wrong is told before anything is watched.
func watchMistakes(t *testing.T, bin, dir string) {
	t.Helper()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("heal: often\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"watch", "/nowhere.yaml"}, "no such file"},
		{[]string{"watch", bad}, "heal"},
		{[]string{"watch", "a", "b"}, "one file at most"},
	} {
		cmd := exec.Command(bin, c.args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(out), c.says) {
			t.Errorf("%v: exit %d\n%s", c.args, code, out)
		}
	}
}
