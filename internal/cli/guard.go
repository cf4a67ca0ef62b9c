package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"syscall"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/plan"

	"github.com/spf13/cobra"
)

// The descriptors that a guard inherits; see apply.StartGuardProcess.
const (
	guardWireFD = 3
	guardLockFD = 4
)

// startGuard runs this program as the guard of a change.
func (a *app) startGuard(s *session) (apply.Guard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"guard"}
	if a.netns != "" {
		args = append(args, "--netns", a.netns)
	}
	return apply.StartGuardProcess(s.store, self, args...)
}

func newGuardCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "guard",
		Short:  "Watch over a change, and roll it back when its process dies",
		Hidden: true,
		Args:   noArguments,
		RunE:   func(*cobra.Command, []string) error { return a.guard() },
	}
}

// guard is deaf to what ends a session. A termination, as at shutdown, makes it roll
// back what waits for a confirmation, and end.
func (a *app) guard() error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := apply.HardenGuard(); err != nil {
		fmt.Fprintln(a.err, "guard, going on without:", err)
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	s.store.InheritLock(os.NewFile(guardLockFD, "lock"))
	t := a.transaction(s, false)
	tell, rolledBack := t.RollingBack, false
	t.RollingBack = func(cause error) {
		tell(cause)
		rolledBack = true
		if err := s.stopKeepers(); err != nil {
			fmt.Fprintln(a.err, "guard, going on:", err)
		}
	}
	err = t.Watch(ctx, os.NewFile(guardWireFD, "wire"))
	if rolledBack {
		a.startAll(s)
	}
	return err
}

func newConfirmCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Keep what 'up --confirm' did",
		Long: `Keep what 'up --confirm' did. Give it from a new session: that you can is the proof
that the host can still be reached.

Exit codes: 0 kept; 1 nothing waits for a confirmation.`,
		Example: `  drawbridge confirm`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			return a.answer("confirm", "confirmed: the change is kept")
		},
	}
}

func newRollbackCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback",
		Short: "Undo what 'up --confirm' did, now",
		Long: `Undo what 'up --confirm' did, without waiting for the time to run out.

Exit codes: 0 rolled back; 1 nothing waits for a confirmation.`,
		Example: `  drawbridge rollback`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			return a.answer("rollback", "rolled back: the host is as before")
		},
	}
}

func (a *app) answer(word, done string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.store.Answer(word); err != nil {
		return err
	}
	fmt.Fprintln(a.err, done)
	return nil
}

// awaitConfirmation shows the seconds on a terminal until the change is confirmed or
// rolled back. It is only the display: ending it changes nothing, the guard decides.
func (a *app) awaitConfirmation(ctx context.Context, s *session, before plan.Owned, confirm time.Duration) error {
	fmt.Fprintf(a.err, "confirm within %s, best from a new session: drawbridge confirm\n", confirm)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	s.store.Unlock()
	for {
		left, err := s.store.Answer("left")
		if errors.Is(err, apply.ErrNothingPending) {
			break
		}
		// a guard that is busy rolling back does not answer: the next question tells
		if ms, aerr := strconv.Atoi(left); err == nil && aerr == nil && isTerminal(a.err) {
			fmt.Fprintf(a.err, "\r%4d s left ", (ms+999)/1000)
		}
		select {
		case <-ctx.Done():
			return withCode(exitFailed, errors.New("no longer waiting: the guard rolls back when the time is over"))
		case <-tick.C:
		}
	}
	if isTerminal(a.err) {
		fmt.Fprint(a.err, "\r")
	}
	if interrupted, _ := s.store.Interrupted(); interrupted {
		return withCode(exitHalfRolled, errors.New("the guard could not roll back wholly\n  hint: drawbridge recover"))
	}
	owned, err := s.store.Owned()
	if err != nil {
		return err
	}
	if reflect.DeepEqual(owned, before) {
		return withCode(exitRolledBack, errors.New("not confirmed in time: everything was rolled back, the host is as before"))
	}
	fmt.Fprintln(a.err, "confirmed: the change is kept")
	return nil
}
