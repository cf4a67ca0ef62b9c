package machine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// open lets everybody into the folders above a test's file.
func open(t *testing.T, path string) {
	t.Helper()
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUMLRunsAsOwner: each of a UML's processes is its taps' owner's, with no more rights
// than that, whatever it runs from; its management console answers; a tap of somebody
// else is refused.
func TestUMLRunsAsOwner(t *testing.T) {
	needUML(t)
	if os.Geteuid() != 0 {
		t.Skip("only root runs a machine as another user")
	}
	nobody, other := uint32(65534), uint32(1)
	folder, image := guestRoot(t), guestImage(t)
	h := newHouse(t)
	h.Kept = filepath.Join(t.TempDir(), "kept")
	h.Must(model.CreateTap{Name: "tap0", Owner: &nobody, VnetHeader: true}, model.SetUp{Link: "tap0", Up: true},
		model.CreateTap{Name: "tap1", Owner: &nobody, VnetHeader: true}, model.SetUp{Link: "tap1", Up: true},
		model.CreateTap{Name: "tap2", Owner: &other, VnetHeader: true}, model.SetUp{Link: "tap2", Up: true})
	h.address("tap0", "198.18.0.1/24")
	h.address("tap1", "198.18.1.1/24")
	config := func(root, writes string) model.MachineConfig {
		c := rootConfig(root, writes, model.NICConfig{Name: "eth1", Link: "tap0", Addresses: prefixes("198.18.0.2/24")})
		c.Owner = &nobody
		return c
	}
	for _, root := range []string{"hostfs:" + folder, image} {
		if err := h.Ready(t.Context(), model.StartMachine{Machine: config(root, "none")}); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "nobody, as whom the machine runs, may not read it") {
			t.Errorf("%s, that its user may not read: %v", root, err)
		}
	}
	open(t, filepath.Join(folder, "x"))
	open(t, image)
	if err := h.Ready(t.Context(), model.StartMachine{Machine: config(image, "through")}); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "read-only for nobody") {
		t.Errorf("an image that its user may not write: %v", err)
	}
	theirs := config("", "")
	theirs.NICs[0].Link = "tap2"
	if err := h.Manager.Do(t.Context(), model.StartMachine{Machine: theirs}); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "the machine runs as nobody") {
		t.Errorf("a tap of somebody else: %v", err)
	}
	h.noTrace()
	for _, c := range []struct{ root, writes, says string }{
		{"", "", ""},
		{"hostfs:" + folder, "none", "root-is-read-only"},
		{image, "keep", "root-is-writable"},
		{image, "keep", "it-was-here-before"},
	} {
		h.do(model.StartMachine{Machine: config(c.root, c.writes)})
		h.ping("web", "198.18.0.1")
		if c.says != "" {
			h.said("web", c.says)
		}
		h.asOwner("web", nobody)
		if version, err := h.Info(t.Context(), "web"); err != nil || version.Version == "" {
			t.Errorf("its management console: %+v, %v", version, err)
		}
		if c.root == "" {
			h.do(model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "eth2", Link: "tap1", Addresses: prefixes("198.18.1.2/24")}})
			h.ping("web", "198.18.1.1")
			err := h.Manager.Do(t.Context(), model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "eth3", Link: "tap2"}})
			if !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "the machine runs as nobody") {
				t.Errorf("a tap of somebody else is plugged in: %v", err)
			}
		}
		h.do(model.StopMachine{Name: "web"})
		h.noTrace()
	}
}

// asOwner checks who the processes of a machine are: all but our own init, which is root
// and has the folder of the guest made read-only.
func (h *house) asOwner(name string, uid uint32) {
	h.t.Helper()
	m := h.one(name)
	ids := fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d\n", uid, uid, uid, uid)
	var umls int
	for _, pid := range procs.In(filepath.Join(h.dir, name)) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if strings.HasPrefix(string(comm), "drawbridge") {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it came and went
		}
		umls++
		if !strings.Contains(string(status), ids) || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
			h.t.Errorf("the rights of %s (process %d):\n%s", comm, pid, status)
		}
	}
	if umls == 0 {
		h.t.Error("no process of the UML")
	}
	if holders, err := h.FindTapHolders(); err != nil || !slices.ContainsFunc(holders["tap0"], func(o model.Holder) bool { return o.PID == m.PID }) {
		h.t.Errorf("holders: %v, %v; the machine is process %d", holders, err, m.PID)
	}
}
