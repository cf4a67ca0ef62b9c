package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"drawbridge/internal/apply"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/spec"

	"github.com/spf13/cobra"
)

func newTapCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tap",
		Short: "Taps for virtual machines that something else starts",
		Long: `A tap is the host's end of a VM's cable. Its owner plugs a VM into it without being
root: QEMU, a User-Mode Linux, Firecracker, whatever can open a tap.

Taps that are always wanted belong into the file (taps:). Those added here stand beside
it: 'up' leaves them alone for as long as their network is there, and 'down' deletes
them with everything else.`,
		Example: `  drawbridge tap add --owner alice --network lan
  drawbridge tap list
  drawbridge tap del tap7`,
	}
	cmd.AddCommand(newTapAddCommand(a), newTapDelCommand(a), newTapListCommand(a))
	return cmd
}

type tapAddOptions struct {
	plan.NewTap
	host     string
	mac      string
	security string
	from     []string
	json     bool
}

// port is the security that was asked for, nil for none.
func (o tapAddOptions) port() (*model.PortSecurity, error) {
	from, err := plan.ParseSources(o.from)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--from %w", err)
	case len(o.from) > 0 && o.security != model.SecurityStrict:
		return nil, errors.New("--from is looked at with --security strict")
	case !slices.Contains([]string{model.SecurityStrict, model.SecurityMAC, model.SecurityOff}, o.security):
		return nil, fmt.Errorf("--security %s: strict, mac or off", o.security)
	}
	return from.Port(o.Name, o.security, ""), nil
}

