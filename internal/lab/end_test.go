package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// traces is what a lab must leave as it was.
type traces struct {
	mounts string
	names  []string // of the machine's own network namespaces
}

func tracesNow(t *testing.T) traces {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir("/run/netns")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	// Tests of other packages name namespaces of the machine's meanwhile: those are
	// compared by name, below.
	var kept strings.Builder
	for line := range strings.Lines(string(mounts)) {
		if !strings.Contains(line, " /run/netns") {
			kept.WriteString(line)
		}
	}
	return traces{kept.String(), names}
}

// nothingLeft waits for every process of a PID namespace to be gone and its socket
// removed, and compares the rest.
func nothingLeft(t *testing.T, name, pidNamespace string, before traces) {
	t.Helper()
	waitFor(t, "the lab's processes to end", func() bool { return len(processesOf(pidNamespace)) == 0 })
	waitFor(t, "its socket to go", func() bool {
		names, err := Names() // clears away what a killed keeper left
		if err != nil {
			t.Fatal(err)
		}
		_, err = os.Lstat(filepath.Join(socketDir(), name+".sock"))
		return !slices.Contains(names, name) && errors.Is(err, os.ErrNotExist)
	})
	after := tracesNow(t)
	if after.mounts != before.mounts {
		t.Errorf("mounts differ:\n%s\nbefore:\n%s", after.mounts, before.mounts)
	}
	for _, n := range after.names {
		// Other tests may make names meanwhile: only ours must not be there.
		if slices.Contains(namespaceNames(), n) && !slices.Contains(before.names, n) {
			t.Errorf("namespace %s is left in the machine's /run/netns", n)
		}
	}
}

func pidNamespace(t *testing.T, pid int) string {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func TestStoppedLabLeavesNothing(t *testing.T) {
	before := tracesNow(t)
	l, c := startLab(t, Options{})
	ns := pidNamespace(t, l.PID())
	run(t, c, "host", "(setsid sleep 6000 & setsid sh -c \"trap '' TERM; sleep 6001\" &) >/dev/null 2>&1")
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if left := processesOf(ns); len(left) > 0 {
		t.Errorf("still there when Stop returned: %v", left)
	}
	nothingLeft(t, l.Name(), ns, before)
}

func TestKilledSupervisorLeavesNothing(t *testing.T) {
	before := tracesNow(t)
	l, c := startLab(t, Options{})
	ns := pidNamespace(t, l.PID())
	run(t, c, "host", "setsid sleep 6000 >/dev/null 2>&1 &")
	if err := unix.Kill(l.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-l.Done()
	nothingLeft(t, l.Name(), ns, before)
}

func TestKilledKeeperLeavesNothing(t *testing.T) {
	isolate(t)
	before := tracesNow(t)
	name := uniqueName("-keeper")
	if err := StartDetached(t.Context(), Options{Name: name}); err != nil {
		if strings.Contains(err.Error(), "Hint:") {
			lacking(t, err.Error())
		}
		t.Fatal(err)
	}
	c, err := Dial(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info()
	if err != nil {
		t.Fatal(err)
	}
	ns := pidNamespace(t, info.PID)
	_, keeper, err := c.call(request{Op: opInfo})
	if err != nil || keeper <= 1 {
		t.Fatalf("keeper %d, %v", keeper, err)
	}
	if err := unix.Kill(keeper, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, name, ns, before)
}

func TestDetachedLabGoesDown(t *testing.T) {
	isolate(t)
	before := tracesNow(t)
	name := uniqueName("-detached")
	if err := StartDetached(t.Context(), Options{Name: name, Unplugged: true}); err != nil {
		if strings.Contains(err.Error(), "Hint:") {
			lacking(t, err.Error())
		}
		t.Fatal(err)
	}
	c, err := Dial(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info()
	if err != nil || info.Plugged {
		t.Fatalf("%+v, %v", info, err)
	}
	ns := pidNamespace(t, info.PID)
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, name, ns, before)
}

func TestTwoLabsAtOnce(t *testing.T) {
	before := tracesNow(t)
	l1, c1 := startLab(t, Options{Name: uniqueName("-one")})
	l2, err := Start(t.Context(), Options{Name: uniqueName("-two")})
	if err != nil {
		t.Fatal(err)
	}
	c2, err := Dial(l2.Name())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(""); err == nil || !strings.Contains(err.Error(), "choose one") {
		t.Errorf("two are up, and none was named: %v", err)
	}
	if err := c2.SetUplink(false); err != nil {
		t.Fatal(err)
	}
	if out, _ := run(t, c1, "host", "cat /sys/class/net/eth0/carrier"); out != "1\n" {
		t.Errorf("one lab's unplugging is seen in the other: carrier %q", out)
	}
	ns1, ns2 := pidNamespace(t, l1.PID()), pidNamespace(t, l2.PID())
	if err := l2.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, code := run(t, c1, "host", "echo still here"); code != 0 {
		t.Errorf("one lab's end is the other's: %q", out)
	}
	if err := l1.Stop(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, l1.Name(), ns1, before)
	nothingLeft(t, l2.Name(), ns2, before)
}

func TestTakenName(t *testing.T) {
	l, _ := startLab(t, Options{})
	if _, err := Start(t.Context(), Options{Name: l.Name()}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second lab of one name: %v", err)
	}
	if _, err := Dial(l.Name()); err != nil {
		t.Errorf("the first one suffered: %v", err)
	}
}

func TestMeasure(t *testing.T) {
	_, c := startLab(t, Options{})
	m, err := c.Measure(t.Context(), Targets())
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, "host", "sleep 0.3") // TCP learns the round-trip time
	if err := c.SetUplink(false); err != nil {
		t.Fatal(err)
	}
	run(t, c, "host", "sleep 0.3")
	if err := c.SetUplink(true); err != nil {
		t.Fatal(err)
	}
	run(t, c, "host", "sleep 1")
	results, err := m.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 4 {
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		udp := r.Network == "udp"
		// A busy machine sends fewer, and is late itself.
		if r.Error != "" || r.Sent < 100 || r.LongestGapMS < 250 || r.LongestGapMS > 20_000 || udp && (r.Lost < 30 || r.Lost > r.Sent/2+r.Sent/4) || !udp && r.Lost > 1 {
			t.Errorf("unplugged for 0.3 s: %+v", r)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"lab": true, "a": true, "0-x.y_z": true, strings.Repeat("a", 32): true,
		"": false, "A": false, "../x": false, "-x": false, ".x": false, "a/b": false, "a b": false, strings.Repeat("a", 33): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestRefusalHints(t *testing.T) {
	for _, tc := range []struct {
		name     string
		err      error
		switches map[string]string
		want     string
	}{
		{"AppArmor", unix.EPERM, map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, "apparmor_restrict_unprivileged_userns=0"},
		{"Debian's switch", unix.EPERM, map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"},
		{"limit", unix.ENOSPC, nil, "max_user_namespaces"},
		{"container", unix.EPERM, map[string]string{"seccomp": "2"}, "seccomp"},
		{"kernel", unix.EINVAL, nil, "CONFIG_USER_NS"},
		{"other", unix.ENOMEM, nil, ""},
	} {
		got := refusalHint(tc.err, func(path string) string { return tc.switches[path] })
		if !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []Options{{Name: "Bad"}, {LeaseTime: 1}, {AdvertInterval: 1}} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestWholeMap(t *testing.T) {
	for m, want := range map[string]bool{"         0          0 4294967295\n": true, "0 1000 1": false, "": false} {
		if isWholeMap(m) != want {
			t.Errorf("%q", m)
		}
	}
}
