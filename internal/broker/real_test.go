package broker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/broker"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"

	"golang.org/x/sys/unix"
)

// A user without rights gets a tap in the bridge, is told by name in status and in the
// picture, and the tap is gone when its holder is.
func TestATapLivesAsLongAsItsHolder(t *testing.T) {
	r := newRig(t)
	vm := r.vmm(aliceUID, nil, "--name", "web")
	r.says(vm, "running with ")
	taps := r.taps()
	if len(taps) != 1 || taps[0].Tap != "dbtap0" || taps[0].From != "broker" || taps[0].Bridge != "br0" || !taps[0].Plugged ||
		taps[0].HeldBy == nil || taps[0].HeldBy.Machine != "web" || taps[0].HeldBy.PID != vm.cmd.Process.Pid || !strings.HasPrefix(string(taps[0].MAC), "02:aa:00:") {
		t.Errorf("%+v\n%s", taps, vm.out)
	}
	if !strings.Contains(vm.out.String(), string(taps[0].MAC)) {
		t.Errorf("the VMM was told another MAC address: %s", vm.out)
	}
	l := r.host.Look().Link("dbtap0")
	if l == nil || l.Master != "br0" || !l.Carrier || l.MTU != 1400 || l.Tap.Persistent || !l.Tap.VnetHeader || *l.Tap.Owner != aliceUID || l.Port.State != "forwarding" {
		t.Errorf("%+v", l)
	}
	if out := r.must("status"); !regexp.MustCompile(`dbtap0 +tap \(lent to user 12345\) +forwarding +→ web`).MatchString(out) {
		t.Errorf("status:\n%s", out)
	}
	if out := r.must("draw", "--format", "json"); !strings.Contains(out, `"vm:web"`) {
		t.Errorf("the picture lacks web:\n%s", out)
	}
	if code := r.end(vm); code != 0 {
		t.Errorf("ended with %d", code)
	}
	r.noTaps()
	r.logged("dbtap0 of user 12345: given back")

	vm = r.vmm(aliceUID, nil)
	r.says(vm, "running with ")
	r.killed(vm)
	r.noTaps()
}

// A User-Mode Linux opens its tap by name, and may be any time late.
func TestANamedTap(t *testing.T) {
	r := newRig(t)
	vm := r.as(aliceUID, nil, r.bin, "exec", "--network", "br0", "--", "/usr/bin/env", asClient+"=open %TAP%", filepath.Join(r.dir, "client"))
	r.says(vm, "open")
	l := r.host.Look().Link("dbtap0")
	if l == nil || l.Master != "br0" || !l.Carrier || !l.Tap.Persistent || *l.Tap.Owner != aliceUID {
		t.Errorf("%+v", l)
	}
	// Another user cannot open it, though it is there.
	other := r.clientAs(bobUID, "open dbtap0")
	if r.end(other) == 0 || !strings.Contains(other.out.String(), "operation not permitted") {
		t.Errorf("bob: %s", other.out)
	}
	r.killed(vm)
	r.noTaps()
	r.logged("has ended: deleted")
	// From another namespace there is nothing to open.
	elsewhere := exec.Command(r.bin, "exec", "--network", "br0", "--socket", r.socket, "--", "echo", "%TAP%")
	elsewhere.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: aliceUID, Gid: aliceUID}}
	if out, err := elsewhere.CombinedOutput(); err == nil || !strings.Contains(string(out), "another network namespace") {
		t.Errorf("%v %s", err, out)
	}
}

