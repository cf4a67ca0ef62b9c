package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"drawbridge/internal/lab"
	"drawbridge/internal/lab/demo"
)

func newLabDemoCommand() *cobra.Command {
	o := demo.Options{Stdout: os.Stdout, Stderr: os.Stderr}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See a virtual machine become a host of a LAN, step by step",
		Long: `Walks a real User-Mode Linux onto the LAN of a lab of its own, in six states, each drawn
from the live host: the host alone, on its LAN, a machine with a dangling cable, cabled,
a bridge, bridged. It runs the commands that you would run. At the end seven checks say
what was reached, with figures; the story page and the pictures are in a folder. Takes
about 15 seconds, needs no rights, and leaves nothing else behind.

Exit codes: 0 all was shown; 1 something failed, and the last line says what; 2 bad usage.`,
		Example: `  drawbridge lab demo
  drawbridge lab demo --json --out pictures
  drawbridge lab demo --vmm namespace      # without a kernel of its own`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.VMM != "" && o.VMM != "uml" && o.VMM != "namespace" {
				return withCode(exitUsage, fmt.Errorf("--vmm %s: uml or namespace", o.VMM))
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Out, "out", "drawbridge-demo", "`DIR` for the story page and the pictures")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print the facts as one object; the rest goes to standard error")
	cmd.Flags().StringVar(&o.VMM, "vmm", "", "uml or namespace; uml where it is installed")
	return cmd
}

// newLabGuestCommand asks a machine of this namespace for one thing, as JSON.
func newLabGuestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: demo.GuestCommand + " MACHINE ping|get TARGET", Hidden: true, Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			defer s.close()
			answer, err := askGuest(cmd.Context(), s, args[0], args[1], args[2])
			if err != nil {
				return err
			}
			return json.NewEncoder(a.out).Encode(answer)
		},
	}
}

func askGuest(ctx context.Context, s *session, machine, question, target string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	switch question {
	case "ping":
		rtt, err := s.machines.Ping(ctx, machine, target)
		return lab.PingAnswer{MS: float64(rtt.Microseconds()) / 1000}, err
	case "get":
		code, body, err := s.machines.Get(ctx, machine, target)
		return lab.GetAnswer{Code: code, Body: body}, err
	default:
		return nil, withCode(exitUsage, fmt.Errorf("%s: ping or get", question))
	}
}
