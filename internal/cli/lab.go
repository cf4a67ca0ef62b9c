package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"drawbridge/internal/lab"
)

// newLabCommand is "drawbridge lab": a pretend LAN with a pretend host in it.
func newLabCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A pretend LAN with a pretend host in it, to try everything without risk",
		Long: `A laboratory of network namespaces, in which the same drawbridge runs that runs on a
real host. It needs no rights: a user's lab lives in a user namespace.

  host       198.18.0.5/24, 2001:db8::5/64 on eth0: the machine to work on
  neighbour  198.18.0.20/24, 2001:db8::20/64
  lan        the switch that they are plugged into
  router     198.18.0.1/24, 2001:db8::1/64: DHCP (198.18.0.100-199), router advertisements, DNS
  far        198.18.1.2/24, 2001:db8:1::2/64: a server in a second subnet behind the router

Nothing of it touches the machine's own network, and nothing is left of it after
'lab down', Ctrl-C, or a kill -9.`,
		Example: `  drawbridge lab up
  drawbridge lab exec host -- drawbridge draw
  drawbridge lab exec neighbour -- ping -c1 198.18.0.5
  drawbridge lab down`,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.netns != "" {
				return withCode(exitUsage, errors.New("--netns: a lab has namespaces of its own\n  hint: drawbridge lab exec NAMESPACE -- drawbridge draw"))
			}
			return nil
		},
	}
	cmd.AddCommand(newLabUpCommand(a), newLabDownCommand(a), newLabListCommand(a), newLabExecCommand(a),
		newLabPlugCommand(a, true), newLabPlugCommand(a, false), newLabProbeCommand(a), newLabDemoCommand(), newLabGuestCommand(a))
	for _, stage := range lab.Stages() {
		cmd.AddCommand(newLabStageCommand(stage))
	}
	return cmd
}

// newLabStageCommand is a hidden command that a lab starts itself by.
func newLabStageCommand(stage string) *cobra.Command {
	return &cobra.Command{
		Use: stage, Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := lab.RunStage(stage, args); code != 0 {
				return withCode(code, errSilent)
			}
			return nil
		},
	}
}

// errSilent ends the program with a code and no words: they are said already.
var errSilent = errors.New("")

type labUpOptions struct {
	lab.Options
	foreground bool
	statusFD   int
}

func newLabUpCommand(a *app) *cobra.Command {
	var o labUpOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring a lab up",
		Long: `Brings a lab up and returns when its network is ready; the lab stays in the background
until 'lab down'. With --foreground it lasts until Ctrl-C.

Exit codes: 0 the lab is up; 1 it is not, and nothing is left of it; 2 bad usage.`,
		Example: `  drawbridge lab up
  drawbridge lab up --name second --lease-time 20s
  drawbridge lab up --foreground --unplugged
  drawbridge lab up --access-point    # bridging fails there; mode: routed does not`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runLabUp(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", lab.DefaultName, "`NAME` of the lab")
	f.BoolVar(&o.foreground, "foreground", false, "stay, and end the lab with Ctrl-C")
	f.BoolVar(&o.Unplugged, "unplugged", false, "begin with the host's uplink pulled out")
	f.BoolVar(&o.AccessPoint, "access-point", false, "the switch drops what comes from the host by another MAC address than its uplink's, as a Wi-Fi access point does")
	f.DurationVar(&o.LeaseTime, "lease-time", time.Hour, "`TIME` that a DHCP lease lasts, 2s or more")
	f.DurationVar(&o.AdvertInterval, "ra-interval", 10*time.Second, "`TIME` between unasked router advertisements, 1s or more")
	f.DurationVar(&o.AdvertLifetime, "ra-lifetime", 30*time.Minute, "`TIME` that what they give lasts, three intervals or more")
	f.BoolVar(&o.HostAcceptsRA, "host-ra", false, "the host also takes an address and a route from router advertisements")
	f.IntVar(&o.statusFD, "status-fd", 0, "")
	_ = f.MarkHidden("status-fd")
	return cmd
}

func (a *app) runLabUp(ctx context.Context, o labUpOptions) error {
	if err := lab.CheckName(o.Name); err != nil {
		return withCode(exitUsage, err)
	}
	if !o.foreground {
		if err := lab.StartDetached(ctx, o.Options); err != nil {
			return err
		}
		fmt.Fprint(a.out, labUpText(o.Name))
		return nil
	}
	l, err := lab.Start(ctx, o.Options)
	lab.ReportStatus(o.statusFD, err)
	if err != nil {
		return err
	}
	if o.statusFD == 0 {
		fmt.Fprint(a.out, labUpText(o.Name), "Ctrl-C takes it down.\n")
	}
	select {
	case <-ctx.Done():
	case <-l.Done():
	}
	return l.Stop()
}

func labUpText(name string) string {
	flag := ""
	if name != lab.DefaultName {
		flag = " --name " + name
	}
	return fmt.Sprintf(`lab %q is up: host, neighbour, lan, router, far.
  drawbridge lab exec%[2]s host -- drawbridge draw
  drawbridge lab exec%[2]s host               a shell on the host
  drawbridge lab down%[2]s
`, name, flag)
}

func newLabDownCommand(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take a lab down, with everything that runs in it",
		Long: `Takes a lab down and returns when nothing is left of it.

Exit codes: 0 it is gone; 1 there was no such lab; 2 bad usage.`,
		Example: "  drawbridge lab down\n  drawbridge lab down --name second",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Dial(name)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 15*time.Second)
			defer cancel()
			if err := c.Stop(ctx); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "lab %q is gone.\n", c.Name())
			return nil
		},
	}
	labNameFlag(cmd, &name)
	return cmd
}

func labNameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", "", "`NAME` of the lab; without it the one called lab, else the only one")
	_ = cmd.RegisterFlagCompletionFunc("name", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, _ := lab.Names()
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func newLabListCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the labs that are up",
		Long: `Lists your labs that are up, with the addresses that their DHCP servers gave away.

Exit codes: 0 done (also: there are none); 1 a lab did not answer; 2 bad usage.`,
		Example: "  drawbridge lab list\n  drawbridge lab list --json",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return a.runLabList(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of objects")
	return cmd
}

func (a *app) runLabList(asJSON bool) error {
	names, err := lab.Names()
	if err != nil {
		return err
	}
	infos := []lab.Info{}
	for _, name := range names {
		c, err := lab.Dial(name)
		if errors.Is(err, lab.ErrNone) {
			continue // went down since
		}
		if err != nil {
			return err
		}
		info, err := c.Info()
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	if asJSON {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(infos)
	}
	if len(infos) == 0 {
		fmt.Fprintln(a.err, "no lab is up (drawbridge lab up)")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPID\tUP FOR\tRIGHTS\tUPLINK\tCOMMANDS\tLEASES")
	for _, i := range infos {
		var leases []string
		for _, l := range i.Leases {
			leases = append(leases, l.Address.String())
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%d\t%s\n", i.Name, i.PID, time.Since(i.Since).Round(time.Second),
			labWord(i.Root, "root", "user"), labWord(i.Plugged, "plugged", "pulled out"), i.Commands, strings.Join(leases, " "))
	}
	return w.Flush()
}

func labWord(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

func newLabExecCommand(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "exec [flags] NAMESPACE [--] [COMMAND [ARGUMENT...]]",
		Short: "Run a command in a namespace of a lab",
		Long: `Runs a command, by default your shell, in a namespace of a lab: host, neighbour, lan,
router or far. It has your terminal, signals and working folder; /run and /proc are the
lab's, so that 'ip netns' and --netns know the lab's namespaces, and 'drawbridge' is
this very program. When you disconnect it gets a SIGHUP, and is killed 2 s later.

Exit codes: the command's own; 128+N if signal N ended it; 125 the namespace cannot be
entered; 126 the command cannot be run; 127 there is no such command; 1 no such lab; 2 bad usage.`,
		Example: `  drawbridge lab exec host -- drawbridge draw
  drawbridge lab exec host -- drawbridge --netns router draw
  drawbridge lab exec --name second neighbour ping -c1 198.18.0.5
  drawbridge lab exec router`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return withCode(exitUsage, errors.New("lab exec: which namespace? host, neighbour, lan, router or far\nHint: drawbridge lab exec host -- drawbridge draw"))
			}
			return nil
		},
		ValidArgs: []string{"host", "neighbour", "lan", "router", "far"},
		RunE: func(_ *cobra.Command, args []string) error {
			// The command decides what a Ctrl-C means: our own context is not used.
			return a.runLabExec(context.Background(), name, args[0], args[1:])
		},
	}
	labNameFlag(cmd, &name)
	// The command's own flags are the command's, also without "--".
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (a *app) runLabExec(ctx context.Context, name, namespace string, args []string) error {
	c, err := lab.Dial(name)
	if err != nil {
		return err
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"/bin/sh"}
		if sh := os.Getenv("SHELL"); sh != "" {
			args[0] = sh
		}
	}
	code, err := c.Run(ctx, lab.Command{
		Namespace: namespace, Args: args,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Forward: []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2},
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return withCode(code, errSilent)
	}
	return nil
}

func newLabPlugCommand(a *app, plugged bool) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   labWord(plugged, "plug", "unplug"),
		Short: labWord(plugged, "Plug the host's uplink into the LAN", "Pull the host's uplink out of the LAN"),
		Long: labWord(plugged, "Plugs the cable of the host's eth0 into the switch again.",
			"Pulls the cable of the host's eth0 out of the switch: eth0 loses its carrier.") +
			"\n\nExit codes: 0 done (also: it was so already); 1 failed; 2 bad usage.",
		Example: labWord(plugged, "  drawbridge lab plug", "  drawbridge lab unplug"),
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			c, err := lab.Dial(name)
			if err != nil {
				return err
			}
			if err := c.SetUplink(plugged); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "lab %q: the host's eth0 is %s.\n", c.Name(), labWord(plugged, "plugged in", "pulled out"))
			return nil
		},
	}
	labNameFlag(cmd, &name)
	return cmd
}
