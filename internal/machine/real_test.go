package machine_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// binary builds the real, static program once: it is the shim, and the guest's /init.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("DRAWBRIDGE"); path != "" {
		return path, nil // built already: for a user without a Go of his own
	}
	dir, err := os.MkdirTemp("", "drawbridge-machine-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "drawbridge")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "drawbridge/cmd/drawbridge")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil && path != os.Getenv("DRAWBRIDGE") {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// house is a namespace of the test with a manager of machines in it.
type house struct {
	*testnet.Net
	*machine.Manager
	t   *testing.T
	dir string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	net := testnet.New(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	// Longer than a unix socket's path may be: it must not matter.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), "machines")
	m := machine.NewManager(dir)
	m.Namespace = "/run/netns/" + net.Name()
	m.Executable = path
	h := &house{net, m, t, dir}
	t.Cleanup(h.nothingLeft)
	return h
}

func needUML(t *testing.T) {
	t.Helper()
	testnet.RequireTap(t)
	needUMLBinary(t)
}

func needUMLBinary(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("linux.uml"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs linux.uml")
		}
		t.Skip("needs linux.uml (apt install --no-install-recommends user-mode-linux)")
	}
}

// nothingLeft stops what runs, and fails the test if anything remains.
func (h *house) nothingLeft() {
	list, err := h.List(context.Background())
	if err != nil {
		h.t.Error(err)
	}
	for _, m := range list {
		if h.t.Failed() {
			b, _ := os.ReadFile(filepath.Join(h.dir, m.Name, "console.log"))
			h.t.Logf("%s is %s %s\nconsole of %s:\n%s", m.Name, m.State, h.Failure(m.Name), m.Name, b)
		}
		if err := h.Manager.Do(context.Background(), model.StopMachine{Name: m.Name}); err != nil {
			h.t.Error(err)
		}
	}
	h.noTrace()
}

func (h *house) noTrace() {
	h.t.Helper()
	entries, _ := os.ReadDir(h.dir)
	for _, e := range entries {
		if e.IsDir() {
			h.t.Errorf("left over: %s", e.Name())
			for _, pid := range procs.In(filepath.Join(h.dir, e.Name())) {
				h.t.Errorf("left over: process %d", pid)
			}
		}
	}
	holders, err := h.FindTapHolders()
	if err != nil || len(holders) > 0 {
		h.t.Errorf("taps held: %v, %v", holders, err)
	}
}

func (h *house) do(op model.Operation) {
	h.t.Helper()
	if err := h.Manager.Do(h.t.Context(), op); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) tap(name, address string) {
	h.t.Helper()
	h.Must(model.CreateTap{Name: name, VnetHeader: true}, model.SetUp{Link: name, Up: true})
	if address != "" {
		h.address(name, address)
	}
}

func (h *house) address(link, address string) {
	h.t.Helper()
	h.Must(model.AddAddresses{Link: link, Addresses: []model.Address{{Link: link, Prefix: netip.MustParsePrefix(address), Origin: model.Static, Scope: "global"}}})
}

func (h *house) ping(name, target string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Second)
	defer cancel()
	rtt, err := h.Ping(ctx, name, target)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Logf("%s pings %s: %v", name, target, rtt)
}

func (h *house) one(name string) model.Machine {
	h.t.Helper()
	list, err := h.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range list {
		if m.Name == name {
			return m
		}
	}
	h.t.Fatalf("no machine %s in %v", name, list)
	return model.Machine{}
}