func TestWhoMayNot(t *testing.T) {
	r := newRig(t)
	for name, tc := range map[string]struct {
		uid    uint32
		groups []uint32
		args   []string
		want   string
	}{
		"named nowhere":             {bobUID, nil, nil, "user 12346 may not plug into br0"},
		"refused, with the group":   {malloryUID, []uint32{kvmGID}, nil, "user 12347 may not plug into br0"},
		"root is not above it":      {0, nil, nil, "root may not plug into br0"},
		"another's MAC":             {aliceUID, nil, []string{"--mac", "02:bb:00:00:00:01"}, "not one that user 12345 may have"},
		"the bridge's own MAC":      {aliceUID, nil, []string{"--mac", "02:11:22:33:44:55"}, "not one that user 12345 may have"},
		"no choice":                 {bobUID, []uint32{kvmGID}, []string{"--mac", "02:bb:00:00:00:01"}, "may not choose a MAC address"},
		"a network that is not":     {aliceUID, nil, []string{"--network", "lam"}, "no such network here"},
		"no place for it":           {aliceUID, nil, []string{"--network", "br0"}, "does not say where the NIC on br0 goes"},
		"a namespace of the broker": {aliceUID, nil, []string{"--netns", "x"}, "--netns is the broker's"},
	} {
		t.Run(name, func(t *testing.T) {
			argv := []string{r.bin, "exec", "--network", "br0"}
			if len(tc.args) == 2 && tc.args[1] == "lam" {
				argv = argv[:2]
			}
			u := r.as(tc.uid, tc.groups, append(append(argv, tc.args...), "--", "echo", "got", "%FD%")...)
			if code := r.end(u); code == 0 || !strings.Contains(u.out.String(), tc.want) || strings.Contains(u.out.String(), "got") {
				t.Errorf("%d %s lacks %q", code, u.out, tc.want)
			}
		})
	}
	// By a group, and then over the quota; the other user's quota is his own.
	first := r.vmm(bobUID, []uint32{7, kvmGID})
	r.says(first, "running with ")
	second := r.vmm(bobUID, []uint32{kvmGID})
	if code := r.end(second); code != 1 || !strings.Contains(second.out.String(), "has 1 of 1 taps already: dbtap0") {
		t.Errorf("%d %s", code, second.out)
	}
	a, b := r.vmm(aliceUID, nil, "--mac", "02:AA:00:00:00:07"), r.vmm(aliceUID, nil)
	r.says(a, "running with ")
	r.says(b, "running with ")
	// Her third is over the quota, and nobody gets a MAC address that is another's.
	third := r.vmm(aliceUID, nil)
	if code := r.end(third); code != 1 || !strings.Contains(third.out.String(), "has 2 of 2 taps") {
		t.Errorf("%d %s", code, third.out)
	}
	r.end(b)
	testnet.Within(t, 20*time.Second, func() error {
		if n := len(r.taps()); n != 2 {
			return fmt.Errorf("%d taps", n)
		}
		return nil
	})
	taken := r.vmm(aliceUID, nil, "--mac", "02:aa:00:00:00:07")
	if code := r.end(taken); code != 1 || !strings.Contains(taken.out.String(), "MAC 02:aa:00:00:00:07 is somebody else's already") {
		t.Errorf("%d %s", code, taken.out)
	}
	for _, u := range []*user{first, a} {
		r.end(u)
	}
	r.noTaps()
}

// The kernel lets who has a tap's descriptor make the tap persistent, and give it any MAC
// address: the gateway's, for which the bridge would then keep what is for the gateway.
// The tap is taken away from who does so.
func TestAHolderWhoTampers(t *testing.T) {
	r := newRig(t)
	for do, word := range map[string]string{"persist": "its holder made it persistent: deleted", "mac": "its holder gave it the MAC address 02:00:00:00:00:01: deleted"} {
		u := r.clientAs(aliceUID, do)
		r.says(u, "dbtap0")
		r.logged(word)
		r.noTaps()
		r.end(u)
	}
}

func TestClientsThatMisbehave(t *testing.T) {
	r := newRig(t)
	dial := func() *net.UnixConn {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: r.socket, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	silent, rubbish, leaver := dial(), dial(), dial()
	if _, err := rubbish.Write([]byte{0xff, 0, 1, 2}); err != nil {
		t.Fatal(err)
	}
	r.logged("refused: not a request")
	if _, err := leaver.Write([]byte(`{"version":1,"network":"br0","kind":"descriptor"}`)); err != nil {
		t.Fatal(err)
	}
	leaver.Close()
	u := r.clientAs(aliceUID, "flood")
	r.says(u, "granted")
	var counts map[string]int
	if err := json.Unmarshal([]byte(u.out.String()), &counts); err != nil {
		t.Fatalf("%v: %s", err, u.out)
	}
	if counts["granted"] != 2 || counts["granted"]+counts[broker.KindQuota]+counts[broker.KindBusy] != 1000 {
		t.Errorf("a thousand at once: %v", counts)
	}
	t.Logf("a thousand at once: %v", counts)
	// Somebody else is served meanwhile.
	vm := r.vmm(bobUID, []uint32{kvmGID})
	r.says(vm, "running with ")
	r.end(vm)
	r.end(u)
	r.noTaps()
	_ = silent.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := silent.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the silent one is still served: %v", err)
	}
	if n := openDescriptors(t, r.server.Process.Pid, "/tun"); n != 0 {
		t.Errorf("the broker has %d taps open", n)
	}
}

func openDescriptors(t *testing.T, pid int, suffix string) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasSuffix(target, suffix) {
			n++
		}
	}
	return n
}

