package machine_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// needQEMU tells the kernel that a QEMU's guest boots: scripts/need.sh puts it there.
func needQEMU(t *testing.T) (kernel string) {
	t.Helper()
	testnet.RequireTap(t)
	lacks := ""
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		lacks = "needs qemu-system-x86_64 (apt install --no-install-recommends qemu-system-x86)"
	}
	files, _ := filepath.Glob("../../bin/packages/linux-image-cloud-*/boot/vmlinuz-*")
	if len(files) == 0 {
		lacks = "needs a kernel in bin/packages (scripts/need.sh test)"
	}
	switch {
	case lacks == "":
	case os.Getenv("CI") == "true":
		t.Fatal(lacks)
	default:
		t.Skip(lacks)
	}
	path, err := filepath.Abs(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func qemuConfig(kernel string, nics ...model.NICConfig) model.MachineConfig {
	return model.MachineConfig{Name: "web", VMM: "qemu", Accel: "tcg", Memory: 128 << 20, Kernel: kernel, NICs: nics}
}

// TestQEMULife: one boot, and all that can be done with it.
func TestQEMULife(t *testing.T) {
	kernel := needQEMU(t)
	h := newHouse(t)
	// A queue for each of its processors.
	h.Must(model.CreateTap{Name: "tap0", VnetHeader: true, MultiQueue: true}, model.SetUp{Link: "tap0", Up: true})
	h.address("tap0", "198.18.0.1/24")
	h.tap("tap1", "198.18.1.1/24")
	h.address("tap0", "2001:db8::1/64")
	eth1 := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24", "2001:db8::2/64"), Gateway: netip.MustParseAddr("198.18.0.1")}
	begin := time.Now()
	two := qemuConfig(kernel, eth1, model.NICConfig{Name: "eth2", MAC: "02:11:22:33:44:66"})
	two.CPUs = 2
	h.do(model.StartMachine{Machine: two})
	t.Logf("booted in %v", time.Since(begin))
	h.ping("web", "198.18.0.1")
	h.ping("web", "2001:db8::1")

	m := h.one("web")
	if m.State != "running" || m.Accel != "tcg" || m.Inside == nil {
		t.Fatalf("listed as %+v", m)
	}
	if l := m.Inside.Link("eth1"); l == nil || l.MAC != eth1.MAC || !l.Carrier {
		t.Errorf("inside: %+v", l)
	}
	if len(m.NICs) != 2 || m.NICs[0].Link.Name != "tap0" || !m.NICs[1].Declared {
		t.Errorf("NICs: %+v", m.NICs)
	}
	holders, err := h.FindTapHolders()
	if err != nil || len(holders["tap0"]) == 0 || holders["tap0"][0].PID != m.PID || !strings.HasPrefix(holders["tap0"][0].Command, "qemu") {
		t.Errorf("holders of tap0: %v, %v; the machine's process is %d", holders, err, m.PID)
	}
	var said lockedBuffer
	if err := h.Console(t.Context(), "web", strings.NewReader("ping 198.18.0.1\n"), &said); err != nil {
		t.Error(err)
	}
	h.says("web", "answered after")

	if how := m.NICs[0].Transport; how != "virtio tap, 2 queues" {
		t.Errorf("eth1 is cabled by %q", how)
	}
	if info, err := h.Info(t.Context(), "web"); err != nil || !strings.HasPrefix(info.Version, "Linux 6") || info.Used < 20<<20 {
		t.Errorf("info: %+v, %v", info, err)
	}
	if err := h.Pause(t.Context(), "web"); err != nil || h.one("web").State != "paused" {
		t.Errorf("paused: %v", err)
	}
	if err := h.Resume(t.Context(), "web"); err != nil {
		t.Error(err)
	}
	h.ping("web", "198.18.0.1")

	// The dangling NIC is cabled while the machine runs, and the other one's cable taken off.
	eth2 := model.NICConfig{Name: "eth2", Link: "tap1", Addresses: prefixes("198.18.1.2/24")}
	for range 2 {
		begin = time.Now()
		h.do(model.PlugNIC{Machine: "web", NIC: eth2})
		t.Logf("plugged in %v", time.Since(begin))
		h.ping("web", "198.18.1.1")
		if m := h.one("web"); m.NICs[1].Declared || m.NICs[1].MAC != "02:11:22:33:44:66" || m.Inside.Link("eth2") == nil {
			t.Fatalf("plugged: %+v", m.NICs)
		}
		begin = time.Now()
		h.do(model.UnplugNIC{Machine: "web", NIC: "eth2"})
		t.Logf("unplugged in %v", time.Since(begin))
		if m := h.one("web"); !m.NICs[1].Declared || m.Inside.Link("eth2") != nil {
			t.Fatalf("unplugged: %+v", m.NICs)
		}
	}
	h.do(model.UnplugNIC{Machine: "web", NIC: "eth1"})
	h.do(model.PlugNIC{Machine: "web", NIC: eth1})
	h.ping("web", "198.18.0.1")
	for what, op := range map[error]model.Operation{
		model.ErrNotFound: model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "eth3", Link: "tap9"}},
		model.ErrBusy:     model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "eth3", Link: "tap0"}},
		model.ErrExists:   model.PlugNIC{Machine: "web", NIC: eth1},
	} {
		if err := h.Manager.Do(t.Context(), op); !errors.Is(err, what) {
			t.Errorf("%v: got %v", what, err)
		}
	}
	h.ping("web", "198.18.0.1")

	begin = time.Now()
	h.do(model.StopMachine{Name: "web"})
	t.Logf("stopped in %v", time.Since(begin))
	h.noTrace()
}

