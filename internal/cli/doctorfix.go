package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/doctor"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
	"drawbridge/internal/spec"
)

// mend mends one finding as a transaction.
func (a *app) mend(ctx context.Context, o doctorOptions) error {
	// First a look that changes nothing: what is not ours to do needs no rights.
	h, err := a.patient(ctx, o)
	if err != nil {
		return err
	}
	f, err := choose(doctor.Examine(h), o.fix)
	if err != nil {
		return withCode(exitUsage, err)
	}
	if !f.Mend.Fixable() {
		return a.byHand(f)
	}
	s, err := a.begin()
	if err != nil {
		return err
	}
	defer s.end()
	// What a crash left may have been brought back meanwhile, and under the lock nothing of
	// ours changes any more: look again.
	first := h
	if h, err = a.askAgain(ctx, s, first); err != nil {
		return err
	}
	if f, err = choose(doctor.Examine(h), f.Name()); err != nil {
		fmt.Fprintln(a.err, "nothing to do: it is gone")
		return nil
	}
	owned, err := s.store.Owned() // it is written again at the end: it must have been read
	if err != nil {
		return err
	}
	p, err := plan.Mend(h.Snapshot, owned, f.Mend.Steps)
	if err != nil {
		return withCode(exitFailed, fmt.Errorf("%s: %w\n  nothing was changed", f.Name(), err))
	}
	if err := a.confirmMend(f, p, o); err != nil {
		return err
	}
	t := a.transaction(s, o.json)
	t.StartGuard = func() (apply.Guard, error) { return a.startGuard(s) }
	gone := &cure{app: a, session: s, finding: f, first: first}
	if asked := a.probes(s, p, spec.Desired{}, preflight.Facts{}.IsLogin, o.json); asked != nil {
		gone.also = asked.set
	}
	t.Probes = gone
	if err := t.Run(ctx, p); err != nil {
		return failureCode(err)
	}
	return a.tellMended(f, p, o)
}

// choose finds the finding that is meant: by its number, its name, or its check.
func choose(r doctor.Report, which string) (doctor.Finding, error) {
	if n, err := strconv.Atoi(which); err == nil {
		if n < 1 || n > len(r.Findings) {
			return doctor.Finding{}, fmt.Errorf("--fix %d: there is no such finding now: there are %d\n  hint: drawbridge doctor lists them", n, len(r.Findings))
		}
		return r.Findings[n-1], nil
	}
	check, object, named := strings.Cut(which, ":")
	fits := slices.DeleteFunc(slices.Clone(r.Findings), func(f doctor.Finding) bool {
		return f.Check != check || named && f.Object != object
	})
	switch {
	case len(fits) == 1:
		return fits[0], nil
	case len(fits) > 1:
		var all []string
		for _, f := range fits {
			all = append(all, f.Name())
		}
		return doctor.Finding{}, fmt.Errorf("--fix %s: there are %d of it\n  hint: name one: %s", which, len(fits), strings.Join(all, ", "))
	}
	if _, known := doctor.Explain(check); !known {
		return doctor.Finding{}, fmt.Errorf("--fix %s: there is no such check\n  hint: %s", which, nearChecks(check))
	}
	return doctor.Finding{}, fmt.Errorf("--fix %s: nothing of that kind is found now\n  hint: drawbridge doctor lists what is", which)
}

// byHand prints what a person has to type: the program does not do it.
func (a *app) byHand(f doctor.Finding) error {
	fmt.Fprintln(a.err, f.Name()+": "+f.What)
	fmt.Fprintln(a.err, "mend:", f.Mend.Says)
	for _, c := range f.Mend.Commands {
		fmt.Fprintln(a.out, c)
	}
	return withCode(exitFailed, errors.New("this is not drawbridge's to do\n  nothing was changed"))
}

// confirmMend shows what would be done and asks, unless told not to.
func (a *app) confirmMend(f doctor.Finding, p plan.Plan, o doctorOptions) error {
	if o.yes {
		return nil
	}
	if !isTerminal(a.in) {
		return withCode(exitUsage, errors.New("this changes the host, and there is no terminal to ask on\n  hint: look at 'drawbridge doctor', then give --yes"))
	}
	fmt.Fprintf(a.err, "%s: %s\n", f.Name(), f.What)
	fmt.Fprintln(a.err, "mend:", f.Mend.Says)
	for _, st := range p.Steps {
		for _, c := range st.Commands(plan.Modern) {
			fmt.Fprintln(a.err, "  $", c)
		}
	}
	fmt.Fprintf(a.err, "\nDo this? [y/N] ")
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return withCode(exitFailed, errors.New("not done: nothing was changed"))
	}
}

func (a *app) tellMended(f doctor.Finding, p plan.Plan, o doctorOptions) error {
	if o.json {
		return planJSON(a.out, p, nil, nil)
	}
	fmt.Fprintf(a.err, "mended: %s is gone\n", f.Name())
	if undo := p.Undoing(); len(undo) > 0 {
		fmt.Fprintln(a.err, "to take it back:")
		for _, c := range undo {
			fmt.Fprintln(a.err, "  $", c)
		}
	}
	return nil
}

// cure is the probe of a mend: afterwards the finding must be gone, and all that answered
// before must answer still.
type cure struct {
	app     *app
	session *session
	finding doctor.Finding
	first   doctor.Host
	also    apply.Probes // nil: no way of the host's moves
}

func (c *cure) Choose(ctx context.Context, before model.Snapshot) error {
	if c.also == nil {
		return nil
	}
	return c.also.Choose(ctx, before)
}

// gonePatience bounds the wait for a finding to go: linkwatch, duplicate address detection
// and a protocol's timers take their time.
const gonePatience = 5 * time.Second

func (c *cure) Judge(ctx context.Context, after model.Snapshot) error {
	if c.also != nil {
		if err := c.also.Judge(ctx, after); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, gonePatience)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause *= 2 {
		h, err := c.app.askAgain(ctx, c.session, c.first)
		if err != nil {
			return err
		}
		still, is := doctor.Examine(h).Still(c.finding)
		if !is {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still there: %s", still.Name(), still.What)
		case <-time.After(pause):
		}
	}
}
