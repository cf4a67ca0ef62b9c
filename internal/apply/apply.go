// Package apply carries out a plan as one transaction: journal, step by step, verify,
// then commit or roll back.
//
// In: a plan.Plan, and a kernel and machines behind the small interfaces that are
// declared here. Out: what is now owned, or an error that tells whether everything
// was rolled back. It imports no netlink, and decides nothing about networks.
package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/verify"
)

// Kernel observes a network namespace and carries out operations in it.
type Kernel interface {
	Observe(ctx context.Context) (model.Namespace, error)
	// Do returns the indexes of the links that the operation made.
	Do(ctx context.Context, op model.Operation) (model.Made, error)
}

// Machines starts, plugs and stops virtual machines.
type Machines interface {
	List(ctx context.Context) ([]model.Machine, error)
	Do(ctx context.Context, op model.Operation) error
}

// Services starts, changes and stops what networks serve.
type Services interface {
	List(ctx context.Context) ([]model.Service, error)
	Do(ctx context.Context, op model.Operation) error
}

// Probes ask on the wire whether the host can still be reached. They are chosen before
// anything is touched, and judged when the result is verified: what did not pass before
// is not required after.
type Probes interface {
	Choose(ctx context.Context, before model.Snapshot) error
	// Judge returns an error that names each probe that failed, with what it saw.
	Judge(ctx context.Context, after model.Snapshot) error
}

// Transaction is what a plan is carried out with.
type Transaction struct {
	Kernel   Kernel
	Machines Machines
	// Services may be nil: nothing is served then.
	Services Services
	// Probes may be nil: nothing is asked then.
	Probes Probes
	// Store keeps the journal and what is owned.
	Store *Store
	// Progress is told of every step before it is carried out; may be nil.
	Progress func(step, of int, title string)
	// RollingBack is told why, before the first undo; may be nil.
	RollingBack func(cause error)
	// StartGuard starts the process that rolls back when this one dies; nil for a
	// transaction that nobody guards.
	StartGuard func() (Guard, error)
	// Confirm is how long a person has to confirm the result before the guard rolls
	// it back; 0: it is committed at once.
	Confirm time.Duration

	// Clock is the time since boot that counts a suspend as well (CLOCK_BOOTTIME): a person
	// who has a minute to confirm does not get the night on top. nil: the monotonic one.
	Clock func() time.Duration

	// settle is firstSettle where it is 0: a host in memory settles at once.
	settle time.Duration
}

// Guard outlives this process, and rolls back in its place.
type Guard interface {
	// Died is closed when the guard has ended although it should not have.
	Died() <-chan struct{}
	// HandOver leaves commit or rollback to the guard: it commits when a person
	// confirms within the time, and rolls back otherwise.
	HandOver(confirm time.Duration) error
	// Release tells it that the transaction is over.
	Release()
}

// noGuard is the guard of a transaction that nobody guards.
type noGuard struct{}

func (noGuard) Died() <-chan struct{} { return nil }
func (noGuard) HandOver(time.Duration) error {
	return errors.New("no guard to wait for a confirmation")
}
func (noGuard) Release() {}

// Failure is a transaction that was not committed.
type Failure struct {
	Err error
	// Left is what could not be undone; empty after a whole rollback.
	Left []error
	// Changed tells whether anything had been changed at all.
	Changed bool
}

func (f *Failure) Error() string {
	switch {
	case !f.Changed:
		return f.Err.Error() + "\n  nothing was changed"
	case len(f.Left) == 0:
		return f.Err.Error() + "\n  everything was rolled back: the host is as before"
	default:
		var b strings.Builder
		fmt.Fprintf(&b, "%v\n  rolled back, but not wholly; what is left:", f.Err)
		for _, e := range f.Left {
			fmt.Fprintf(&b, "\n    %v", e)
		}
		b.WriteString("\n  hint: mend that by hand, then run: drawbridge recover; or keep it so: drawbridge recover --as-is")
		return b.String()
	}
}

func (f *Failure) Unwrap() error { return f.Err }

// firstSettle is the pause after the first look at a result that is not as wanted yet;
// each later one is twice as long, up to settleTime times the first.
const (
	firstSettle = 50 * time.Millisecond
	settleTime  = 40
)

// rollbackTime bounds a rollback, which goes on when the transaction's context is
// cancelled: that is what it is for.
const rollbackTime = 60 * time.Second