// bootSector is a system of 512 bytes (testdata/boot.s) on a disk: it tells the label of
// the second disk, and how often it was started, which it notes on its own; and it does
// not listen to the power button.
func bootSector(t *testing.T) string {
	t.Helper()
	code, err := os.ReadFile("testdata/boot.bin")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, append(code, make([]byte, 1<<20-len(code))...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func imageConfig(image, writes string, nics ...model.NICConfig) model.MachineConfig {
	return model.MachineConfig{Name: "web", VMM: "qemu", Accel: "tcg", Memory: 64 << 20, Root: image, Writes: writes, NICs: nics}
}

// says waits until the machine's console has said something.
func (h *house) says(name, text string) {
	h.t.Helper()
	testnet.Eventually(h.t, func() error {
		log, err := os.ReadFile(filepath.Join(h.dir, name, "console.log"))
		if err != nil || !strings.Contains(string(log), text) {
			return fmt.Errorf("%q is not on the console (%w):\n%s", text, err, log)
		}
		return nil
	})
}

// switchOff stops a machine that does not listen.
func (h *house) switchOff(name string) {
	h.t.Helper()
	note, err := h.Stop(h.t.Context(), name, 100*time.Millisecond)
	if err != nil || !strings.Contains(note, "did not shut down") {
		h.t.Errorf("stopped: %q, %v", note, err)
	}
	h.noTrace()
}

func TestQEMUImage(t *testing.T) {
	needQEMU(t)
	h := newHouse(t)
	h.Kept = filepath.Join(t.TempDir(), "kept")
	image := bootSector(t)
	for _, c := range []struct{ writes, says string }{
		{"discard", "start 1, seed cidata."},
		{"keep", "start 1, seed cidata."},
		{"keep", "start 2, seed cidata."},
		{"none", "read-only. start 1, seed cidata."},
		{"through", "start 1, seed cidata."},
		{"discard", "start 2, seed cidata."},
	} {
		h.do(model.StartMachine{Machine: imageConfig(image, c.writes)})
		h.says("web", c.says)
		if m := h.one("web"); m.State != "running" || m.Inside != nil {
			t.Errorf("listed as %+v", m)
		}
		if c.writes == "through" {
			for _, second := range []string{"through", "discard"} {
				err := h.Ready(t.Context(), model.StartMachine{Machine: imageConfig(image, second)})
				if !errors.Is(err, model.ErrBusy) || !strings.Contains(err.Error(), "in use by qemu") {
					t.Errorf("an image that is written to, %s: %v", second, err)
				}
			}
		}
		h.switchOff("web")
	}
	if kept, err := os.ReadDir(h.Kept); err != nil || len(kept) != 1 || kept[0].Name() != "web.qcow2" {
		t.Errorf("kept: %v, %v", kept, err)
	}
	other := imageConfig(bootSector(t), "keep")
	if err := h.Ready(t.Context(), model.StartMachine{Machine: other}); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), image) {
		t.Errorf("an overlay of another image: %v", err)
	}
	c := imageConfig(image, "discard")
	c.NoSeed = true
	h.do(model.StartMachine{Machine: c})
	h.says("web", "seed .")
	if _, err := h.Ping(t.Context(), "web", "198.18.0.1"); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("asking a guest without an agent: %v", err)
	}
	h.switchOff("web")
}

