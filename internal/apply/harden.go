package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// systemdRuns is the folder that tells that systemd is PID 1, sd_booted(3).
const systemdRuns = "/run/systemd/system"

// HardenGuard makes this process one that outlives what may kill others: it is the last
// one to go when memory runs out, its memory stays in memory, and under systemd it gets
// a scope of its own, so that the end of the session that it was started from
// (logind's KillUserProcesses) does not end it. What it may not do it goes on without;
// the error is for the log.
func HardenGuard() error {
	return errors.Join(spareFromOOM(), lockMemory(), OwnScope("guard", "drawbridge: rolls a network change back when its process dies"))
}

// spareFromOOM: proc(5), oom_score_adj; a negative value needs CAP_SYS_RESOURCE.
func spareFromOOM() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		return fmt.Errorf("oom score: %w", err)
	}
	return nil
}

// lockMemory keeps what is used once from being paged out: MCL_ONFAULT leaves the Go
// runtime's reservations alone, which are far larger than what it ever touches.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("mlockall: %w", err)
	}
	return nil
}

// OwnScope puts this process into a transient scope of its own where systemd runs,
// drawbridge-KIND-PID.scope: nothing that ends a session ends it.
func OwnScope(kind, description string) error {
	if _, err := os.Stat(systemdRuns); err != nil {
		return nil // not systemd: a session of its own is enough
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := dbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	defer c.Close()
	name := fmt.Sprintf("drawbridge-%s-%d.scope", kind, os.Getpid())
	done := make(chan string, 1)
	_, err = c.StartTransientUnitContext(ctx, name, "fail", []dbus.Property{
		dbus.PropDescription(description),
		dbus.PropPids(uint32(os.Getpid())),
	}, done)
	if err != nil {
		return fmt.Errorf("systemd: %s: %w", name, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("systemd: %s: %s", name, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("systemd: %s: %w", name, ctx.Err())
	}
}
