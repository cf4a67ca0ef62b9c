package kernel_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// A process in a mount namespace of its own believes that it has switched IPv6 off and on
// again: no address goes. What it wrote last counts afterwards.
func TestShield(t *testing.T) {
	t.Parallel()
	n := testnet.New(t)
	n.Must(model.CreateBridge{Name: "br0"}, model.AddAddresses{Link: "br0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("2001:db8::5/64"), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}}})
	const file = "/proc/sys/net/ipv6/conf/br0/disable_ipv6"
	script := `mount -t proc proc /proc 2>/dev/null; echo ready; read go; echo 1 >` + file + `; cat ` + file + `; echo 0 >` + file + `; read go; echo 1 >` + file + `; echo done; read go`
	var cmd *exec.Cmd
	var words func() string
	var say func()
	n.Inside(func() error {
		cmd = exec.Command("unshare", "--mount", "sh", "-c", script)
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		say = func() { _, _ = in.Write([]byte("go\n")) }
		words = func() string {
			b := make([]byte, 64)
			k, _ := out.Read(b)
			return strings.TrimSpace(string(b[:k]))
		}
		return cmd.Start()
	})
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if got := words(); got != "ready" {
		t.Fatalf("it says %q", got)
	}
	value := func() string {
		var b []byte
		n.Inside(func() (err error) { b, err = os.ReadFile(file); return err })
		return strings.TrimSpace(string(b))
	}
	var restore func() error
	n.Inside(func() (err error) {
		restore, err = kernel.Shield(cmd.Process.Pid, "ipv6/conf/br0/disable_ipv6")
		return err
	})
	say()
	if got := words(); got != "1" {
		t.Errorf("it reads %q", got)
	}
	if value() != "0" || !strings.Contains(model.SplitAddresses(n.Look().AddressesOf("br0")), "2001:db8::5") {
		t.Errorf("the kernel has heard of it: %s", value())
	}
	n.Inside(restore)
	if value() != "0" {
		t.Errorf("afterwards it is %s", value())
	}
	n.Inside(func() (err error) {
		restore, err = kernel.Shield(cmd.Process.Pid, "ipv6/conf/br0/disable_ipv6")
		return err
	})
	say()
	if got := words(); got != "done" {
		t.Errorf("it says %q", got)
	}
	n.Inside(restore)
	if value() != "1" {
		t.Errorf("what it wrote last was 1, and it is %s", value())
	}
	n.Inside(func() error {
		if _, err := kernel.Shield(cmd.Process.Pid, "ipv6/conf/none/disable_ipv6"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a link that is not there: %v", err)
		}
		return nil
	})
}

// Whoever listens is told of a link that has not changed; it is as before.
func TestShow(t *testing.T) {
	t.Parallel()
	n := testnet.New(t)
	n.Must(model.CreateBridge{Name: "br0"})
	before := n.Look().Link("br0")
	heard, err := os.Create(filepath.Join(t.TempDir(), "heard"))
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	cmd := exec.Command("ip", "monitor", "link")
	cmd.Stdout = heard
	n.Inside(cmd.Start)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	testnet.Eventually(t, func() error { // it may not listen yet
		if err := n.Kernel.Show("br0"); err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(heard.Name()); !strings.Contains(string(text), "br0: ") {
			return fmt.Errorf("heard %q", text)
		}
		return nil
	})
	if after := n.Look().Link("br0"); after.Up != before.Up || after.MAC != before.MAC || after.Index != before.Index {
		t.Errorf("%+v, before %+v", after, before)
	}
	if err := n.Kernel.Show("none"); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