// TestQEMURunsAsOwner: as the owner of its taps, with no more rights than that.
func TestQEMURunsAsOwner(t *testing.T) {
	needQEMU(t)
	h := newHouse(t)
	nobody := uint32(65534)
	h.Must(model.CreateTap{Name: "tap0", Owner: &nobody, VnetHeader: true}, model.SetUp{Link: "tap0", Up: true})
	h.Kept = filepath.Join(t.TempDir(), "kept")
	image := bootSector(t)
	c := imageConfig(image, "keep", model.NICConfig{Name: "eth1", Link: "tap0"})
	c.Owner = &nobody
	if err := h.Ready(t.Context(), model.StartMachine{Machine: c}); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "nobody, as whom the machine runs, may not read it") {
		t.Errorf("an image that its user may not read: %v", err)
	}
	// The folders of a test are their owner's.
	for dir := filepath.Dir(image); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.do(model.StartMachine{Machine: c})
	h.says("web", "start 1, seed cidata.")
	m := h.one("web")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID))
	if err != nil || !strings.Contains(string(status), "Uid:\t65534\t65534\t65534\t65534") || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
		t.Errorf("the QEMU's rights: %v\n%s", err, status)
	}
	if holders, err := h.FindTapHolders(); err != nil || len(holders["tap0"]) != 1 || holders["tap0"][0].PID != m.PID {
		t.Errorf("holders: %v, %v", holders, err)
	}
	h.switchOff("web")
}