func prefixes(ps ...string) (out []netip.Prefix) {
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func umlConfig(nics ...model.NICConfig) model.MachineConfig {
	return model.MachineConfig{Name: "web", VMM: "uml", Memory: 64 << 20, NICs: nics}
}

func TestUMLLife(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.tap("tap0", "198.18.0.1/24")
	h.address("tap0", "2001:db8::1/64")
	nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24", "2001:db8::2/64"), Gateway: netip.MustParseAddr("198.18.0.1")}
	begin := time.Now()
	h.do(model.StartMachine{Machine: umlConfig(nic, model.NICConfig{Name: "eth2", MAC: "02:11:22:33:44:66"})})
	t.Logf("booted in %v", time.Since(begin))
	if err := h.Manager.Do(t.Context(), model.StartMachine{Machine: umlConfig()}); !errors.Is(err, model.ErrExists) {
		t.Errorf("a second machine of one name: %v", err)
	}
	h.ping("web", "198.18.0.1")
	h.ping("web", "2001:db8::1")
	code, page, err := h.Get(t.Context(), "web", "http://198.18.0.2/")
	if err != nil || code != 200 || !strings.Contains(page, "I am web") || !strings.Contains(page, "198.18.0.2/24") {
		t.Errorf("its page: %d %v %s", code, err, page)
	}
	m := h.one("web")
	if m.State != "running" || m.Inside == nil {
		t.Fatalf("listed as %+v", m)
	}
	l := m.Inside.Link("eth1")
	if l == nil || l.MAC != "02:11:22:33:44:55" || !l.Carrier {
		t.Errorf("inside: %+v", l)
	}
	if r := m.Inside.DefaultRoute(); r == nil || r.Gateway().String() != "198.18.0.1" {
		t.Errorf("default route: %+v", r)
	}
	if len(m.NICs) != 2 || m.NICs[0].Link.Name != "tap0" || !m.NICs[1].Declared {
		t.Errorf("NICs: %+v", m.NICs)
	}
	holders, err := h.FindTapHolders()
	// A UML's other processes share the descriptor.
	if err != nil || !slices.ContainsFunc(holders["tap0"], func(x model.Holder) bool { return x.PID == m.PID }) {
		t.Errorf("holders of tap0: %v, %v, machine's process is %d", holders, err, m.PID)
	}
	// The console is a terminal of its own: what is typed is edited and echoed there.
	var said lockedBuffer
	if err := h.Console(t.Context(), "web", strings.NewReader("ping 198.18.0.1\n"), &said); err != nil || !strings.Contains(said.String(), "answered after") {
		t.Errorf("console: %v\n%s", err, said.String())
	}
	begin = time.Now()
	h.do(model.StopMachine{Name: "web"})
	t.Logf("stopped in %v", time.Since(begin))
	h.noTrace()
	if err := h.Manager.Do(t.Context(), model.StopMachine{Name: "web"}); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("stopping what is not there: %v", err)
	}
}

func TestUMLPlugAndUnplug(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.tap("tap0", "198.18.0.1/24")
	h.tap("tap1", "198.18.1.1/24")
	h.do(model.StartMachine{Machine: umlConfig(model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55"})})
	if m := h.one("web"); m.Inside.Link("eth1") != nil || !m.NICs[0].Declared {
		t.Fatalf("a declared NIC is a device: %+v", m)
	}
	nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24")}
	for round := range 3 {
		begin := time.Now()
		h.do(model.PlugNIC{Machine: "web", NIC: nic})
		t.Logf("round %d: plugged in %v", round, time.Since(begin))
		h.ping("web", "198.18.0.1")
		if m := h.one("web"); m.NICs[0].Declared || m.Inside.Link("eth1") == nil {
			t.Fatalf("plugged: %+v", m.NICs)
		}
		h.do(model.UnplugNIC{Machine: "web", NIC: "eth1"})
		if m := h.one("web"); !m.NICs[0].Declared || m.Inside.Link("eth1") != nil {
			t.Fatalf("unplugged: %+v", m.NICs)
		}
	}
	h.do(model.PlugNIC{Machine: "web", NIC: nic})
	nic.Addresses = prefixes("198.18.0.3/24")
	h.do(model.ConfigureNIC{Machine: "web", NIC: nic})
	if as := h.one("web").Inside.AddressesOf("eth1"); !strings.HasPrefix(model.SplitAddresses(as), "198.18.0.3/24") {
		t.Errorf("configured: %v", as)
	}
	// A second NIC while the first is at work, and a tap that is held.
	h.do(model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "lan", Link: "tap1", Addresses: prefixes("198.18.1.2/24")}})
	h.ping("web", "198.18.1.1")
	err := h.Manager.Do(t.Context(), model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "eth3", Link: "tap1"}})
	if !errors.Is(err, model.ErrBusy) || !strings.Contains(err.Error(), "linux.uml") {
		t.Errorf("a tap that is held: %v", err)
	}
	if err := h.Manager.Do(t.Context(), model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "eth3", Link: "tap9"}}); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("a tap that is not there: %v", err)
	}
	h.ping("web", "198.18.0.1")
}

