package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
	"drawbridge/internal/probe"
	"drawbridge/internal/spec"

	"github.com/spf13/cobra"
)

const defaultFile = "drawbridge.yaml"

const exitCodesHelp = `
Exit codes: 0 done, or nothing to do; 1 failed and nothing is changed; 2 bad usage
or a bad file; 3 failed and rolled back; 4 failed and not wholly rolled back.`

// leastConfirm is the least time that a person has to confirm a change.
const leastConfirm = time.Second

type upOptions struct {
	file   string
	uplink string
	yes    bool
	json   bool
	// confirm is how long a person has to confirm; 0: no confirmation is asked.
	confirm time.Duration
	looks   looks
	// persist writes the files of the next boot once all is done and confirmed.
	persist bool
	// nextBoot: with persist, the manager takes nothing over now.
	nextBoot bool
	// wait is the patience with whoever brings the uplinks up, at boot.
	wait time.Duration
}

func newUpCommand(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up [FILE]",
		Short: "Bring this host to what the file wants, safely",
		Long: `Bring this host to what the file wants: bridges, taps, addresses, machines.

The plan is made and checked before anything is touched, carried out as one
transaction with an undo journal, and verified. Whatever fails, also Ctrl-C, rolls
the host back to what it was. Run again, it does only what has changed since.

Nothing is made permanent: a reboot is a way back as well. With --persist the next boot
brings it back, once all is done and confirmed, and the network manager takes it over as it
is: see 'drawbridge persist write'.
` + exitCodesHelp,
		Example: `  drawbridge up
  drawbridge up lab.yaml --uplink eth1 --yes
  drawbridge up --yes --confirm 60s    # then, from a new session: drawbridge confirm
  drawbridge up --yes --persist        # and after a reboot too
  drawbridge plan && drawbridge up --yes && drawbridge draw`,
		Args: fileArgument(&o.file),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("confirm") && o.confirm < leastConfirm {
				return withCode(exitUsage, fmt.Errorf("--confirm %s: nobody can confirm within less than %s\n  hint: --confirm 60s", o.confirm, leastConfirm))
			}
			if o.nextBoot && !o.persist {
				return withCode(exitUsage, errors.New("--next-boot: nothing is written for the next boot\n  hint: add --persist"))
			}
			return a.up(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.uplink, "uplink", "", "use the interface `IF` as the uplink of every network that has one")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "ask nothing")
	cmd.Flags().BoolVar(&o.json, "json", false, "print what was done as JSON")
	o.looks.flags(cmd)
	cmd.Flags().DurationVar(&o.wait, "wait", 0, "wait up to `TIME` until the uplink has addresses to move, as at boot")
	cmd.Flags().BoolVar(&o.persist, "persist", false, "keep it over a reboot: 'drawbridge persist write' when all is done and confirmed")
	cmd.Flags().BoolVar(&o.nextBoot, "next-boot", false, "with --persist: "+nextBootHelp)
	cmd.Flags().DurationVar(&o.confirm, "confirm", 0, "roll back unless 'drawbridge confirm' comes within `TIME`, from any session")
	return cmd
}

func newDownCommand(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Undo exactly what 'up' did",
		Long: `Undo exactly what 'up' did in this namespace: machines are stopped, taps and bridges
deleted, and the uplink gets its addresses and routes back, as lossless as it gave
them away. What somebody else added since is kept, and told.
` + exitCodesHelp,
		Example: `  drawbridge down
  drawbridge down --yes --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.down(cmd.Context(), o) },
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "ask nothing")
	cmd.Flags().BoolVar(&o.json, "json", false, "print what was done as JSON")
	return cmd
}

func newRecoverCommand(a *app) *cobra.Command {
	var asIs bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Finish what a crash interrupted: bring the host back",
		Long: `Roll back a change that was interrupted by a crash or a kill. Every command that
changes the host does this first by itself.

What cannot be rolled back (the uplink was unplugged for good, the journal was damaged)
stays in the way of every later change until it is mended, or given up with --as-is.
` + exitCodesHelp,
		Example: `  drawbridge recover
  drawbridge recover --as-is    # keep this host as it is now`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.recover(asIs) },
	}
	cmd.Flags().BoolVar(&asIs, "as-is", false, "undo nothing: take the host as it is, and forget the interrupted change")
	return cmd
}

// fileArgument takes at most one argument, the file; "-" is standard input.
func fileArgument(file *string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			*file = defaultFile
		case 1:
			*file = args[0]
		default:
			return withCode(exitUsage, fmt.Errorf("one file at most, not %d", len(args)))
		}
		return nil
	}
}

