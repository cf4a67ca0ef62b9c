package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"drawbridge/internal/doctor"

	"github.com/spf13/cobra"
)

type doctorOptions struct {
	json    bool
	fix     string
	yes     bool
	explain string
	listen  time.Duration
	from    string
	ssh     string
}

func newDoctorCommand(a *app) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "What is wrong with this host's network, and what mends it",
		Long: `Looks for what users of bridged machines run into, in this namespace: each finding with
what is wrong, how it shows, the facts that say so, how sure that is, and the mend. A
finding is broken (it does not work now), a risk (it works until something happens that
will) or a note (nothing is wrong). Nothing is changed.

--fix mends one finding as a transaction, as 'up' does: with an undo journal, a guard, and
a look whether the finding is gone; if it is not, everything is rolled back. It tells how
to take the mend back. 'down' does not: it undoes what 'up' did.

--listen hears what is on the wire for a time, as root: a second DHCP server, an address at
two hosts; within 35s also what the switch says. With --from and --ssh another machine is
looked at, by what can be seen from afar. All checks: docs/doctor.md, or --explain all.

Exit codes: 0 nothing is wrong (there may be notes), or mended; 1 failed and nothing is
changed; 2 bad usage; 3 the mend failed and was rolled back; 4 and could not be rolled
back wholly; ` + strconv.Itoa(exitFindings) + ` something is wrong.`,
		Example: `  drawbridge doctor
  sudo drawbridge doctor --listen 35s
  sudo drawbridge doctor --fix 1
  sudo drawbridge doctor --fix bridge-stp:br0 --yes
  drawbridge doctor --explain bridge-stp
  drawbridge doctor --ssh admin@host
  drawbridge doctor --json | jq -r '.findings[] | select(.severity == "broken") | .what'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print it as JSON")
	cmd.Flags().StringVar(&o.fix, "fix", "", "mend the finding `N`: its number, or CHECK:OBJECT, or CHECK where there is one of it")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "ask nothing before a mend")
	cmd.Flags().StringVar(&o.explain, "explain", "", "explain the check `ID`: how it shows, how we know, what mends it; or all")
	cmd.Flags().DurationVar(&o.listen, "listen", 0, "listen on the bridges for a `TIME` first")
	cmd.Flags().StringVar(&o.from, "from", "", "look at what `FILE` holds (a folder, a tar, a saved picture, - for the standard input)")
	cmd.Flags().StringVar(&o.ssh, "ssh", "", "look at the machine `USER@HOST`, by one connection of ssh")
	cmd.MarkFlagsMutuallyExclusive("from", "ssh", "fix", "explain")
	for _, far := range []string{"from", "ssh"} {
		cmd.MarkFlagsMutuallyExclusive(far, "listen")
	}
	_ = cmd.RegisterFlagCompletionFunc("explain", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var ids []string
		for _, c := range doctor.Checks() {
			ids = append(ids, c.ID+"\t"+c.Title)
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func (a *app) doctor(ctx context.Context, o doctorOptions) error {
	switch {
	case o.explain != "":
		return a.explain(o.explain)
	case o.listen < 0:
		return withCode(exitUsage, fmt.Errorf("--listen %s: nothing is heard in less than no time\n  hint: --listen 5s", o.listen))
	case o.fix != "":
		return a.mend(ctx, o)
	}
	h, err := a.patient(ctx, o)
	if err != nil {
		return err
	}
	r := doctor.Examine(h)
	if o.json {
		err = doctorJSON(a.out, r)
	} else {
		printReport(a.out, r, width(a.out), o.from+o.ssh == "")
	}
	if err == nil && r.Wrong() > 0 {
		return withCode(exitFindings, errors.New(""))
	}
	return err
}

// patient is the host that is to be looked at.
func (a *app) patient(ctx context.Context, o doctorOptions) (h doctor.Host, err error) {
	switch {
	case o.from != "":
		h.Snapshot, err = a.load(o.from)
	case o.ssh != "":
		h.Snapshot, err = a.collect(ctx, o.ssh, false)
	default:
		s, err := a.open()
		if err != nil {
			return h, err
		}
		defer s.close()
		return a.ask(ctx, s, o.listen)
	}
	h.Facts.Unknown = doctor.FromAfar()
	return h, err
}

// finding as a program reads it.
type numbered struct {
	Number int `json:"n"`
	doctor.Finding
	// Fixable: --fix mends it.
	Fixable bool `json:"fixable"`
}

func doctorJSON(w io.Writer, r doctor.Report) error {
	out := struct {
		Version   int                `json:"version"`
		Wrong     int                `json:"wrong"`
		Findings  []numbered         `json:"findings"`
		Checked   []string           `json:"checked"`
		Unchecked []doctor.Unchecked `json:"unchecked,omitempty"`
	}{Version: 1, Wrong: r.Wrong(), Findings: []numbered{}, Checked: r.Checked, Unchecked: r.Unchecked}
	for i, f := range r.Findings {
		out.Findings = append(out.Findings, numbered{i + 1, f, f.Mend.Fixable()})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

func (a *app) explain(id string) error {
	if id == "all" {
		for i, c := range doctor.Checks() {
			if i > 0 {
				fmt.Fprintln(a.out)
			}
			printCheck(a.out, c, width(a.out))
		}
		return nil
	}
	c, ok := doctor.Explain(id)
	if !ok {
		return withCode(exitUsage, fmt.Errorf("--explain %s: there is no such check\n  hint: %s", id, nearChecks(id)))
	}
	printCheck(a.out, c, width(a.out))
	return nil
}

// nearChecks names the checks whose id shares a word with what was asked for, all of them
// where none does.
func nearChecks(id string) string {
	var near, all []string
	for _, c := range doctor.Checks() {
		all = append(all, c.ID)
		if slices.ContainsFunc(strings.Split(id, "-"), func(word string) bool { return len(word) > 2 && strings.Contains(c.ID, word) }) {
			near = append(near, c.ID)
		}
	}
	if len(near) == 0 {
		near = all
	}
	return "there are " + strings.Join(near, ", ")
}