func TestUMLFailsClearly(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.tap("tap0", "")
	h.Must(model.CreateBridge{Name: "br0"})
	nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0"}
	at := func(link string) model.NICConfig { n := nic; n.Link = link; return n }
	cases := []struct {
		what    string
		machine model.MachineConfig
		kind    error
		says    string
	}{
		{"no such kernel", model.MachineConfig{Name: "web", VMM: "uml", Kernel: "/nowhere/linux", Memory: 64 << 20}, model.ErrNotFound, "/nowhere/linux"},
		{"not a UML", model.MachineConfig{Name: "web", VMM: "uml", Kernel: "/bin/true", Memory: 64 << 20}, model.ErrInvalid, "User-Mode Linux"},
		{"no such tap", umlConfig(at("tap9")), model.ErrNotFound, "tap9"},
		{"not a tap", umlConfig(at("br0")), model.ErrInvalid, "not a tap"},
		{"a root that is not there", model.MachineConfig{Name: "web", VMM: "uml", Root: "hostfs:/nowhere"}, model.ErrNotFound, "root hostfs:/nowhere"},
		{"the host's own root", model.MachineConfig{Name: "web", VMM: "uml", Root: "hostfs:/"}, model.ErrInvalid, "hint: mount --bind"},
		{"another VMM", model.MachineConfig{Name: "web", VMM: "xen"}, model.ErrInvalid, "hint"},
		{"a bad name", model.MachineConfig{Name: "../web", VMM: "uml"}, model.ErrInvalid, "name"},
		{"a kernel that ends", model.MachineConfig{Name: "web", VMM: "uml", Memory: 64 << 20, Args: []string{"rdinit=/nothing"}}, nil, "console"},
	}
	for _, c := range cases {
		err := h.Manager.Do(t.Context(), model.StartMachine{Machine: c.machine})
		if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
		h.noTrace()
	}
	// A start that is called off leaves nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := h.Manager.Do(ctx, model.StartMachine{Machine: umlConfig(nic)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("called off: %v", err)
	}
	h.noTrace()
}

// TestKilledShim: whatever is killed, the rest goes with it, and is told.
func TestKilledShim(t *testing.T) {
	needUML(t)
	for _, victim := range []string{"shim", "process 1", "VMM", "guest init"} {
		t.Run(victim, func(t *testing.T) {
			h := newHouse(t)
			h.tap("tap0", "")
			h.do(model.StartMachine{Machine: umlConfig(model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0"})})
			m := h.one("web")
			pid := m.PID
			switch victim {
			case "process 1":
				pid = parentOf(t, m.PID)
			case "shim":
				pid = parentOf(t, parentOf(t, m.PID))
			case "guest init":
				pid = tracedChild(t, m.PID)
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
			if victim == "guest init" && !strings.Contains(h.Failure("web"), "Kernel panic - not syncing: Attempted to kill init") {
				t.Error("the reason does not tell the panic")
			}
			if err := h.Manager.Do(t.Context(), model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "eth2", Link: "tap0"}}); !errors.Is(err, model.ErrNotFound) {
				t.Errorf("plugged, though it is dead: %v", err)
			}
			if _, err := os.Stat(filepath.Join(h.dir, "web", "uml")); err == nil {
				t.Error("uml's folder is left over")
			}
		})
	}
}

// tracedChild is the process of a UML in which its guest's process 1 runs.
func tracedChild(t *testing.T, vmm int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		if err == nil && strings.Contains(string(b), fmt.Sprintf("\nTracerPid:\t%d\n", vmm)) {
			var pid int
			if _, err := fmt.Sscan(e.Name(), &pid); err == nil {
				return pid
			}
		}
	}
	t.Fatalf("process %d traces nobody", vmm)
	return 0
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var state string
	var parent int
	if _, err := fmt.Sscan(string(b[strings.LastIndex(string(b), ")")+1:]), &state, &parent); err != nil {
		t.Fatal(err)
	}
	return parent
}
