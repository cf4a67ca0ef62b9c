package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"drawbridge/internal/plan"

	"github.com/spf13/cobra"
)

type planOptions struct {
	file     string
	uplink   string
	classic  bool
	full     bool
	json     bool
	detailed bool
	looks    looks
}

func newPlanCommand(a *app) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "What 'up' would do, step by step",
		Long: `What 'up' would do on this host: each step with its reason and the command that a
person would type. Nothing is changed, and no rights are needed.

Exit codes: 0 also when there are changes; 1 this host is not ready for it, or it
would cut off a login; 2 bad usage or a bad file; with --detailed-exitcode 5 when
there are changes.`,
		Example: `  drawbridge plan
  drawbridge plan --classic        # the same in brctl and tunctl
  drawbridge plan --full           # also the rules that secure a port
  drawbridge plan lab.yaml --json`,
		Args: fileArgument(&o.file),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showPlan(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.uplink, "uplink", "", "use the interface `IF` as the uplink of every network that has one")
	cmd.Flags().BoolVar(&o.classic, "classic", false, "write the commands for brctl, tunctl, ifconfig and route")
	cmd.Flags().BoolVar(&o.full, "full", false, "show commands of many lines whole: the rules of port security")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the plan as JSON")
	o.looks.flags(cmd)
	cmd.Flags().BoolVar(&o.detailed, "detailed-exitcode", false, "exit with 5 when there are changes")
	return cmd
}

func (a *app) showPlan(ctx context.Context, o planOptions) error {
	want, err := a.readFile(o.file, o.uplink)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	p, err := s.plan(ctx, want, o.looks)
	if err != nil {
		return err
	}
	ahead, err := a.lookAhead(ctx, s, p, o.looks)
	if err != nil {
		return err
	}
	if o.json {
		if err := planJSON(a.out, p, ahead.found, nil); err != nil {
			return err
		}
	} else {
		style := plan.Modern
		if o.classic {
			style = plan.Classic
		}
		printPlan(a.out, p, style, o.full)
		printFindings(a.out, ahead.found)
	}
	if err := refusal(ahead.found); err != nil {
		return err
	}
	if o.detailed && len(p.Steps) > 0 {
		return withCode(exitPlanHasSteps, errors.New(""))
	}
	return nil
}

// printPlan writes a plan for a person.
func printPlan(w io.Writer, p plan.Plan, style plan.Style, full bool) {
	if len(p.Steps) == 0 {
		fmt.Fprintln(w, "nothing to do: everything is as wanted")
	}
	for i, st := range p.Steps {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%d. %s\n", i+1, st.Title)
		for _, line := range wrap(st.Why, 74) {
			fmt.Fprintln(w, "     "+line)
		}
		for _, c := range st.Commands(style) {
			first, rest, long := strings.Cut(c, "\n")
			fmt.Fprintln(w, "   $ "+first)
			switch {
			case !long:
			case full:
				fmt.Fprintln(w, "     "+strings.ReplaceAll(rest, "\n", "\n     "))
			default:
				fmt.Fprintf(w, "     ... %d lines: --full shows them\n", strings.Count(rest, "\n"))
			}
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

// wrap breaks a sentence into lines of at most width columns.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
