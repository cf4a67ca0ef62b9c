package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"drawbridge/internal/broker"
	"drawbridge/internal/doctor"
	"drawbridge/internal/keeper"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"

	"github.com/spf13/cobra"
)

func newStatusCommand(a *app) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Networks, ports, machines: who is where, with which address",
		Long: `The bridges of this namespace with their ports and the host's own addresses there,
and the machines with their NICs. What drawbridge made is marked as ours, with how its
network is connected, and which of the host's ports lead to which machine.

The addresses of a machine are those that its guest tells, where there is an agent of ours
in it, and those that its port was seen to use: a secured port remembers what it told by
ARP and neighbour discovery for a day, and what a DHCP server gave to it. No process has
to watch meanwhile. Where a network has a DHCP server of ours, its leases tell too.

What a network serves is a row of its own (DHCP, router advertisements, names), with its
leases, and what its servers cannot do just now.

--listen hears what is on the bridges for a time, as root: it tells when two hosts have one
address, and when there is a second DHCP server. --neighbours lists who else is there.

Exit codes: 0 told; 1 failed; 2 bad usage.`,
		Example: `  drawbridge status
  drawbridge status --watch
  drawbridge status --neighbours --listen 10s
  drawbridge status --json | jq '.machines[].nics[].used'
  drawbridge status --json | jq '.services[].leases[] | {address, name}'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print it as JSON")
	cmd.Flags().BoolVar(&o.neighbours, "neighbours", false, "list the other hosts of the LAN; listens for 3s unless told otherwise")
	cmd.Flags().DurationVar(&o.listen, "listen", 0, "listen for a `TIME` first")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "tell again every two seconds, until interrupted, and listen meanwhile")
	return cmd
}

// status as a program reads it.
type status struct {
	Bridges  []bridgeStatus  `json:"bridges"`
	Machines []machineStatus `json:"machines"`
	// Interrupted: a crash left a change half done; see 'drawbridge recover'.
	Interrupted bool `json:"interrupted"`
	// Services are what networks serve, with the leases that our own DHCP server gave.
	Services []serviceStatus `json:"services,omitempty"`
	// Leases that a keeper of ours renews.
	Leases []leaseStatus `json:"leases,omitempty"`
	// Multicast are groups that a process of ours hears on a bridge.
	Multicast []keeper.Groups `json:"multicast,omitempty"`
	// LeftOver are taps of the broker's that outlived their holders, and what became of
	// them: the next command that changes something takes them away.
	LeftOver []string `json:"left_over,omitempty"`
	// Neighbours are the other hosts of the LAN, where they were asked for.
	Neighbours []neighbourStatus `json:"neighbours,omitempty"`
	// Alarms are what should not be.
	Alarms []string `json:"alarms,omitempty"`
	// ConfirmWithin is the milliseconds left to confirm a change, absent if none waits.
	ConfirmWithin string `json:"confirm_within_ms,omitempty"`
}

type bridgeStatus struct {
	Name      string         `json:"name"`
	Ours      bool           `json:"ours"`
	Uplink    string         `json:"uplink,omitempty"`
	Up        bool           `json:"up"`
	MAC       model.MAC      `json:"mac"`
	Addresses []netip.Prefix `json:"addresses"`
	Ports     []portStatus   `json:"ports"`
	// Network and Mode are those of the file, of a bridge of ours; Published are the host's
	// ports that lead to the network's machines.
	Network   string          `json:"network,omitempty"`
	Mode      string          `json:"mode,omitempty"`
	Published []publishedPort `json:"published,omitempty"`
}

type portStatus struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	State   string `json:"state"`
	Ours    bool   `json:"ours"`
	Owner   string `json:"owner,omitempty"`
	Machine string `json:"machine,omitempty"`
	// LentTo is the user that the broker gave it to.
	LentTo string `json:"lent_to,omitempty"`
	portFacts
}

type machineStatus struct {
	Name string `json:"name"`
	VMM  string `json:"vmm"`
	// Accel is kvm or tcg, of a QEMU.
	Accel string `json:"accel,omitempty"`
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"`
	// Uptime is how many seconds ago its process was started.
	Uptime int         `json:"uptime_s,omitempty"`
	NICs   []nicStatus `json:"nics"`
}

