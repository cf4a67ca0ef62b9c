package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

const bridgedFile = "networks:\n  lan: {mode: bridged, bridge: br0}\n"

// openTerminal makes a pseudo-terminal (pts(4)).
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

var confirmWithin = flag.Duration("confirm", 4*time.Second, "how long the lost sessions' changes wait to be confirmed")

// A session is a shell on a terminal, and 'up --confirm' in it. Its terminal is closed
// as soon as the change is made, as a lost SSH connection does it: nobody confirms, and
// the guard, in no session, brings the host back in time.
func TestALostTerminalIsRolledBack(t *testing.T) {
	host, _ := site(t)
	before, dumps := host.Look().Normalised(), dumpsOf(t, host.Name())
	drawbridge := filepath.Join(build(t), "drawbridge")
	file := filepath.Join(t.TempDir(), "lan.yaml")
	if err := os.WriteFile(file, []byte(bridgedFile), 0o600); err != nil {
		t.Fatal(err)
	}
	confirm := *confirmWithin
	master, slave := openTerminal(t)
	shell := exec.Command("sh", "-c", fmt.Sprintf("%s up --netns %s --yes --confirm %s %s; sleep 60", drawbridge, host.Name(), confirm, file))
	shell.Stdin, shell.Stdout, shell.Stderr = slave, slave, slave
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	lines := bufio.NewScanner(master)
	var said []string
	for lines.Scan() && !strings.Contains(lines.Text(), "confirm within") {
		said = append(said, lines.Text())
	}
	start := time.Now()
	if host.Look().Link("br0") == nil {
		t.Fatalf("the change is not made:\n%s", strings.Join(said, "\n"))
	}
	master.Close()
	_ = shell.Wait() // the terminal's end hangs it up
	for sameAs(before, host.Look().Normalised()) != nil && time.Since(start) < 2*confirm {
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(start)
	if err := sameAs(before, host.Look().Normalised()); err != nil {
		t.Error(err)
	}
	if now := dumpsOf(t, host.Name()); now != dumps {
		t.Errorf("what ip prints is not as before:\n%s\nbefore:\n%s", now, dumps)
	}
	t.Logf("rolled back %.1f s after the terminal was lost, %s to confirm", took.Seconds(), confirm)
	if took > confirm+time.Second {
		t.Errorf("that is more than a second late")
	}
}

// dumpsOf is what ip(8) prints of a namespace's links, addresses, routes and rules.
func dumpsOf(t *testing.T, namespace string) string {
	t.Helper()
	var all strings.Builder
	for _, what := range []string{"link", "addr", "route", "-6 route", "rule"} {
		out, err := exec.Command("ip", append([]string{"-n", namespace, "-j"}, strings.Fields(what)...)...).Output()
		if err != nil {
			t.Fatalf("ip -j %s: %v", what, err)
		}
		all.Write(out)
	}
	return all.String()
}

func sameAs(want, got model.Namespace) error {
	a, b := model.Snapshot{Namespaces: []model.Namespace{want}}, model.Snapshot{Namespaces: []model.Namespace{got}}
	if !a.Equal(b) {
		return fmt.Errorf("not as before: links %v, addresses %s", names(got), model.SplitAddresses(got.Addresses))
	}
	return nil
}

func names(n model.Namespace) []string {
	var out []string
	for _, l := range n.Links {
		out = append(out, l.Name)
	}
	return out
}

// Under systemd a session is a scope, and its end may kill all that is in it, whatever
// session of the kernel's it is in. systemd runs as PID 1 of namespaces of its own here.
func TestAnEndedSystemdSessionIsRolledBack(t *testing.T) {
	testnet.RequireTap(t)
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs systemd on the disk, and root to run it in namespaces")
	}
	dir := build(t)
	if err := os.WriteFile(filepath.Join(dir, "lan.yaml"), []byte(bridgedFile), 0o600); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Abs("testdata/systemd")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--net", "--cgroup", "--fork", "--kill-child=KILL", "sh", filepath.Join(scripts, "boot.sh"), dir, confirmWithin.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	said, rerr := os.ReadFile(filepath.Join(dir, "output"))
	if rerr != nil {
		console, _ := os.ReadFile(filepath.Join(dir, "console"))
		t.Fatalf("systemd did not run the exercise: %v %s\n%s", err, out, console)
	}
	for _, want := range []string{"drawbridge-guard-", "made, and the session is dead", "rolled back: the dumps of ip are equal"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("%q is missing in:\n%s", want, said)
		}
	}
	if m := regexp.MustCompile(`equal, (\d+) ms after`).FindStringSubmatch(string(said)); m != nil {
		took, _ := time.ParseDuration(m[1] + "ms")
		t.Logf("rolled back %.1f s after the session's end, %s to confirm", took.Seconds(), confirmWithin)
		if took > *confirmWithin+time.Second {
			t.Errorf("that is more than a second late")
		}
	}
}