// readFile parses the file; all its errors come as one.
func (a *app) readFile(file, uplink string) (spec.Desired, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(a.in, 1<<20))
		file = "standard input"
	} else {
		data, err = os.ReadFile(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return spec.Desired{}, withCode(exitUsage, fmt.Errorf("%s: no such file\n  hint: name the file, or write one: drawbridge schema tells what may be in it", file))
	}
	if err != nil {
		return spec.Desired{}, withCode(exitUsage, err)
	}
	want, problems := spec.Parse(file, data)
	if err := problems.Err(); err != nil {
		return spec.Desired{}, withCode(exitUsage, err)
	}
	for _, d := range problems.Warnings() {
		fmt.Fprintln(a.err, d)
	}
	fileRelative(&want, file)
	if err := readSSHKeys(&want); err != nil {
		return spec.Desired{}, withCode(exitUsage, err)
	}
	if uplink != "" {
		for i := range want.Networks {
			if want.Networks[i].Uplink != "" {
				want.Networks[i].Uplink = uplink
			}
		}
	}
	return want, nil
}

// seldomGC: a change is over in a second, and its memory with it. Collecting it every 4 MB
// on the way was a twentieth of the time of a thousand taps; now it is every 20.
func seldomGC() { debug.SetGCPercent(400) }

func (a *app) up(ctx context.Context, o upOptions) error {
	seldomGC()
	want, err := a.readFile(o.file, o.uplink)
	if err != nil {
		return err
	}
	if o.wait > 0 {
		if err := a.waitForUplinks(ctx, want, o.wait); err != nil {
			return err
		}
	}
	if !o.persist {
		return a.change(ctx, want, o)
	}
	p := persistOptions{file: o.file, uplink: o.uplink, yes: true, nextBoot: o.nextBoot}
	if err := a.canPersist(ctx, p); err != nil {
		return err
	}
	if err := a.change(ctx, want, o); err != nil {
		return err
	}
	if err := a.persistWrite(ctx, p); err != nil {
		return withCode(exitHalfRolled, fmt.Errorf("the change is done, and a reboot takes it back: %w", err))
	}
	return nil
}

func (a *app) down(ctx context.Context, o upOptions) error {
	seldomGC()
	if err := a.change(ctx, spec.Desired{}, o); err != nil {
		return err
	}
	a.tellFilesStay()
	return nil
}

// change plans the way to what is wanted and goes it.
func (a *app) change(ctx context.Context, want spec.Desired, o upOptions) error {
	s, err := a.begin()
	if err != nil {
		return err
	}
	defer s.end()
	p, err := s.plan(ctx, want, o.looks)
	if err != nil {
		return err
	}
	ahead, err := a.lookAhead(ctx, s, p, o.looks)
	if err != nil {
		return fmt.Errorf("preflight: %w\n  nothing was changed", err)
	}
	if err := a.tellFindings(ahead.found, o); err != nil {
		return err
	}
	before, err := s.store.Owned()
	if err != nil {
		return err
	}
	leases, err := a.tryLeases(ctx, s, &p, before)
	if err != nil {
		return withCode(exitFailed, fmt.Errorf("this host is not ready for it:\n%w\n  nothing was changed", indent(err)))
	}
	if len(p.Steps) > 0 {
		if err := a.confirm(p, o); err != nil {
			return err
		}
	}
	t := a.transaction(s, o.json)
	t.StartGuard = func() (apply.Guard, error) { return a.startGuard(s) }
	t.Confirm = o.confirm
	asked := a.probes(s, p, want, ahead.facts.IsLogin, o.json)
	if asked != nil {
		t.Probes = asked.set
	}
	if err := a.handOverLeases(s, leases, len(p.Steps) > 0, func() error { return t.Run(ctx, p) }); err != nil {
		return failureCode(err)
	}
	if err := a.reportDone(p, ahead.found, asked, o); err != nil || o.confirm == 0 || len(p.Steps) == 0 {
		return err
	}
	return a.awaitConfirmation(ctx, s, before, o.confirm)
}

// known is what a plan begins with: the host with who manages it, and what of it is ours.
func (s *session) known(ctx context.Context) (model.Snapshot, plan.Owned, error) {
	now, err := s.snapshot(ctx, false)
	if err != nil {
		return now, plan.Owned{}, err
	}
	if err := s.tellManagers(ctx, now.Here()); err != nil {
		return now, plan.Owned{}, err
	}
	owned, err := s.store.Owned()
	return now, owned, err
}

