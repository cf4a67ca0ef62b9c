package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// QEMU's own command line, with our helper in the place of the set-user-ID one: a user
// whom the access file lets gets a port of the bridge, and another one does not. Who may
// read the included file, and only he, is let by it.
func TestQEMUsBridgeHelper(t *testing.T) {
	r := newRig(t)
	qemu := testnet.RequireCommand(t, "qemu-system-x86_64", "qemu-system-x86")
	acl, included := filepath.Join(r.dir, "bridge.conf"), filepath.Join(r.dir, "alice.conf")
	r.write(acl, "# as in QEMU's documentation\ninclude "+included+"\ndeny br9\n", 0o644)
	r.write(included, "allow br0\nallow br9\n", 0o640)
	if err := os.Chown(included, 0, helperGID); err != nil {
		t.Fatal(err)
	}
	r.write(r.policy, "rules:\n  - {users: [12347], networks: ['*'], taps: 0}\nbridge_helper: {acl: "+acl+", taps: 1}\n", 0o644)
	if err := r.server.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.logged("a new policy is in force")
	r.host.Must(model.CreateBridge{Name: "br9"})
	link := filepath.Join(r.dir, "qemu-bridge-helper")
	if err := os.Symlink(r.bin, link); err != nil {
		t.Fatal(err)
	}
	start := func(uid uint32, bridge, helper string) *user {
		return r.as(uid, []uint32{helperGID}[:map[uint32]int{aliceUID: 1, malloryUID: 1}[uid]], qemu, "-S", "-nodefaults", "-display", "none", "-machine", "none", "-monitor", "stdio",
			"-netdev", fmt.Sprintf("bridge,id=net0,br=%s,helper=%s", bridge, helper))
	}
	for name, helper := range map[string]string{"a link of its name": link, "a command line": r.bin + " bridge-helper"} {
		t.Run(name, func(t *testing.T) {
			vm := start(aliceUID, "br0", helper)
			testnet.Within(t, 30*time.Second, func() error {
				l := r.host.Look().Link("dbtap0")
				if l == nil || l.Master != "br0" || !l.Carrier || !l.Tap.VnetHeader || len(l.Tap.Holders) != 1 || l.Tap.Holders[0].PID != vm.cmd.Process.Pid {
					return fmt.Errorf("%+v: %s\n%s", l, vm.out, r.log)
				}
				return nil
			})
			if l := r.host.Look().Link("dbtap0"); l.MTU != 1400 || !strings.HasPrefix(string(l.MAC), "fe:") {
				t.Errorf("%+v", l)
			}
			// The helper itself has ended long ago: the tap lives with QEMU.
			if taps := r.taps(); len(taps) != 1 || taps[0].HeldBy == nil || !strings.HasPrefix(taps[0].HeldBy.Command, "qemu-system") {
				t.Errorf("%+v", taps)
			}
			second := start(aliceUID, "br0", helper)
			if code := r.end(second); code == 0 || !strings.Contains(second.out.String(), "has 1 of 1 taps already") {
				t.Errorf("over the quota: %d %s", code, second.out)
			}
			if _, err := vm.in.Write([]byte("quit\n")); err != nil {
				t.Fatal(err)
			}
			if code := r.end(vm); code != 0 {
				t.Errorf("QEMU ended with %d: %s", code, vm.out)
			}
			r.noTaps()
		})
	}
	for name, tc := range map[string]struct {
		uid    uint32
		bridge string
		want   string
	}{
		"not in the file":       {bobUID, "br0", "access to br0 is denied by"},
		"a denial wins":         {aliceUID, "br9", "access to br9 is denied by"},
		"refused by the policy": {malloryUID, "br0", "user 12347 may not plug into br0"},
		"no such bridge":        {aliceUID, "br5", "no such network here, and no such bridge"},
	} {
		t.Run(name, func(t *testing.T) {
			u := start(tc.uid, tc.bridge, link)
			if code := r.end(u); code == 0 || !strings.Contains(u.out.String(), tc.want) || !regexp.MustCompile(`bridge helper failed`).MatchString(u.out.String()) {
				t.Errorf("%d: %s lacks %q", code, u.out, tc.want)
			}
		})
	}
	// Its own mistakes, as QEMU's has them.
	for _, args := range [][]string{{}, {"--br=br0"}, {"--fd=3"}, {"--br=br0", "--fd=99"}, {"--br=br0", "--fd=0", "--nonsense"}} {
		u := r.as(aliceUID, nil, append([]string{link}, args...)...)
		if code := r.end(u); code != 2 {
			t.Errorf("%v: %d %s", args, code, u.out)
		}
	}
	r.noTaps()
}