func newTapAddCommand(a *app) *cobra.Command {
	var o tapAddOptions
	cmd := &cobra.Command{
		Use:   "add [NAME]",
		Short: "Make a tap, and tell how each VMM is plugged into it",
		Long: `Make a tap that its owner may open, plug it into a network, and print the line with
which each VMM takes it. Without a name it is the first tapN that is free. Without
a network it is a plain one, whose host end stays in the host's stack.
` + exitCodesHelp,
		Example: `  drawbridge tap add --owner alice --network lan
  drawbridge tap add --owner 1000 --network br0 web-tap
  drawbridge tap add --owner alice --network lan --security strict --from dhcp
  drawbridge tap add --owner alice --host 198.18.9.1/30     # plain: host and VM only
  drawbridge tap add --owner alice --network lan --json | jq -r '.lines[] | select(.vmm == "QEMU").line'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return withCode(exitUsage, fmt.Errorf("one tap at a time, not %d", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Name = args[0]
			}
			return a.tapAdd(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Owner, "owner", "", "the `USER` who may open it, by name or number; without: root alone")
	cmd.Flags().StringVar(&o.Group, "group", "", "the `GROUP` whose members may open it")
	cmd.Flags().StringVar(&o.Network, "network", "", "the network of the file, or the bridge, that it is plugged into: `NET`")
	cmd.Flags().StringVar(&o.host, "host", "", "the host's `ADDRESS` on a plain tap, with its prefix length")
	cmd.Flags().StringVar(&o.mac, "mac", "", "the `MAC` of the VM's NIC; without: one is chosen, the same for the same name")
	cmd.Flags().StringVar(&o.security, "security", model.SecurityOff, "what the VM may send: `LEVEL` strict (as itself only), mac (from its MAC address only) or off")
	cmd.Flags().StringArrayVar(&o.from, "from", nil, "with strict, an `ADDRESS` or subnet that the VM may send from, or dhcp: what a server gives it; without: any")
	cmd.Flags().BoolVar(&o.MultiQueue, "multi-queue", false, "make it for a VMM that opens several queues, and then for such a one only")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the tap and the lines as JSON")
	return cmd
}

// addedTap is a new tap as a program reads it.
type addedTap struct {
	Tap     string    `json:"tap"`
	Network string    `json:"network,omitempty"`
	Bridge  string    `json:"bridge,omitempty"`
	Owner   string    `json:"owner,omitempty"`
	Group   string    `json:"group,omitempty"`
	MAC     model.MAC `json:"mac"` // of the VM's NIC
	Lines   []vmmLine `json:"lines"`
}

func (a *app) tapAdd(ctx context.Context, o tapAddOptions) error {
	tap := o.NewTap
	tap.Added = plan.AddedTap{By: plan.ByCommand, MAC: model.MAC(strings.ToLower(o.mac))}
	if o.mac != "" && !tap.Added.MAC.Unicast() {
		return withCode(exitUsage, fmt.Errorf("--mac %s: not the address of a NIC\n  hint: six octets, the first of them even: 02:11:22:33:44:55", o.mac))
	}
	var err error
	if tap.Security, err = o.port(); err != nil {
		return withCode(exitUsage, err)
	}
	if o.host != "" {
		p, err := netip.ParsePrefix(o.host)
		if err != nil {
			return withCode(exitUsage, fmt.Errorf("--host %s: not an address with its prefix length\n  hint: --host 198.18.9.1/30", o.host))
		}
		tap.Host = []netip.Prefix{p}
	}
	s, err := a.begin()
	if err != nil {
		return err
	}
	defer s.end()
	p, err := s.planBeside(ctx, func(now model.Snapshot, own plan.Owned) (plan.Plan, error) {
		return plan.AddTap(now, tap, own, s.options(now.Here(), spec.Desired{Taps: []spec.Tap{{Owner: o.Owner, Group: o.Group}}}))
	})
	if err != nil {
		return err
	}
	if err := a.carryOut(ctx, s, p, o.json); err != nil {
		return err
	}
	made := p.Owned.Links[len(p.Owned.Links)-1]
	out := addedTap{Tap: made.Name, Network: o.Network, Owner: o.Owner, Group: o.Group, MAC: made.Added.MAC, Lines: tapLines(made.Name, made.Added.MAC, o.MultiQueue)}
	if after, err := p.After(); err == nil {
		out.Bridge = after.Here().Link(made.Name).Master
	}
	if o.json {
		return printJSON(a.out, out)
	}
	return a.tellAdded(out)
}

func (a *app) tellAdded(t addedTap) error {
	who := "root"
	switch {
	case t.Owner != "" && t.Group != "":
		who = t.Owner + " and group " + t.Group
	case t.Owner != "":
		who = t.Owner
	case t.Group != "":
		who = "group " + t.Group
	}
	where := "a plain one"
	if t.Bridge != "" {
		where = "in " + t.Bridge
	}
	fmt.Fprintf(a.out, "%s, %s, may be opened by %s. The VM's NIC is %s. For each VMM:\n\n", t.Tap, where, who, t.MAC)
	for _, l := range t.Lines {
		fmt.Fprintf(a.out, "# %s\n%s\n", l.VMM, l.Line)
	}
	return nil
}

// planBeside makes a plan that the file has no part in.
func (s *session) planBeside(ctx context.Context, propose func(model.Snapshot, plan.Owned) (plan.Plan, error)) (plan.Plan, error) {
	now, err := s.snapshot(ctx, false)
	if err != nil {
		return plan.Plan{}, err
	}
	own, err := s.store.Owned()
	if err != nil {
		return plan.Plan{}, err
	}
	p, err := propose(now, own)
	if err != nil {
		return p, withCode(exitFailed, fmt.Errorf("not done:\n%w\n  nothing was changed", indent(err)))
	}
	return p, nil
}

// carryOut goes a plan that touches no uplink: guarded, and without probes.
func (a *app) carryOut(ctx context.Context, s *session, p plan.Plan, quiet bool) error {
	t := a.transaction(s, quiet)
	t.StartGuard = func() (apply.Guard, error) { return a.startGuard(s) }
	err := failureCode(t.Run(ctx, p))
	for _, n := range p.Notes {
		fmt.Fprintln(a.err, "note:", n)
	}
	return err
}

func newTapDelCommand(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "del NAME...",
		Short: "Delete taps of ours",
		Long: `Delete taps that drawbridge made, all of them or none. A tap of the file, and one that
a VM has open, is deleted with --force only. One that is not ours never is.
` + exitCodesHelp,
		Example: `  drawbridge tap del tap7
  drawbridge tap del --force tap8     # pulls the cable out of the VM`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return withCode(exitUsage, fmt.Errorf("which tap?\n  hint: drawbridge tap list"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error { return a.tapDel(cmd.Context(), names, force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "also one of the file, or one that a VM has open")
	return cmd
}

func (a *app) tapDel(ctx context.Context, names []string, force bool) error {
	s, err := a.begin()
	if err != nil {
		return err
	}
	defer s.end()
	p, err := s.planBeside(ctx, func(now model.Snapshot, own plan.Owned) (plan.Plan, error) {
		return plan.DropTaps(now, names, force, own, s.options(now.Here(), spec.Desired{}))
	})
	if err != nil {
		return err
	}
	return a.carryOut(ctx, s, p, false)
}

func newTapListCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "The taps here: whose they are, where they are plugged in, who has them open",
		Long: `List the taps of this namespace. FROM tells who made a tap: the file, 'tap add'
(command), the broker, or somebody else (-). HELD BY is the VM or process at the other
end of the cable, as far as it may be looked at.

Exit codes: 0 told, also when there is none; 1 failed.`,
		Example: `  drawbridge tap list
  drawbridge tap list --json | jq -r '.[] | select(.held_by == null).tap'   # the free ones`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tapList(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of taps as JSON")
	return cmd
}

// listedTap is a tap as a program reads it.
type listedTap struct {
	Tap     string    `json:"tap"`
	From    string    `json:"from,omitempty"` // file, command, broker; "" for a stranger's
	Network string    `json:"network,omitempty"`
	Bridge  string    `json:"bridge,omitempty"`
	Owner   string    `json:"owner,omitempty"`
	MAC     model.MAC `json:"mac,omitempty"` // that the VM's NIC is to have
	HeldBy  *holding  `json:"held_by,omitempty"`
	// Plugged: somebody has it open, whether that one may be looked at or not.
	Plugged bool `json:"plugged"`
}

type holding struct {
	Machine string `json:"machine,omitempty"`
	Command string `json:"command"`
	PID     int    `json:"pid"`
}

func (h *holding) String() string {
	if h.Machine != "" {
		return fmt.Sprintf("%s (%s, pid %d)", h.Machine, h.Command, h.PID)
	}
	return fmt.Sprintf("%s (pid %d)", h.Command, h.PID)
}

func listTaps(snap model.Snapshot, owned plan.Owned) []listedTap {
	out := []listedTap{}
	w := model.Wire(snap)
	for _, l := range snap.Here().Links {
		if l.Kind != model.TapKind {
			continue
		}
		t := listedTap{Tap: l.Name, Bridge: l.Master, Plugged: l.Carrier}
		for _, n := range owned.Networks {
			if n.Bridge == l.Master {
				t.Network = n.Name
			}
		}
		if own := owned.Link(l); own != nil {
			t.From = "file"
			if own.Added != nil {
				t.From, t.MAC = own.Added.By, own.Added.MAC
			}
		}
		if itf := w.Interface("host/" + l.Name); itf != nil {
			t.Owner = itf.Owner
		}
		if len(l.Tap.Holders) > 0 {
			h := l.Tap.Holders[0]
			t.HeldBy = &holding{Machine: machineAt(w, "host/"+l.Name), Command: h.Command, PID: h.PID}
			if t.HeldBy.Machine == h.Command {
				t.HeldBy.Machine = ""
			}
		}
		out = append(out, t)
	}
	return out
}

func (a *app) tapList(ctx context.Context, asJSON bool) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	snap, err := s.snapshot(ctx, false)
	if err != nil {
		return err
	}
	owned, err := s.store.Owned()
	if err != nil {
		return err
	}
	list := listTaps(snap, owned)
	if asJSON {
		return printJSON(a.out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.out, "no taps here")
		return nil
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TAP\tFROM\tNETWORK\tOWNER\tVM'S MAC\tHELD BY")
	for _, l := range list {
		network, holder := l.Bridge, "-"
		if l.Network != "" && l.Network != l.Bridge {
			network = l.Network + " (" + l.Bridge + ")"
		}
		switch {
		case l.HeldBy != nil:
			holder = l.HeldBy.String()
		case l.Plugged:
			holder = "somebody"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Tap, orDash(l.From), orDash(network), orDash(l.Owner), orDash(string(l.MAC)), holder)
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