func (s *session) plan(ctx context.Context, want spec.Desired, l looks) (plan.Plan, error) {
	now, owned, err := s.known(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	o := s.options(now.Here(), want)
	switch {
	case l.unasked:
		o.Unasked = map[string]bool{}
		for _, uplink := range plan.FreshUplinks(now, want, owned, o) {
			o.Unasked[uplink] = true
		}
	case !l.ignoreMACFilter:
		s.askUplinks(ctx, now, want, owned, &o)
	}
	p, err := plan.Diff(now, want, owned, o)
	for _, st := range p.Steps {
		err = errors.Join(err, s.machines.Ready(ctx, st.Do))
		p.Notes = append(p.Notes, s.machines.Notes(st.Do)...)
	}
	if err != nil {
		return p, withCode(exitFailed, fmt.Errorf("this host is not ready for it:\n%w\n  nothing was changed", indent(err)))
	}
	return p, nil
}

func indent(err error) error {
	return errors.New("  " + strings.ReplaceAll(err.Error(), "\n", "\n  "))
}

// confirm shows the plan and asks, unless told not to.
func (a *app) confirm(p plan.Plan, o upOptions) error {
	if o.yes {
		return nil
	}
	if !isTerminal(a.in) {
		return withCode(exitUsage, errors.New("this changes the host, and there is no terminal to ask on\n  hint: look at 'drawbridge plan', then give --yes"))
	}
	printPlan(a.err, p, plan.Modern, false)
	fmt.Fprintf(a.err, "\nDo this? [y/N] ")
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return withCode(exitFailed, errors.New("not done: nothing was changed"))
	}
}

// doneStep is a step as a program reads it.
type doneStep struct {
	Title    string           `json:"title"`
	Why      string           `json:"why"`
	Commands []string         `json:"commands"`
	Classic  []string         `json:"classic"`
	Do       model.Operations `json:"do"`
	Undo     model.Operations `json:"undo,omitempty"`
}

func planJSON(w io.Writer, p plan.Plan, found []preflight.Finding, asked *asked) error {
	out := struct {
		Steps    []doneStep          `json:"steps"`
		Notes    []string            `json:"notes,omitempty"`
		Findings []preflight.Finding `json:"findings,omitempty"`
		Probes   []probe.Result      `json:"probes,omitempty"`
	}{Steps: []doneStep{}, Notes: p.Notes, Findings: found, Probes: asked.all()}
	for _, st := range p.Steps {
		out.Steps = append(out.Steps, doneStep{st.Title, st.Why, st.Commands(plan.Modern), st.Commands(plan.Classic), model.Operations{st.Do}, st.Undo})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

func (a *app) reportDone(p plan.Plan, found []preflight.Finding, asked *asked, o upOptions) error {
	if o.json {
		return planJSON(a.out, p, found, asked)
	}
	for _, n := range p.Notes {
		fmt.Fprintln(a.err, "note:", n)
	}
	if len(p.Steps) == 0 {
		fmt.Fprintln(a.err, "nothing to do: everything is as wanted")
		return nil
	}
	fmt.Fprintf(a.err, "done: %s, verified%s\n", counted(len(p.Steps), "step"), asked)
	return nil
}

// tellFindings shows what was found beforehand; its error stops the change.
func (a *app) tellFindings(found []preflight.Finding, o upOptions) error {
	err := refusal(found)
	switch {
	case !o.json:
		printFindings(a.err, found)
	case err != nil:
		if err := planJSON(a.out, plan.Plan{}, found, nil); err != nil {
			return err
		}
	}
	return err
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) recover(asIs bool) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.end()
	if err := s.store.Lock(); err != nil {
		return err
	}
	if asIs {
		dropped, err := s.store.DropJournal()
		switch {
		case err != nil:
			return err
		case dropped:
			fmt.Fprintln(a.err, "the interrupted change is forgotten: the host stays as it is")
		default:
			fmt.Fprintln(a.err, "nothing to recover: no change was interrupted here")
		}
		return nil
	}
	undone, err := a.bringBack(s)
	if err != nil {
		return failureCode(err)
	}
	left, err := a.takeAwayLeftOver(s)
	if err != nil {
		return err
	}
	if len(undone) == 0 {
		if left == 0 {
			fmt.Fprintln(a.err, "nothing to recover: no change was interrupted here")
		}
		return nil
	}
	for _, title := range undone {
		fmt.Fprintln(a.err, "  undone:", title)
	}
	fmt.Fprintln(a.err, "recovered: the host is as before")
	return nil
}
