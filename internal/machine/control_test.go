package machine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// TestRestart: a machine that is killed is started again, on its cable; one that halts
// is not, under on-failure; and a stop in between ends it for good.
func TestRestart(t *testing.T) {
	h := newHouse(t)
	h.veth("tap0", "198.18.0.1/24")
	c := namespaceConfig("web", model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24")})
	c.Restart = "on-failure"
	h.do(model.StartMachine{Machine: c})
	for n := 1; n <= 2; n++ {
		if err := unix.Kill(h.one("web").PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, func() error {
			if m := h.one("web"); m.State != "running" || m.Restarts != n {
				return fmt.Errorf("it is %s, started again %d times", m.State, m.Restarts)
			}
			return nil
		})
		h.ping("web", "198.18.0.1")
	}
	if info, err := h.Info(t.Context(), "web"); err != nil || !strings.Contains(info.LastEnd, "killed") {
		t.Errorf("info: %+v, %v", info, err)
	}
	if text := h.console("web"); !strings.Contains(text, "started again in 1s") || !strings.Contains(text, "started again in 2s") {
		t.Errorf("its console:\n%s", text)
	}
	// It halts by itself: that is no failure.
	var out lockedBuffer
	if err := h.Console(t.Context(), "web", strings.NewReader("halt\n"), &out); err != nil {
		t.Error(err)
	}
	testnet.Eventually(t, func() error {
		if m := h.one("web"); m.State != "stopped" {
			return fmt.Errorf("it is %s", m.State)
		}
		return nil
	})
	h.do(model.StopMachine{Name: "web"})

	c.Restart = "always"
	h.do(model.StartMachine{Machine: c})
	for range 2 { // the second pause is long enough to be met
		before := h.one("web").Restarts
		if err := unix.Kill(h.one("web").PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, func() error {
			if m := h.one("web"); m.State != "restarting" && m.Restarts == before {
				return fmt.Errorf("it is %s", m.State)
			}
			return nil
		})
		if before == 1 {
			break
		}
		testnet.Eventually(t, func() error {
			if m := h.one("web"); m.State != "running" {
				return fmt.Errorf("it is %s", m.State)
			}
			return nil
		})
	}
	h.do(model.StopMachine{Name: "web"})
	h.noTrace()
}

// TestUMLRestart: a UML whose kernel is killed comes back on its tap.
func TestUMLRestart(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.tap("tap0", "198.18.0.1/24")
	c := umlConfig(model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24")})
	c.Restart = "always"
	h.do(model.StartMachine{Machine: c})
	if err := unix.Kill(h.one("web").PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, func() error {
		if m := h.one("web"); m.State != "running" || m.Restarts != 1 {
			return fmt.Errorf("it is %s, started again %d times: %s", m.State, m.Restarts, h.Failure("web"))
		}
		return nil
	})
	h.ping("web", "198.18.0.1")
}

// TestUMLControl: paused, it answers nothing and can still be stopped; the kernel tells
// its version, and what a SysRq key asks it to.
func TestUMLControl(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.tap("tap0", "198.18.0.1/24")
	h.do(model.StartMachine{Machine: umlConfig(model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24")})})
	info, err := h.Info(t.Context(), "web")
	if err != nil || !strings.Contains(info.Version, "Linux") || info.Used < 20<<20 || time.Since(info.Started) > time.Minute {
		t.Errorf("info: %+v, %v", info, err)
	}
	if m := h.one("web"); m.NICs[0].Transport != "vector tap" {
		t.Errorf("NICs: %+v", m.NICs)
	}
	if text, err := h.SysRq(t.Context(), "web", "m"); err != nil || !strings.Contains(text, "Mem-Info") {
		t.Errorf("sysrq m: %v\n%s", err, text)
	}
	if _, err := h.SysRq(t.Context(), "web", "nonsense"); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("a key that is none: %v", err)
	}
	ctx := t.Context()
	if err := h.Resume(ctx, "web"); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("resumed though it runs: %v", err)
	}
	if err := h.Pause(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if m := h.one("web"); m.State != "paused" {
		t.Errorf("it is %s", m.State)
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if _, err := h.Ping(short, "web", "198.18.0.1"); !errors.Is(err, model.ErrBusy) || !strings.Contains(err.Error(), "resume") {
		t.Errorf("a paused machine pings: %v", err)
	}
	if err := h.Pause(ctx, "web"); !errors.Is(err, model.ErrExists) {
		t.Errorf("paused twice: %v", err)
	}
	if err := h.Resume(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	h.ping("web", "198.18.0.1")
	if err := h.Pause(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	h.do(model.StopMachine{Name: "web"})
	h.noTrace()
	if err := h.Pause(ctx, "web"); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("paused though it is gone: %v", err)
	}
}

// TestStubbornGuest: one that ignores that it shall end is ended all the same.
func TestStubbornGuest(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	h.tap("tap0", "198.18.0.1/24")
	h.do(model.StartMachine{Machine: umlConfig(model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24")})})
	// A kernel whose first process is stopped hears neither the agent's line nor cad; and
	// one whose tracer is stopped does not even answer its management console.
	if err := unix.Kill(h.one("web").PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.do(model.StopMachine{Name: "web"})
	h.noTrace()
	if left := procs.In(h.dir + "/web"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
