package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drawbridge/internal/lab"
	"drawbridge/internal/lab/flow"
)

type labProbeOptions struct {
	name   string
	length time.Duration
	asJSON bool
}

func newLabProbeCommand(a *app) *cobra.Command {
	var o labProbeOptions
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Measure what the host's traffic loses while you change its network",
		Long: `Sends 1,000 probes a second to the host, from the neighbour and from behind the router,
over IPv4, IPv6 and TCP, until the time is over or Ctrl-C; then tells what was lost
and the longest silence. Change the host's network meanwhile, by hand or with 'up'.

Exit codes: 0 measured, whatever was lost; 1 a flow could not be measured; 2 bad usage.`,
		Example: `  drawbridge lab probe --for 10s
  drawbridge lab probe --for 10s --json & drawbridge lab exec host -- drawbridge up --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runLabProbe(cmd.Context(), o) },
	}
	labNameFlag(cmd, &o.name)
	cmd.Flags().DurationVar(&o.length, "for", 0, "end after this `TIME`; 0: at Ctrl-C")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print the results as JSON")
	return cmd
}

func (a *app) runLabProbe(ctx context.Context, o labProbeOptions) error {
	c, err := lab.Dial(o.name)
	if err != nil {
		return err
	}
	// The measuring is ended by Stop and not by ctx, which a Ctrl-C ends.
	m, err := c.Measure(context.WithoutCancel(ctx), lab.Targets())
	if err != nil {
		return err
	}
	fmt.Fprintln(a.err, "probing: 1,000 probes a second in each of four flows")
	var over <-chan time.Time
	if o.length > 0 {
		over = time.After(o.length)
	}
	select {
	case <-ctx.Done():
	case <-over:
	}
	results, err := m.Stop()
	if err != nil {
		return err
	}
	if o.asJSON {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(results)
	} else {
		err = printFlows(a, results)
	}
	var failed []error
	for _, r := range results {
		if r.Error != "" {
			failed = append(failed, fmt.Errorf("%s: %s", r.Name, r.Error))
		}
	}
	return errors.Join(append(failed, err)...)
}

func printFlows(a *app, results []flow.Result) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "FLOW\tSENT\tLOST\tLONGEST GAP\tOWN PAUSE\tMEDIAN RTT\t")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f ms\t%.1f ms\t%.2f ms\t\n", r.Name, r.Sent, r.Lost, r.LongestGapMS, r.SenderPauseMS, r.MedianRTTMS)
	}
	return w.Flush()
}
