package machine_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/machine"
	"drawbridge/internal/model"
)

// TestUMLOnVeth: without a tun device, a UML's raw transport on the other half of a
// veth. TCP both ways, for that is what hangs where the offloads are wrong.
func TestUMLOnVeth(t *testing.T) {
	needUMLBinary(t)
	h := newHouse(t)
	h.veth("tap0", "198.18.0.1/24")
	const size = 3 << 20
	var address string
	h.Inside(func() error {
		l, err := net.Listen("tcp", "198.18.0.1:0")
		if err != nil {
			return err
		}
		address = l.Addr().String()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(w, zeros{}, size)
		})}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })
		return nil
	})
	nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Transport: model.TransportVeth, Addresses: prefixes("198.18.0.2/24")}
	h.do(model.StartMachine{Machine: umlConfig(nic)})
	h.ping("web", "198.18.0.1")
	code, body, err := h.Get(t.Context(), "web", "http://"+address+"/")
	if err != nil || code != 200 || len(body) != 32<<10 {
		t.Errorf("into the guest: %d, %d bytes, %v", code, len(body), err)
	}
	h.Inside(func() error {
		// By hand: an http.Client dials on another thread, in another namespace.
		c, err := net.DialTimeout("tcp", "198.18.0.2:80", 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
		page, err := io.ReadAll(c)
		if !strings.Contains(string(page), "I am web") {
			t.Errorf("out of the guest: %s", page)
		}
		return err
	})
	h.do(model.UnplugNIC{Machine: "web", NIC: "eth1"})
	h.do(model.PlugNIC{Machine: "web", NIC: nic})
	h.ping("web", "198.18.0.1")
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestPlainUser: a user without rights starts a UML that is not cabled yet.
func TestPlainUser(t *testing.T) {
	needUMLBinary(t)
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	m := machine.NewManager(filepath.Join(t.TempDir(), "machines"))
	m.Executable, _ = binary()
	c := model.MachineConfig{Name: "web", VMM: "uml", NICs: []model.NICConfig{{Name: "eth1"}}}
	if err := m.Do(t.Context(), model.StartMachine{Machine: c}); err != nil {
		t.Fatal(err)
	}
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Inside == nil {
		t.Errorf("listed: %+v, %v", list, err)
	}
	if err := m.Do(t.Context(), model.StopMachine{Name: "web"}); err != nil {
		t.Error(err)
	}
}

// asNobody runs this test again as the user nobody.
func asNobody(t *testing.T) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(path), dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "test")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "DRAWBRIDGE="+path, "HOME="+tmp, "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// TestManyUMLs: started by one operation, each reaches another; one that cannot start
// takes the others with it; and of all of them nothing is left.
func TestManyUMLs(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.Must(model.CreateBridge{Name: "br0"})
	h.address("br0", "198.18.0.1/24")
	const count = 4
	var op model.StartMachines
	for i := range count {
		link := fmt.Sprintf("tap%d", i)
		h.tap(link, "")
		h.Must(model.SetMaster{Link: link, Master: "br0"})
		op.Machines = append(op.Machines, model.MachineConfig{Name: fmt.Sprintf("vm%d", i), VMM: "uml", Memory: 64 << 20,
			NICs: []model.NICConfig{{Name: "eth1", Link: link, Addresses: prefixes(fmt.Sprintf("198.18.0.%d/24", 100+i))}}})
	}
	var told []string
	h.Progress = func(done, of int, name string) { told = append(told, fmt.Sprintf("%d/%d", done, of)) }
	begin := time.Now()
	h.do(op)
	t.Logf("%d started in %v; they use %d MiB", count, time.Since(begin), h.Used()>>20)
	if got := strings.Join(told, " "); got != "0/4 1/4 2/4 3/4 4/4" {
		t.Errorf("told %s", got)
	}
	if used := h.Used(); used < count*20<<20 {
		t.Errorf("they use %d bytes", used)
	}
	all(t, count, func(i int) error {
		_, err := h.Ping(t.Context(), fmt.Sprintf("vm%d", i), fmt.Sprintf("198.18.0.%d", 100+(i+1)%count))
		return err
	})
	h.do(model.StopMachines{Machines: op.Names()})
	h.noTrace()
	if left, err := os.ReadDir(h.dir); err != nil || len(left) != 1 || left[0].Name() != ".lock" {
		t.Errorf("left over: %v, %v", left, err)
	}

	op.Machines[count-1].NICs = []model.NICConfig{{Name: "eth1", Link: "tap9"}}
	err := h.Manager.Do(t.Context(), op)
	if !errors.Is(err, model.ErrNotFound) || !strings.Contains(err.Error(), "vm3") {
		t.Errorf("one that cannot start: %v", err)
	}
	h.noTrace()
}

// TestLegacyNIC: a UML without the vector NIC, played by one that does not tell of it.
func TestLegacyNIC(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.tap("tap0", "198.18.0.1/24")
	script := filepath.Join(t.TempDir(), "linux")
	text := "#!/bin/sh\ncase $1 in --showconfig) linux.uml --showconfig | grep -v NET_VECTOR ;; *) exec linux.uml \"$@\" ;; esac\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24")}
	c := umlConfig(nic)
	c.Kernel = script
	h.do(model.StartMachine{Machine: c})
	h.ping("web", "198.18.0.1")
	for range 2 {
		h.do(model.UnplugNIC{Machine: "web", NIC: "eth1"})
		h.do(model.PlugNIC{Machine: "web", NIC: nic})
		h.ping("web", "198.18.0.1")
	}
	b, err := os.ReadFile(filepath.Join(h.dir, "web", "console.log"))
	if err != nil || strings.Contains(string(b), "uml-vector") {
		t.Errorf("it has a vector NIC: %v\n%s", err, b)
	}
}
