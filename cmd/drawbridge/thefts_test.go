package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/lab/booted"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// thefts are ways by which a person, or a program, has a manager take the uplink back that
// it was told to leave alone; and what the manager does afterwards of its own accord, which
// takes nothing. ('make bench' does them 20 times each, and measures.)
var thefts = []struct {
	manager string // of booted.Managers
	acts    [][2]string
}{
	{"systemd-networkd", [][2]string{
		// It is no longer told, and must be told again.
		{"rm /run/systemd/network/00-drawbridge-beside.network; networkctl reload", "networkctl reload; networkctl reconfigure eth0"},
		// A file that comes before ours: whatever it is told, it has eth0 from now on.
		{"cp /etc/systemd/network/10-uplink.network /etc/systemd/network/00-a.network; networkctl reload", "networkctl reload"},
		{"networkctl reconfigure eth0", "networkctl reload"},
	}},
	{"NetworkManager", [][2]string{
		{"rm /run/NetworkManager/conf.d/90-drawbridge-beside.conf; nmcli general reload; nmcli device set eth0 managed yes", "nmcli general reload"},
		{"nmcli device set eth0 managed yes", "nmcli connection reload"},
		{"nmcli --wait 0 connection up uplink", "nmcli general reload"},
	}},
}

// A manager that takes its uplink back is noticed and told by its name, and what it took is
// brought back: whoever it was, with everything in the bridge as before, and with the
// manager told again to leave it alone.
func TestTheftsByManagers(t *testing.T) {
	for _, c := range thefts {
		t.Run(c.manager, func(t *testing.T) {
			t.Parallel()
			s := newTheftSite(t, c.manager)
			w := s.watch()
			for i, act := range c.acts {
				if i > 0 {
					w.peace()
				}
				theft, later := act[0], act[1]
				began := time.Now()
				s.do(theft)
				s.mended(w, c.manager, theft, began)
				s.do(later + "; sleep 0.5")
				if err := s.whole(); err != nil {
					t.Errorf("after %q and then %q: %v", theft, later, err)
				}
			}
			w.stop()
			for _, address := range []string{"198.18.0.1", "2001:db8::1"} {
				if out, err := s.booted.Run(t.Context(), "ping", "-c1", "-W5", address); err != nil {
					t.Errorf("from br0: %s", out)
				}
			}
			s.run("down", "--yes")
			s.settled("eth0")
			if now := globals(s.host.Look(), "eth0"); now != "198.18.0.5/24 2001:db8::5/64" || s.host.Look().Link("br0") != nil {
				t.Errorf("after down: eth0 has %s", now)
			}
		})
	}
}

// A manager that takes back at once what was mended is not fought: it is left alone after
// some tries, and told, and so until somebody else has brought it back.
func TestNoFightWithAManager(t *testing.T) {
	t.Parallel()
	s := newTheftSite(t, "systemd-networkd")
	w := s.watch()
	theft := "cp /etc/systemd/network/10-uplink.network /etc/systemd/network/00-a.network; networkctl reload\n" +
		"while sleep 0.1; do [ ! -e /sys/class/net/eth0/master ] || networkctl reconfigure eth0; done"
	thief := s.booted.Command(t.Context(), "setsid", "sh", "-c", "echo $$ >/tmp/thief; "+theft)
	if err := thief.Start(); err != nil {
		t.Fatal(err)
	}
	mends, failed := 0, 0
	for left := false; !left; {
		switch e := w.any(); e.Event {
		case "mended":
			mends++
		case "left":
			left = true
			if len(e.By) == 0 {
				t.Error("nobody is told of at the end")
			}
		case "failed": // caught half-way: what was seen is not what is there any more
			failed++
			t.Logf("%+v", e)
		}
	}
	if mends == 0 || mends+failed < 6 {
		t.Errorf("%d mends, and %d that failed, before it is left alone", mends, failed)
	}
	s.do("kill -KILL -$(cat /tmp/thief)")
	_ = thief.Wait() // it was killed
	select {
	case e := <-w.events:
		t.Errorf("after it was left alone: %+v", e)
	case <-time.After(3 * time.Second):
	}
	if s.host.Look().Link("eth0").Master != "" {
		t.Error("it was mended after all")
	}
	s.run("up", "--yes", s.file)
	w.next("as-wanted")
	s.do("networkctl reconfigure eth0")
	s.mended(w, "systemd-networkd", "after peace", time.Now())
	w.stop()
}