// Run carries out a plan. A nil error means verified, and committed or handed over to
// the guard for confirmation; any other error is a [*Failure].
func (t *Transaction) Run(ctx context.Context, p plan.Plan) error {
	if len(p.Steps) == 0 {
		return t.Store.SaveOwned(p.Owned)
	}
	want, err := p.After()
	if err != nil {
		return &Failure{Err: err}
	}
	if t.Probes != nil {
		if err := t.Probes.Choose(ctx, p.Before); err != nil {
			return &Failure{Err: fmt.Errorf("probes: %w", err)}
		}
	}
	j, err := t.Store.newJournal(p)
	if err != nil {
		return &Failure{Err: err}
	}
	var guard Guard = noGuard{}
	if t.StartGuard != nil {
		if guard, err = t.StartGuard(); err != nil {
			return t.rollBack(j, fmt.Errorf("guard: %w", err))
		}
	}
	if err := t.carryOut(ctx, j, guard, p, want); err != nil {
		defer guard.Release()
		return t.rollBack(j, err)
	}
	return nil
}

func (t *Transaction) carryOut(ctx context.Context, j *Journal, guard Guard, p plan.Plan, want model.Snapshot) error {
	for i, st := range p.Steps {
		if err := stopped(ctx, guard); err != nil {
			return fmt.Errorf("before %q: %w", st.Title, err)
		}
		if t.Progress != nil {
			t.Progress(i+1, len(p.Steps), st.Title)
		}
		if err := j.begin(i); err != nil {
			return err
		}
		made, err := t.do(ctx, st.Do)
		if err != nil {
			return fmt.Errorf("%s: %w", st.Title, errors.Join(err, j.refused(i, err)))
		}
		if err := j.done(i, made); err != nil {
			return err
		}
	}
	if err := t.verify(ctx, want, operations(j.Steps)); err != nil {
		return err
	}
	if err := t.judge(ctx); err != nil {
		return err
	}
	if err := stopped(ctx, guard); err != nil {
		return fmt.Errorf("after the last step: %w", err)
	}
	if t.Confirm > 0 {
		return guard.HandOver(t.Confirm)
	}
	if err := j.commitTo(t.Store); err != nil {
		return err
	}
	guard.Release()
	return nil
}

// judge asks the probes of a verified result.
func (t *Transaction) judge(ctx context.Context) error {
	if t.Probes == nil {
		return nil
	}
	after, err := t.observe(ctx)
	if err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	return t.Probes.Judge(ctx, after)
}

// stopped tells why the transaction must not go on, nil if it may.
func stopped(ctx context.Context, guard Guard) error {
	select {
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-guard.Died():
		return errors.New("the guard process died, and nothing goes on unguarded")
	default:
		return nil
	}
}

func (t *Transaction) do(ctx context.Context, op model.Operation) (model.Made, error) {
	if model.ForMachine(op) {
		return nil, t.Machines.Do(ctx, op)
	}
	if model.ForService(op) {
		if t.Services == nil {
			return nil, fmt.Errorf("%s %s: nothing is served here: %w", op.Op(), op.Object(), model.ErrInvalid)
		}
		return nil, t.Services.Do(ctx, op)
	}
	return t.Kernel.Do(ctx, op)
}

func operations(steps []JournalStep) []model.Operation {
	var out []model.Operation
	for _, st := range steps {
		out = append(out, st.Do...)
	}
	return out
}

// verify looks until the state is as wanted, six times within some three seconds:
// linkwatch and duplicate address detection take their time.
func (t *Transaction) verify(ctx context.Context, want model.Snapshot, ops []model.Operation) error {
	objects := verify.ObjectsOf(ops)
	var found []verify.Mismatch
	for wait := cmp.Or(t.settle, firstSettle); wait < settleTime*cmp.Or(t.settle, firstSettle); wait *= 2 {
		got, err := t.observe(ctx)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		found = verify.Check(want, got, objects)
		if len(found) == 0 && !verify.Unsettled(got, objects) {
			return nil
		}
		if slices.ContainsFunc(found, func(m verify.Mismatch) bool { return m.What == verify.Presence }) {
			break // nothing comes or goes by itself
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted while the result was verified")
		case <-time.After(wait):
		}
	}
	if len(found) == 0 {
		return nil
	}
	var lines []string
	for _, m := range found {
		lines = append(lines, m.String())
	}
	return fmt.Errorf("the result is not as planned:\n    %s", strings.Join(lines, "\n    "))
}

func (t *Transaction) observe(ctx context.Context) (model.Snapshot, error) {
	ns, err := t.Kernel.Observe(ctx)
	if err != nil {
		return model.Snapshot{}, err
	}
	ms, err := t.Machines.List(ctx)
	if err != nil {
		return model.Snapshot{}, err
	}
	s := model.Snapshot{Namespaces: []model.Namespace{ns}, Machines: ms}
	if t.Services != nil {
		if s.Services, err = t.Services.List(ctx); err != nil {
			return model.Snapshot{}, err
		}
	}
	s.Sort()
	return s, nil
}
