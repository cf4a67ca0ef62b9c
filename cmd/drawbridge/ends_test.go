package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"drawbridge/internal/kernel"
	"drawbridge/internal/testnet"
)

// What serves a namespace ends with it, also where 'up' was run inside of it and was told no
// name: with the file that held it, or with the last of those who were in it.
func TestServantsEndWithTheirNamespace(t *testing.T) {
	testnet.RequireTap(t)
	t.Parallel()
	bin := filepath.Join(build(t), "drawbridge")
	up := func(namespace, text string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "lan.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("nsenter", "--net="+namespace, bin, "up", "--yes", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	ends := func(what, argument string, state uint64, end func() error) {
		t.Helper()
		t.Cleanup(func() { os.RemoveAll(filepath.Join("/run/drawbridge", strconv.FormatUint(state, 10))) })
		servants := running(bin, argument, state)
		if len(servants) == 0 {
			t.Fatalf("no %s", what)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		testnet.Within(t, testnet.Patience, func() error {
			if left := running(bin, argument, state); len(left) > 0 {
				return fmt.Errorf("%s still runs: %v", what, left)
			}
			return nil
		})
	}

	host, _ := site(t)
	listen(t, host, heardGroups[0])
	up("/run/netns/"+host.Name(), "networks:\n  lan: {mode: bridged, bridge: br0, uplink: eth0}\n")
	ends("the keeper of multicast groups", "keeper", host.Cookie(), func() error {
		return kernel.DeleteNamespace(host.Name())
	})

	asleep := exec.Command("unshare", "--net", "sleep", "600")
	if err := asleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = asleep.Process.Kill() })
	path := fmt.Sprintf("/proc/%d/ns/net", asleep.Process.Pid)
	var unnamed *kernel.Kernel
	testnet.Eventually(t, func() error { // it has its own
		k, err := kernel.OpenPath(path)
		if own, _ := kernel.Open(); err == nil && own != nil {
			defer own.Close()
			if k.Inode() == own.Inode() {
				return errors.Join(errors.New("it is here still"), k.Close())
			}
		}
		unnamed = k
		return err
	})
	defer unnamed.Close()
	up(path, "networks:\n  own: {mode: nat, bridge: br1, subnet: 198.18.7.0/24}\n")
	ends("the supervisor of servers", "service-shim", unnamed.Cookie(), func() error {
		err := asleep.Process.Kill()
		_ = asleep.Wait() // it was killed
		return err
	})
}

// Nothing of ours is left after 'down', not even locks and logs: of a machine, of servers, of a
// keeper, and of a guard that waited for a confirmation.
func TestDownLeavesNoStateBehind(t *testing.T) {
	testnet.RequireTap(t)
	t.Parallel()
	bin := filepath.Join(build(t), "drawbridge")
	host, _ := site(t)
	listen(t, host, heardGroups[0])
	file := filepath.Join(t.TempDir(), "lan.yaml")
	const text = `networks:
  lan: {mode: bridged, bridge: br0, uplink: eth0}
  own: {mode: host-only, bridge: br1, host: 198.18.7.1/24}
machines:
  web: {vmm: namespace, nics: {eth1: {network: own, tap: web0, address: none}}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	drawbridge := func(args ...string) *exec.Cmd { return exec.Command(bin, append(args, "--netns", host.Name())...) }
	run := func(args ...string) {
		t.Helper()
		if out, err := drawbridge(args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	state := filepath.Join("/run/drawbridge", strconv.FormatUint(host.Cookie(), 10))
	t.Cleanup(func() { _ = drawbridge("down", "--yes").Run() })
	for _, confirmed := range []bool{false, true} {
		if confirmed {
			up := drawbridge("up", "--yes", "--confirm", "60s", file)
			if err := up.Start(); err != nil {
				t.Fatal(err)
			}
			testnet.Within(t, testnet.Patience, func() error { return drawbridge("confirm").Run() })
			if err := up.Wait(); err != nil {
				t.Error(err)
			}
		} else {
			run("up", "--yes", file)
		}
		if _, err := os.Stat(filepath.Join(state, "machines", "web")); err != nil {
			t.Errorf("where is the machine? %v", err)
		}
		run("down", "--yes")
		var left []string
		_ = filepath.WalkDir(state, func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				left = append(left, path)
			}
			return nil
		})
		if len(left) > 0 {
			t.Errorf("left (confirmed: %v): %v", confirmed, left)
		}
	}
}

// running lists the processes of our binary with an argument whose namespace has this state
// folder: by their namespaces, for not all are told of the folder.
func running(bin, argument string, state uint64) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		words := strings.Split(string(text), "\x00")
		if len(words) < 2 || words[0] != bin || words[1] != argument {
			continue
		}
		k, err := kernel.OpenPath(filepath.Join(filepath.Dir(path), "ns/net"))
		if err != nil {
			continue
		}
		if k.Cookie() == state {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
		_ = k.Close()
	}
	return pids
}
