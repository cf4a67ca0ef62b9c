package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"drawbridge/internal/machine"
	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/namespace"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

func newMachineCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "machine",
		Short: "Virtual machines: start, stop, list, console, plug, unplug",
		Long: `The virtual machines of this namespace. A machine runs in the background, in a session
of its own, until it is stopped: neither a lost login nor Ctrl-C ends it.`,
		Example: `  drawbridge machine list
  drawbridge machine console web
  drawbridge machine unplug web eth1`,
	}
	cmd.AddCommand(newMachineStartCommand(a), newMachineStopCommand(a), newMachineListCommand(a), newMachineInfoCommand(a), newMachineConsoleCommand(a),
		newMachinePlugCommand(a), newMachineUnplugCommand(a), newMachinePauseCommand(a), newMachineResumeCommand(a), newMachineSysRqCommand(a))
	return cmd
}

func newMachineListCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "The machines, their NICs and addresses",
		Long: `List the machines with their NICs: the MAC, the host's link at the other end of the
cable, and the addresses as the guest itself tells them. A NIC that is declared only has
no cable yet. A machine that ended by itself is listed with the reason until it is
stopped or started again.

Exit codes: 0 done, also when there is none; 1 failed; 2 bad usage.`,
		Example: `  drawbridge machine list
  drawbridge machine list --json | jq '.[].nics'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			defer s.close()
			list, err := s.machines.List(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printMachinesJSON(a.out, list)
			}
			return printMachines(a.out, list, s.machines.Failure)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of machines as JSON")
	return cmd
}

func printMachinesJSON(w io.Writer, list []model.Machine) error {
	if list == nil {
		list = []model.Machine{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(list)
}

func printMachines(w io.Writer, list []model.Machine, why func(string) string) error {
	if len(list) == 0 {
		fmt.Fprintln(w, "no machines here")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tVMM\tSTATE\tPID\tNIC\tMAC\tCABLE\tADDRESSES")
	for _, m := range list {
		pid := ""
		if m.PID != 0 {
			pid = fmt.Sprint(m.PID)
		}
		head := fmt.Sprintf("%s\t%s\t%s\t%s", m.Name, vmmText(m.VMM, m.Accel), m.State, pid)
		if len(m.NICs) == 0 {
			fmt.Fprintf(t, "%s\t\t\t\t\n", head)
		}
		for _, nic := range m.NICs {
			cable := nic.Link.String()
			if cable == "" {
				cable = "none"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", head, nic.Name, nic.MAC, cable, insideAddresses(m, nic.Name))
			head = "\t\t\t"
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range list {
		if reason := why(m.Name); reason != "" {
			fmt.Fprintf(w, "\n%s: %s\n", m.Name, reason)
		}
	}
	return nil
}

// vmmText is a machine's VMM, and what carries out its instructions where that is a question.
func vmmText(vmm, accel string) string {
	if accel == "" {
		return vmm
	}
	return vmm + " (" + accel + ")"
}

func insideAddresses(m model.Machine, nic string) string {
	if m.Inside == nil {
		return ""
	}
	addresses := slices.DeleteFunc(m.Inside.AddressesOf(nic), func(x model.Address) bool { return x.Origin == model.LinkLocal })
	return model.SplitAddresses(addresses)
}

func newMachineConsoleCommand(a *app) *cobra.Command {
	var log bool
	cmd := &cobra.Command{
		Use:   "console NAME",
		Short: "Use a machine's console; Ctrl-] leaves it",
		Long: `Connect this terminal with a machine's console, beginning with what was last said there.
Ctrl-] leaves it; the machine runs on. ` + "`help`" + ` in the machine tells what can be asked.
Without a terminal, commands are read from standard input.

All that a console says is kept, 1 MiB at most (then the older half goes): --log prints
it, also of a machine that has ended by itself.

Exit codes: 0 left, or the machine ended; 1 failed, there is no such machine; 2 bad usage.`,
		Example: `  drawbridge machine console web
  echo addresses | drawbridge machine console web
  drawbridge machine console --log web | tail`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			defer s.close()
			if log {
				return s.machines.WriteLog(a.out, args[0])
			}
			return a.attach(cmd.Context(), s.machines, args[0])
		},
	}
	cmd.Flags().BoolVar(&log, "log", false, "print what the console has said, and do not connect")
	return cmd
}

// attach puts the terminal, where it is one, into raw mode for the time.
func (a *app) attach(ctx context.Context, machines *machine.Manager, name string) error {
	if f, ok := a.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		old, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		defer func() {
			_ = term.Restore(int(f.Fd()), old)
			fmt.Fprintln(a.err)
		}()
		fmt.Fprintf(a.err, "%s; Ctrl-] leaves it\r\n", strings.TrimSpace("console of "+name))
	}
	return machines.Console(ctx, name, a.in, a.out)
}

// The rest is for this program's own use.
func newMachineShimCommand() *cobra.Command {
	return &cobra.Command{
		Use:    machine.ShimCommand + " DIR",
		Short:  "Run the machine of a folder (drawbridge's own)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return machine.RunShim(args[0]) },
	}
}

func newMachineGuestCommand() *cobra.Command {
	return &cobra.Command{
		Use:    namespace.GuestCommand,
		Short:  "Be a machine in a network namespace (drawbridge's own)",
		Hidden: true,
		Args:   noArguments,
		RunE:   func(cmd *cobra.Command, _ []string) error { return guest.Process(cmd.Context()) },
	}
}

func newMachineInitCommand() *cobra.Command {
	var i procs.Init
	cmd := &cobra.Command{
		Use:    procs.InitCommand + " [--read-only DIR] [--id NUMBER]... -- COMMAND...",
		Short:  "Be process 1 of a VMM's PID namespace (drawbridge's own)",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, argv []string) error {
			code, err := procs.RunInit(i, argv)
			if err != nil {
				return err
			}
			os.Exit(code) // the VMM's own
			return nil
		},
	}
	cmd.Flags().StringVar(&i.ReadOnly, "read-only", "", "let nothing below write to `DIR`")
	cmd.Flags().IntSliceVar(&i.IDs, "id", nil, "the `number` of the user whom it runs as, then its group's and further groups'")
	cmd.Flags().IntVar(&i.Files, "files", 3, "`how many` descriptors the command has")
	return cmd
}