// After a boot from our own files the manager has the bridge as well, and what was taken is
// known all the same: nothing of what the bridge has is taken for superfluous.
func TestTheftsAfterABoot(t *testing.T) {
	for manager, theft := range map[string]string{
		"systemd-networkd": "cp /etc/systemd/network/10-uplink.network /etc/systemd/network/00-a.network; networkctl reload",
		"NetworkManager":   "nmcli --wait 0 connection up uplink",
	} {
		t.Run(manager, func(t *testing.T) {
			t.Parallel()
			s := newPersistSite(t, managerNamed(t, manager), booted.Options{})
			if err := os.WriteFile(s.file, []byte(persistFile+"heal: true\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.settled("eth0")
			s.run("up", "--yes", "--persist", s.file)
			if err := s.booted.Reboot(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.settled("br0")
			testnet.Within(t, testnet.Patience, func() error {
				if out := s.run("plan", s.file); !strings.Contains(out, "nothing to do") {
					return errors.New(out)
				}
				return nil
			})
			w := s.watch()
			began := time.Now()
			s.do(theft)
			s.mended(w, manager, theft, began)
			w.stop()
			if out := s.run("plan", s.file); !strings.Contains(out, "nothing to do") {
				t.Error(out)
			}
		})
	}
}

// newTheftSite is a booted host that is bridged, and wants to be mended.
func newTheftSite(t *testing.T, manager string) *persistSite {
	t.Helper()
	s := newPersistSite(t, managerNamed(t, manager), booted.Options{})
	if err := os.WriteFile(s.file, []byte(persistFile+"heal: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.settled("eth0")
	testnet.Within(t, testnet.Patience, func() error { // it has its name on the bus a moment after it has started
		if out := s.run("plan", s.file); !strings.Contains(out, manager+" manages it") {
			return errors.New(out)
		}
		return nil
	})
	s.run("up", "--yes", s.file)
	return s
}

// do runs a script in the host.
func (s *persistSite) do(script string) {
	s.t.Helper()
	if _, err := s.booted.Run(s.t.Context(), "sh", "-c", script); err != nil {
		s.t.Fatal(err)
	}
}

// watch starts a watch in the host.
func (s *persistSite) watch() *watcher {
	s.t.Helper()
	cmd := s.booted.Command(s.t.Context(), "sh", "-c", `echo $$ >/tmp/watch; exec "$@"`, "sh", filepath.Join(s.bin, "drawbridge"), "watch", "--json", s.file)
	return startWatcher(s.t, cmd, func() error {
		_, err := s.booted.Run(context.Background(), "sh", "-c", "kill -INT $(cat /tmp/watch)")
		return err
	})
}

// any is the next event.
func (w *watcher) any() watchEvent {
	w.t.Helper()
	select {
	case e, open := <-w.events:
		if !open {
			w.t.Fatal("the watch has ended")
		}
		return e
	case <-time.After(60 * time.Second):
		w.t.Fatal("nothing is told")
		return watchEvent{}
	}
}

// peace waits until nothing has been told for so long that who steals now is no fighter.
func (w *watcher) peace() {
	w.t.Helper()
	for {
		select {
		case e, open := <-w.events:
			if !open {
				w.t.Fatal("the watch has ended")
			}
			w.t.Logf("%+v", e)
		case <-time.After(2600 * time.Millisecond):
			return
		}
	}
}

// mended waits until a theft is told and mended, whole. A mend that was under way while the
// manager was still taking is made again.
func (s *persistSite) mended(w *watcher, by, theft string, began time.Time) {
	s.t.Helper()
	drift := w.next("drift")
	noticed := drift.Time.Sub(began)
	if !strings.Contains(strings.Join(drift.Words, " "), "eth0") || !slices.Contains(drift.By, by) {
		s.t.Errorf("%s is told as %+v", theft, drift)
	}
	for {
		e := w.any()
		if e.Event != "mended" {
			s.t.Logf("%s: %+v", theft, e)
			continue
		}
		if err := s.whole(); err != nil {
			s.t.Logf("%s: mended, and then %v", theft, err)
			continue
		}
		s.t.Logf("%s: noticed after %v, mended after %v", theft, noticed.Round(time.Millisecond), e.Time.Sub(began).Round(time.Millisecond))
		return
	}
}

// whole tells what is not as 'up' has left it.
func (s *persistSite) whole() error {
	ns := s.host.Look()
	if l := ns.Link("eth0"); l.Master != "br0" {
		return fmt.Errorf("eth0's master is %q", l.Master)
	}
	if port, bridge := globals(ns, "eth0"), globals(ns, "br0"); port != "" || bridge != "198.18.0.5/24 2001:db8::5/64" {
		return fmt.Errorf("eth0 has %q, br0 %q", port, bridge)
	}
	for _, r := range ns.RoutesOf("eth0") {
		if r.IsDefault() || r.Gateway().IsValid() {
			return fmt.Errorf("a route by eth0: %+v", r)
		}
	}
	defaults := 0
	for _, r := range ns.RoutesOf("br0") {
		if r.IsDefault() && len(r.NextHops) == 1 {
			defaults++
		}
	}
	if defaults != 2 {
		return fmt.Errorf("%d default routes by br0: %s", defaults, model.SplitAddresses(ns.AddressesOf("br0")))
	}
	return nil
}
