package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drawbridge/internal/machine"
	"drawbridge/internal/model"
)

const machineExitCodes = `
Exit codes: 0 done; 1 failed, there is no such machine, or its VMM cannot do it; 2 bad usage.`

func newMachinePauseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME...",
		Short: "Stop machines' processors for a while; resume lets them go on",
		Long: `Stop machines' processors: they keep their memory, their taps and their addresses, and
answer nothing until they are resumed. A paused machine can be stopped.
` + machineExitCodes,
		Example: `  drawbridge machine pause web
  drawbridge machine resume web`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.eachMachine(names, func(m *machine.Manager, name string) error { return m.Pause(cmd.Context(), name) })
		},
	}
}

func newMachineResumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "resume NAME...",
		Short:   "Let paused machines go on",
		Long:    "Let machines go on that 'machine pause' has stopped.\n" + machineExitCodes,
		Example: `  drawbridge machine resume web`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.eachMachine(names, func(m *machine.Manager, name string) error { return m.Resume(cmd.Context(), name) })
		},
	}
}

func newMachineSysRqCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "sysrq NAME KEY",
		Short: "Press a key of a guest kernel's magic SysRq",
		Long: `Press a key of the guest kernel's magic SysRq, as the management console of a User-Mode
Linux lets one: for a guest that answers nothing else. Prints what the kernel says to it:
h tells the keys, t lists the tasks, m the memory, s writes the disks, o powers off.
` + machineExitCodes,
		Example: `  drawbridge machine sysrq web t`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachMachine(args[:1], func(m *machine.Manager, name string) error {
				text, err := m.SysRq(cmd.Context(), name, args[1])
				fmt.Fprint(a.out, text)
				return err
			})
		},
	}
}

// eachMachine does something with each of the named machines, and goes on after a
// failure; its error joins all of them.
func (a *app) eachMachine(names []string, do func(m *machine.Manager, name string) error) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	var failed []string
	for _, name := range names {
		if err := do(s.machines, name); err != nil {
			failed = append(failed, err.Error())
		}
	}
	if len(failed) > 0 {
		return withCode(exitFailed, fmt.Errorf("%s", strings.Join(failed, "\n")))
	}
	return nil
}

func newMachineInfoCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info NAME",
		Short: "What a machine is and runs: kernel, root, memory, NICs and their transports",
		Long: `Tell what a machine is: its VMM and state, the guest's kernel as the VMM tells it, what it
runs from and what becomes of what it writes, the memory that it may use and that it
uses of the host's, how often and why it was started again, and its NICs with the
transport by which each gets at its cable.

Exit codes: 0 told; 1 failed, there is no such machine; 2 bad usage.`,
		Example: `  drawbridge machine info web
  drawbridge machine info web --json | jq .memory_used`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			defer s.close()
			list, err := s.machines.List(cmd.Context())
			if err != nil {
				return err
			}
			for _, m := range list {
				if m.Name != args[0] {
					continue
				}
				info := machine.Info{}
				if m.Lives() {
					if info, err = s.machines.Info(cmd.Context(), m.Name); err != nil {
						return err
					}
				}
				about := machineInfo{Machine: m, Info: info, Ended: s.machines.Failure(m.Name)}
				if asJSON {
					e := json.NewEncoder(a.out)
					e.SetIndent("", "  ")
					return e.Encode(about)
				}
				return about.print(a.out)
			}
			return withCode(exitFailed, fmt.Errorf("machine %s: %w", args[0], model.ErrNotFound))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// machineInfo is a machine as a program reads it.
type machineInfo struct {
	model.Machine
	machine.Info
	// Ended is why it is not running any more.
	Ended string `json:"ended,omitempty"`
}

func (i machineInfo) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, text)
		}
	}
	row("name", "%s", i.Name)
	row("vmm", "%s", i.VMM)
	state := i.State
	if !i.Started.IsZero() {
		state += ", for " + time.Since(i.Started).Round(time.Second).String()
	}
	row("state", "%s", state)
	if i.PID != 0 {
		row("process", "%d", i.PID)
	}
	row("kernel", "%s", i.Version)
	if c := i.Config; c != nil {
		i.config(row)
	}
	if i.Used > 0 {
		row("uses", "%d MiB of the host's memory", i.Used>>20)
	}
	if i.Restarts > 0 {
		row("started again", "%s; before: %s", timesWord(i.Restarts), i.LastEnd)
	}
	for _, n := range i.NICs {
		cable := n.Link.String()
		switch {
		case cable == "":
			cable = "no cable"
		case n.Transport != "":
			cable += " (" + n.Transport + ")"
		}
		row(n.Name, "%s, %s", n.MAC, cable)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if i.Ended != "" {
		fmt.Fprintf(w, "\n%s\n", i.Ended)
	}
	return nil
}

func (i machineInfo) config(row func(name, format string, args ...any)) {
	c := i.Config
	if c.Memory > 0 {
		row("memory", "%d MiB", c.Memory>>20)
	}
	root := c.Root
	if c.Writes != "" && root != "" {
		root += ", writes: " + c.Writes
	}
	row("root", "%s", root)
	row("arguments", "%s", strings.Join(c.Args, " "))
	row("restart", "%s", c.Restart)
}

func timesWord(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