// kill -9 of the broker: VMs go on, the next broker goes on from there, and what ended
// meanwhile is told and cleaned by whatever command comes next.
func TestTheBrokerIsKilled(t *testing.T) {
	r := newRig(t)
	vm := r.vmm(aliceUID, nil, "--name", "web")
	r.says(vm, "running with ")
	named := r.as(aliceUID, nil, r.bin, "exec", "--network", "br0", "--", "/usr/bin/env", asClient+"=open %TAP%", filepath.Join(r.dir, "client"))
	r.says(named, "open")
	r.kill()
	if taps := r.taps(); len(taps) != 2 || taps[0].HeldBy == nil || taps[0].HeldBy.Machine != "web" || !taps[1].Plugged {
		t.Errorf("after the broker: %+v", taps)
	}
	refused := r.vmm(aliceUID, nil)
	if code := r.end(refused); code != 1 || !strings.Contains(refused.out.String(), "no broker answers at") {
		t.Errorf("%d %s", code, refused.out)
	}
	// The next one knows what the first has given.
	r.start()
	refused = r.vmm(aliceUID, nil)
	if code := r.end(refused); code != 1 || !strings.Contains(refused.out.String(), "has 2 of 2 taps") {
		t.Errorf("%d %s", code, refused.out)
	}
	r.end(vm)
	r.logged("dbtap0 of user 12345: given back")
	r.kill()
	// With no broker at all: told by status, cleaned by the next change.
	r.killed(named)
	if out := r.must("status"); !strings.Contains(out, "dbtap1 of user 12345: its process") {
		t.Errorf("status does not tell what is left:\n%s", out)
	}
	out := r.must("recover")
	if strings.Contains(out, "nothing to recover") {
		t.Errorf("recover:\n%s", out)
	}
	if !strings.Contains(out, "left over: dbtap1 of user 12345: its process") || !strings.Contains(out, "deleted") {
		t.Errorf("the next command tells nothing:\n%s", out)
	}
	r.noTaps()
	// What merely let go is forgotten, and not worth an error.
	r.start()
	vm = r.vmm(aliceUID, nil)
	r.says(vm, "running with ")
	r.kill()
	r.end(vm)
	if out := r.must("tap", "add", "tap7"); !strings.Contains(out, "left over: dbtap0 of user 12345: given back") {
		t.Errorf("tap add:\n%s", out)
	}
	r.must("tap", "del", "tap7")
	r.noTaps()
}

// 'down' takes the bridge away, and with it what the broker gave.
func TestDownEndsWhatTheBrokerGave(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(r.dir, "drawbridge.yaml")
	r.write(file, "networks:\n  lan: {mode: host-only, bridge: br7, host: [198.18.7.1/24]}\n", 0o644)
	r.must("up", "--yes", file)
	r.write(r.policy, "rules:\n  - {users: [12345], networks: [lan], taps: 1}\n", 0o644)
	if err := r.server.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.logged("a new policy is in force: 1 rule")
	vm := r.as(aliceUID, nil, r.bin, "exec", "--network", "lan", "--", "sh", "-c", ": %FD%; echo running; exec cat")
	r.says(vm, "running")
	if out := r.must("up", "--yes", file); !strings.Contains(out, "nothing to do") {
		t.Errorf("up is disturbed by a brokered tap:\n%s", out)
	}
	r.must("down", "--yes")
	r.noTaps()
	// A policy with a mistake does not come into force.
	r.write(r.policy, "rules: [{users: [12346]}]\n", 0o644)
	if err := r.server.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.logged("the old policy stays in force")
}

// A socket that the service manager has made, as sd_listen_fds(3) passes it on.
func TestSocketActivation(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(r.dir, "activated")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	cmd := exec.Command("sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec "+r.bin+" serve --broker --netns "+r.host.Name()+" --policy "+r.policy)
	log := &lockedBuffer{}
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	// What is asked before it runs waits at the socket.
	vm := r.vmm(aliceUID, nil, "--socket", path)
	r.says(vm, "running with ")
	r.end(vm)
	r.noTaps()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the service manager's socket is gone: %v", err)
	}
}