// TestQEMURestart: a QEMU that is killed comes back on its tap.
func TestQEMURestart(t *testing.T) {
	needQEMU(t)
	h := newHouse(t)
	h.tap("tap0", "")
	c := imageConfig(bootSector(t), "through", model.NICConfig{Name: "eth1", Link: "tap0"})
	c.Restart = "on-failure"
	h.do(model.StartMachine{Machine: c})
	h.says("web", "start 1, seed cidata.")
	if err := unix.Kill(h.one("web").PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.says("web", "start 2, seed cidata.")
	testnet.Eventually(t, func() error {
		if m := h.one("web"); m.State != "running" || m.Restarts != 1 {
			return fmt.Errorf("listed as %+v", m)
		}
		return nil
	})
	if err := h.Pause(t.Context(), "web"); err != nil {
		t.Error(err)
	}
	h.switchOff("web")
}

func TestQEMUFailsClearly(t *testing.T) {
	kernel := needQEMU(t)
	h := newHouse(t)
	h.tap("tap0", "")
	h.Must(model.CreateVeth{Name: "veth0", Peer: model.Ref{Name: model.PeerName("veth0")}})
	broken := filepath.Join(t.TempDir(), "broken.qcow2")
	if err := os.WriteFile(broken, append([]byte("QFI\xfb\x00\x00\x00\x09"), make([]byte, 4096)...), 0o644); err != nil {
		t.Fatal(err)
	}
	with := func(c model.MachineConfig, change func(*model.MachineConfig)) model.MachineConfig {
		change(&c)
		return c
	}
	cases := []struct {
		what    string
		machine model.MachineConfig
		kind    error
		says    string
	}{
		{"no such kernel", qemuConfig("/nowhere/vmlinuz"), model.ErrNotFound, "/nowhere/vmlinuz"},
		{"no kernel", qemuConfig("/etc/hostname"), model.ErrInvalid, "does not begin as a Linux kernel"},
		{"no such image", imageConfig("/nowhere/disk.img", "discard"), model.ErrNotFound, "/nowhere/disk.img"},
		{"a folder of the host", imageConfig("hostfs:/srv", "none"), model.ErrInvalid, "vmm: uml"},
		{"too much memory", with(qemuConfig(kernel), func(c *model.MachineConfig) { c.Memory = 1 << 45 }), model.ErrInvalid, "more than this host has"},
		{"another processor", with(qemuConfig(kernel), func(c *model.MachineConfig) { c.Arch = "mips" }), model.ErrInvalid, "amd64 or arm64"},
		{"no such tap", qemuConfig(kernel, model.NICConfig{Name: "eth1", Link: "tap9"}), model.ErrNotFound, "tap9"},
		{"a veth", qemuConfig(kernel, model.NICConfig{Name: "eth1", Link: "veth0"}), model.ErrInvalid, "not a tap"},
		{"an image that QEMU refuses", imageConfig(broken, "discard"), nil, "ended at once"},
		{"a kernel that panics", with(qemuConfig(kernel), func(c *model.MachineConfig) { c.Args = []string{"rdinit=/nothing"} }), nil, "Kernel panic"},
	}
	for _, c := range cases {
		err := h.Manager.Do(t.Context(), model.StartMachine{Machine: c.machine})
		if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
		h.noTrace()
	}
	// A start that is called off leaves nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := h.Manager.Do(ctx, model.StartMachine{Machine: qemuConfig(kernel, model.NICConfig{Name: "eth1", Link: "tap0"})}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("called off: %v", err)
	}
	h.noTrace()
	t.Setenv("PATH", t.TempDir())
	if err := h.Ready(t.Context(), model.StartMachine{Machine: qemuConfig(kernel)}); !errors.Is(err, model.ErrNotFound) || !strings.Contains(err.Error(), "qemu-system-x86`") {
		t.Errorf("no QEMU: %v", err)
	}
}

// TestQEMUKilled: whatever is killed, the rest goes with it, and is told.
func TestQEMUKilled(t *testing.T) {
	needQEMU(t)
	nobody := uint32(65534)
	for _, victim := range []string{"shim", "VMM"} {
		t.Run(victim, func(t *testing.T) {
			h := newHouse(t)
			h.Must(model.CreateTap{Name: "tap0", Owner: &nobody, VnetHeader: true}, model.SetUp{Link: "tap0", Up: true})
			image := bootSector(t)
			for dir := filepath.Dir(image); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			c := imageConfig(image, "discard", model.NICConfig{Name: "eth1", Link: "tap0"})
			c.Owner = &nobody
			h.do(model.StartMachine{Machine: c})
			h.says("web", "start 1")
			pid := h.one("web").PID
			if victim == "shim" {
				pid = parentOf(t, pid)
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			testnet.Eventually(t, func() error {
				if left := procs.In(filepath.Join(h.dir, "web")); len(left) > 0 {
					return fmt.Errorf("processes %v live on", left)
				}
				return h.ResetTapOffloads("tap0")
			})
			testnet.Eventually(t, func() error {
				if m := h.one("web"); m.State != "failed" || h.Failure("web") == "" {
					return fmt.Errorf("listed as %s, because %q", m.State, h.Failure("web"))
				}
				return nil
			})
			t.Log(h.Failure("web"))
		})
	}
}
