package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/machine"
	"drawbridge/internal/model"

	"github.com/spf13/cobra"
)

func newMachineStartCommand(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "start NAME...",
		Short: "Start machines of the file that have been stopped or have ended",
		Long: `Start machines of the file that are not running: stopped by hand, or ended by themselves.
What is around them, bridges and taps, must be there already: 'up' makes it, and starts
them too. 'down' stops them again.

Exit codes: 0 done; 1 failed and nothing is changed; 2 bad usage or a bad file; 3 failed
and stopped again; 4 failed and not wholly stopped.`,
		Example: `  drawbridge machine start web
  drawbridge machine start web db --file lab.yaml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error { return a.startMachines(cmd.Context(), names, file) },
	}
	cmd.Flags().StringVarP(&file, "file", "f", defaultFile, "the `FILE` that says what they are")
	return cmd
}

func (a *app) startMachines(ctx context.Context, names []string, file string) error {
	want, err := a.readFile(file, "")
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.end()
	if err := s.store.Lock(); err != nil {
		return err
	}
	switch interrupted, err := s.store.Interrupted(); {
	case err != nil:
		return err
	case interrupted:
		return errors.New("an earlier change was interrupted\n  hint: drawbridge recover")
	}
	all, err := s.plan(ctx, want, looks{unasked: true})
	if err != nil {
		return err
	}
	p, err := all.Start(names)
	if err != nil {
		return withCode(exitFailed, fmt.Errorf("%w\n  nothing was changed", err))
	}
	t := a.transaction(s, false)
	t.StartGuard = func() (apply.Guard, error) { return a.startGuard(s) }
	if err := t.Run(ctx, p); err != nil {
		return failureCode(err)
	}
	for _, n := range p.Notes {
		fmt.Fprintln(a.err, "note:", n)
	}
	return nil
}

func newMachineStopCommand(a *app) *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "stop NAME...",
		Short: "Stop machines, and leave nothing of them over",
		Long: `Stop machines: the guest is asked first, then the VMM, then the processes are killed; a guest
that did not shut down by itself is told of. It has 3 s for that, and a system of its own
20 s. Their taps are left free, with their offloads reset. A machine that had ended by
itself is cleaned up.

Exit codes: 0 done; 1 failed, there is no such machine; 2 bad usage.`,
		Example: `  drawbridge machine stop web
  drawbridge machine stop db --timeout 2m`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if cmd.Flags().Changed("timeout") && patience <= 0 {
				return withCode(exitUsage, fmt.Errorf("--timeout %s: the guest needs some time\n  hint: --timeout 30s", patience))
			}
			s, err := a.open()
			if err != nil {
				return err
			}
			defer s.close()
			var errs []error
			for _, name := range names {
				note, err := s.machines.Stop(cmd.Context(), name, patience)
				if note != "" {
					fmt.Fprintln(a.err, "note:", note)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().DurationVar(&patience, "timeout", 0, "how long a guest may take to shut down before it is switched off, like `30s`")
	return cmd
}

// plugOptions are how a NIC comes by its addresses when it is plugged in.
type plugOptions struct {
	machine, nic, link string
	addresses          []string
	gateway            string
}

func newMachinePlugCommand(a *app) *cobra.Command {
	var o plugOptions
	cmd := &cobra.Command{
		Use:   "plug NAME NIC LINK",
		Short: "Cable a NIC of a running machine to a tap",
		Long: `Cable a NIC of a running machine to a tap, or for a machine of vmm: namespace to a veth: the
link's wire end and the NIC become the two ends of one cable. The NIC may be one that was
declared only (cable: false in the file) or unplugged before; it has the MAC and addresses
that it was declared with. Any other name makes a new NIC, which asks for its address by
DHCP unless --address says more. The port of a machine is secured with the addresses of
the file (security: there), and lets no others pass.

'up' brings the machine back to what the file says.

Exit codes: 0 done; 1 failed, and nothing is changed; 2 bad usage.`,
		Example: `  drawbridge machine plug web eth1 tap0
  drawbridge machine plug web eth2 tap1 --address 198.18.8.2/30 --address 2001:db8::2/64`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.machine, o.nic, o.link = args[0], args[1], args[2]
			return a.plug(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVar(&o.addresses, "address", nil, "`dhcp`, none, or an address with its prefix length; may be given several times")
	cmd.Flags().StringVar(&o.gateway, "gateway", "", "the guest's default route, with --address")
	return cmd
}

func (a *app) plug(ctx context.Context, o plugOptions) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	declared, err := declaredNIC(ctx, s.machines, o.machine, o.nic)
	if err != nil {
		return err
	}
	nic, err := o.config(declared)
	if err != nil {
		return withCode(exitUsage, err)
	}
	return s.machines.Do(ctx, model.PlugNIC{Machine: o.machine, NIC: nic})
}

// declaredNIC is a NIC as the machine was started with it; nil for a new one.
func declaredNIC(ctx context.Context, machines *machine.Manager, name, nic string) (*model.NICConfig, error) {
	list, err := machines.List(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(m model.Machine) bool { return m.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("machine %s: %w (hint: drawbridge machine list)", name, model.ErrNotFound)
	}
	if list[i].Config == nil {
		return nil, nil
	}
	for _, c := range list[i].Config.NICs {
		if c.Name == nic {
			return &c, nil
		}
	}
	return nil, nil
}

// config is the NIC as it shall be plugged in.
func (o plugOptions) config(declared *model.NICConfig) (model.NICConfig, error) {
	nic := model.NICConfig{Name: o.nic, DHCP: true}
	if declared != nil {
		nic = *declared
	}
	nic.Link, nic.Transport = o.link, ""
	if err := model.CheckLinkName(o.nic); err != nil {
		return nic, err
	}
	if len(o.addresses) == 0 {
		if o.gateway != "" {
			return nic, errors.New("--gateway goes with a given --address")
		}
		return nic, nil
	}
	nic.DHCP, nic.Addresses, nic.Gateway = false, nil, netip.Addr{}
	for _, text := range o.addresses {
		switch text {
		case "dhcp":
			nic.DHCP = true
		case "none":
		default:
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nic, fmt.Errorf("--address %s: dhcp, none, or an address with its prefix length\n  hint: 198.18.8.2/30", text)
			}
			nic.Addresses = append(nic.Addresses, p)
		}
	}
	if o.gateway == "" {
		return nic, nil
	}
	gateway, err := netip.ParseAddr(o.gateway)
	if err != nil {
		return nic, fmt.Errorf("--gateway %s: not an address", o.gateway)
	}
	if !slices.ContainsFunc(nic.Addresses, func(p netip.Prefix) bool { return p.Contains(gateway) }) && !gateway.IsLinkLocalUnicast() {
		return nic, fmt.Errorf("--gateway %s: in none of the subnets of --address %s", o.gateway, strings.Join(o.addresses, ", "))
	}
	nic.Gateway = gateway
	return nic, nil
}

func newMachineUnplugCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unplug NAME NIC",
		Short: "Take the cable off a NIC of a running machine",
		Long: `Take the cable off a NIC of a running machine: its addresses go, the guest's device goes, and
the tap's wire end dangles. The tap stays, and the NIC stays declared: 'plug' brings it back.

Exit codes: 0 done; 1 failed: no such machine, or no cable on that NIC; 2 bad usage.`,
		Example: "  drawbridge machine unplug web eth1",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			defer s.close()
			return s.machines.Do(cmd.Context(), model.UnplugNIC{Machine: args[0], NIC: args[1]})
		},
	}
}