// What others could write is no policy, and set-user-ID is refused.
func TestWhatIsRefusedToRun(t *testing.T) {
	r := newRig(t)
	for mode, want := range map[os.FileMode]string{0o666: "others may write to it", 0o646: "others may write to it"} {
		r.write(r.policy, policyText, mode)
		if out, err := r.drawbridge("serve", "--broker", "--policy", r.policy, "--socket", r.socket+"2"); err == nil || !strings.Contains(out, want) {
			t.Errorf("%o: %v %s", mode, err, out)
		}
	}
	if out, err := r.drawbridge("serve", "--broker", "--policy", r.policy+"x"); err == nil || !strings.Contains(out, "--help shows one") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := r.drawbridge("serve"); err == nil || !strings.Contains(out, "nothing to serve") {
		t.Errorf("%v %s", err, out)
	}
	setuid := filepath.Join(r.dir, "setuid")
	image, err := program()
	if err != nil {
		t.Fatal(err)
	}
	r.write(setuid, string(image), 0o755|os.ModeSetuid)
	var fs unix.Statfs_t
	if err := unix.Statfs(setuid, &fs); err != nil || fs.Flags&unix.ST_NOSUID != 0 {
		t.Logf("%s takes no set-user-ID bit: %v", setuid, err)
		return
	}
	u := r.as(aliceUID, nil, setuid, "version")
	if code := r.end(u); code != 2 || !strings.Contains(u.out.String(), "does not run set-user-ID") {
		t.Errorf("%d %s", code, u.out)
	}
}

// While another command has the namespace, a client waits and is served then.
func TestAClientWaitsForAChange(t *testing.T) {
	r := newRig(t)
	lock := filepath.Join("/run/drawbridge", fmt.Sprint(r.host.Cookie()), "lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	impatient := r.vmm(aliceUID, nil, "--wait", "0")
	if code := r.end(impatient); code != 1 || !strings.Contains(impatient.out.String(), "another drawbridge is at work here") {
		t.Errorf("%d %s", code, impatient.out)
	}
	vm := r.vmm(aliceUID, nil, "--wait", "60s")
	r.logged("another drawbridge is at work here")
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	r.says(vm, "running with ")
	r.end(vm)
	r.noTaps()
}

// A frame goes from one user's VM to the other's, and one from another MAC address than
// the VM's own, or from the gateway's address, does not.
func TestFramesPassFromTheirOwnAddressOnly(t *testing.T) {
	r := newRig(t)
	tap := func() (*os.File, broker.Reply) {
		// This process is root, whom the policy lets nothing: let it.
		reply, f, err := broker.Ask(t.Context(), r.socket, broker.Request{Network: "br0", Kind: broker.KindDescriptor})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f, reply
	}
	r.write(r.policy, "rules: [{users: ['*'], networks: ['*'], addresses: [198.18.0.96/28]}]\n", 0o644)
	if err := r.server.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.logged("a new policy is in force")
	a, from := tap()
	b, _ := tap()
	if err := unix.SetNonblock(int(b.Fd()), true); err != nil {
		t.Fatal(err)
	}
	own := arp(from.MAC, "198.18.0.100")
	for _, spoof := range [][]byte{arp("02:00:00:00:00:66", "198.18.0.100"), arp(from.MAC, "198.18.0.1")} {
		testnet.Within(t, 20*time.Second, func() error { // a port forwards once its carrier is noticed
			for _, frame := range [][]byte{spoof, own} {
				if _, err := a.Write(frame); err != nil {
					return err
				}
			}
			buf := make([]byte, 2048)
			for {
				n, err := unix.Read(int(b.Fd()), buf)
				switch {
				case err != nil:
					return err
				case bytes.Equal(buf[:n], spoof):
					t.Fatalf("a spoof arrived: %x", spoof)
				case bytes.Equal(buf[:n], own):
					return nil
				}
			}
		})
	}
	// A bridge helper's port has the first address that it sends from.
	_, helper, err := broker.Ask(t.Context(), r.socket, broker.Request{Network: "br0", Kind: broker.KindDescriptor, Helper: true})
	if err != nil {
		t.Fatal(err)
	}
	defer helper.Close()
	testnet.Within(t, 20*time.Second, func() error {
		if _, err := helper.Write(arp("52:54:00:12:34:56", "198.18.0.101")); err != nil {
			return err
		}
		if p := r.host.Look().SecurityOf("dbtap2"); p == nil || !slices.Equal(p.MACs, []model.MAC{"52:54:00:12:34:56"}) {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	if out := r.must("down", "--yes"); !strings.Contains(out, "done") {
		t.Error(out)
	}
	r.noTaps()
	if left := r.host.Look().Secured; len(left) > 0 {
		t.Errorf("rules are left: %+v", left)
	}
}

// arp is a question that tells who asks: broadcast (RFC 826), without a virtio-net header.
func arp(mac model.MAC, ip string) []byte {
	hw, _ := net.ParseMAC(string(mac))
	a := netip.MustParseAddr(ip).As4()
	frame := append(bytes.Repeat([]byte{0xff}, 6), hw...)
	frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(append(frame, hw...), a[:]...)
	frame = append(frame, 0, 0, 0, 0, 0, 0, 198, 18, 0, 7)
	return append(frame, make([]byte, 60-len(frame))...)
}
