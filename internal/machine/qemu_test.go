package machine_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	h.tap("tap0", "198.18.0.1/24")
	h.tap("tap1", "198.18.1.1/24")
	h.address("tap0", "2001:db8::1/64")
	eth1 := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24", "2001:db8::2/64"), Gateway: netip.MustParseAddr("198.18.0.1")}
	begin := time.Now()
	h.do(model.StartMachine{Machine: qemuConfig(kernel, eth1, model.NICConfig{Name: "eth2", MAC: "02:11:22:33:44:66"})})
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
	if err != nil || len(holders["tap0"]) != 1 || holders["tap0"][0].PID != m.PID || !strings.HasPrefix(holders["tap0"][0].Command, "qemu") {
		t.Errorf("holders of tap0: %v, %v; the machine's process is %d", holders, err, m.PID)
	}
	var said lockedBuffer
	if err := h.Console(t.Context(), "web", strings.NewReader("ping 198.18.0.1\n"), &said); err != nil {
		t.Error(err)
	}
	testnet.Eventually(t, func() error {
		log, err := os.ReadFile(filepath.Join(h.dir, "web", "console.log"))
		if err != nil || !strings.Contains(string(log), "answered after") {
			return fmt.Errorf("console: %w\n%s", err, log)
		}
		return nil
	})

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