type nicStatus struct {
	Name      string         `json:"name"`
	MAC       model.MAC      `json:"mac,omitempty"`
	Link      string         `json:"link,omitempty"`
	Transport string         `json:"transport,omitempty"`
	Addresses []netip.Prefix `json:"addresses"`
	portFacts
}

func (a *app) status(ctx context.Context, o statusOptions) error {
	if o.listen < 0 {
		return withCode(exitUsage, fmt.Errorf("--listen %s: nothing is heard in less than no time\n  hint: --listen 5s", o.listen))
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	ears := &ears{}
	switch {
	case o.watch:
		return a.watchStatus(ctx, s, ears, o)
	case o.neighbours && o.listen == 0:
		o.listen = neighboursListen
	}
	if o.listen > 0 {
		if err := ears.listen(ctx, s, o.listen); err != nil {
			return err
		}
	}
	st, err := a.look(ctx, s, ears, o)
	if err != nil {
		return err
	}
	if o.json {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(st)
	}
	a.printStatus(st)
	return nil
}

// look tells how it is now.
func (a *app) look(ctx context.Context, s *session, ears *ears, o statusOptions) (status, error) {
	snap, err := s.snapshot(ctx, false)
	if err != nil {
		return status{}, err
	}
	owned, err := s.store.Owned()
	if err != nil {
		return status{}, err
	}
	counters, err := s.kernel.Counters(ctx)
	if err != nil {
		return status{}, err
	}
	st := statusOf(snap, owned)
	st.addFacts(snap, counters)
	heard := ears.heard()
	st.Alarms = doctor.Alarms(snap, facts(heard))
	st.addServices(snap, filepath.Join(s.store.Dir, "services"))
	st.addNetworks(snap.Here(), owned)
	if o.neighbours {
		st.Neighbours = neighbours(st, snap, heard)
	}
	st.Leases = s.leases()
	if st.LeftOver, err = broker.Left(ctx, s.kernel, brokerState{a, s}); err != nil {
		return status{}, err
	}
	st.Multicast, _ = keeper.Folder(s.store.Dir).ListGroups()
	if left, err := s.store.Answer("left"); err == nil {
		st.ConfirmWithin = left
	} else {
		if st.Interrupted, err = s.store.Interrupted(); err != nil {
			fmt.Fprintln(a.err, "drawbridge:", err)
		}
	}
	return st, nil
}

func statusOf(snap model.Snapshot, owned plan.Owned) status {
	st := status{Bridges: []bridgeStatus{}, Machines: []machineStatus{}}
	ours := func(link string) bool {
		return slices.ContainsFunc(owned.Links, func(l plan.OwnedLink) bool { return l.Name == link })
	}
	w := model.Wire(snap)
	ns := snap.Here()
	for _, l := range ns.Links {
		if l.Kind != model.Bridged {
			continue
		}
		b := bridgeStatus{Name: l.Name, Ours: ours(l.Name), Up: l.Up, MAC: l.MAC, Addresses: globalAddresses(ns, l.Name), Ports: []portStatus{}}
		for _, u := range owned.Uplinks {
			if u.Bridge == l.Name {
				b.Uplink = u.Name
			}
		}
		for _, p := range ns.Ports(l.Name) {
			port := portStatus{Name: p.Name, Kind: string(p.Kind), Ours: ours(p.Name), Machine: machineAt(w, "host/"+p.Name)}
			if p.Port != nil {
				port.State = p.Port.State
			}
			if own := owned.Link(p); own != nil && own.Added != nil && own.Added.Holder != nil {
				port.LentTo = own.Added.Holder.Who()
			}
			if itf := w.Interface("host/" + p.Name); itf != nil {
				port.Owner = itf.Owner
			}
			b.Ports = append(b.Ports, port)
		}
		st.Bridges = append(st.Bridges, b)
	}
	for _, m := range snap.Machines {
		ms := machineStatus{Name: m.Name, VMM: m.VMM, Accel: m.Accel, State: m.State, PID: m.PID, NICs: []nicStatus{}}
		for _, n := range m.NICs {
			nic := nicStatus{Name: n.Name, MAC: n.MAC, Link: n.Link.Name, Transport: n.Transport, Addresses: []netip.Prefix{}}
			if m.Inside != nil {
				nic.Addresses = globalAddresses(m.Inside, n.Name)
			}
			ms.NICs = append(ms.NICs, nic)
		}
		st.Machines = append(st.Machines, ms)
	}
	return st
}

func globalAddresses(ns *model.Namespace, link string) []netip.Prefix {
	out := []netip.Prefix{}
	for _, a := range ns.AddressesOf(link) {
		if a.Origin != model.LinkLocal {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// machineAt names the machine at the other end of an interface's cable.
func machineAt(w model.Wiring, id string) string {
	itf := w.Interface(id)
	if itf == nil || itf.WireEnd.In != model.InSegment {
		return ""
	}
	for _, other := range w.Interfaces {
		if other.ID != id && other.WireEnd == itf.WireEnd && strings.HasPrefix(other.Stack, "vm:") {
			return w.Stack(other.Stack).Name
		}
	}
	return ""
}

func (a *app) printStatus(st status) {
	if st.Interrupted {
		fmt.Fprintln(a.out, "a change was interrupted: run drawbridge recover")
	}
	if st.ConfirmWithin != "" {
		fmt.Fprintf(a.out, "a change waits to be confirmed, %s ms are left: drawbridge confirm | rollback\n", st.ConfirmWithin)
	}
	for _, left := range st.LeftOver {
		fmt.Fprintf(a.out, "left over: %s; the next command that changes something takes it away\n", left)
	}
	for _, alarm := range st.Alarms {
		fmt.Fprintln(a.out, "ALARM:", alarm)
	}
	if len(st.Bridges)+len(st.Machines)+len(st.Services) == 0 {
		fmt.Fprintln(a.out, "no bridges and no machines here")
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	for _, b := range st.Bridges {
		what := "bridge" + mark(b.Ours)
		if b.Mode != "" {
			what += ", " + b.Mode
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.Name, what, b.MAC, joinPrefixes(b.Addresses))
		for _, p := range b.Ports {
			what := p.Kind
			switch {
			case p.Name == b.Uplink:
				what = "uplink"
			case p.LentTo != "":
				what += " (lent to " + p.LentTo + ")"
			case p.Ours:
				what += mark(true)
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", p.Name, what, p.State, arrow(p.Machine))
			if p.Machine == "" {
				p.print(w)
			}
		}
		for _, p := range b.Published {
			p.print(w)
		}
	}
	for _, s := range st.Services {
		s.print(w)
	}
	for _, l := range st.Leases {
		fmt.Fprintf(w, "%s\t%s\n", l.Link, l.words())
	}
	for _, g := range st.Multicast {
		fmt.Fprintf(w, "%s\t%s\n", g.Link, groupsWords(g))
	}
	for _, m := range st.Machines {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Name, vmmText(m.VMM, m.Accel), m.State, upFor(m.Uptime))
		for _, n := range m.NICs {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", n.Name, orDash(n.Link), n.MAC, joinPrefixes(n.Addresses))
			n.print(w)
		}
	}
	if st.Neighbours != nil {
		fmt.Fprintf(w, "neighbours\t%d\t\t\n", len(st.Neighbours))
	}
	for _, n := range st.Neighbours {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", n.Address, n.Bridge, n.MAC, n.words())
	}
}

func mark(ours bool) string {
	if ours {
		return " (ours)"
	}
	return ""
}

func arrow(machine string) string {
	if machine == "" {
		return ""
	}
	return "→ " + machine
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func joinPrefixes(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return orDash(strings.Join(out, ", "))
}
