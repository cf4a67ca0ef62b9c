package cli

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/keeper"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"

	"github.com/spf13/cobra"
)

func newKeeperCommand(a *app) *cobra.Command {
	var groups bool
	cmd := &cobra.Command{
		Use:    "keeper UPLINK",
		Short:  "Keep the DHCP lease of an uplink whose address is on its bridge",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if groups {
				return a.keepGroups(args[0])
			}
			return a.keep(args[0])
		},
	}
	cmd.Flags().BoolVar(&groups, "groups", false, "hear its multicast groups on the bridge")
	return cmd
}

// keep is the life of a keeper: deaf to what ends a session, until the address leaves.
func (a *app) keep(uplink string) error {
	ctx, stop := a.outlive("lease of " + uplink)
	defer stop()
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	folder := keeper.Folder(s.store.Dir)
	state, err := folder.Hold(uplink)
	if err != nil {
		return err
	}
	logger := log.New(a.err, "", log.LstdFlags)
	k := &keeper.Keeper{
		Lease: state.Lease, Kernel: s.kernel, Resumed: func() bool { return len(keeper.Clients(s.kernel.Inode(), uplink)) > 0 }, Inside: a.inside, Log: logger.Printf,
		Lock: s.lockOrHold, Clock: kernel.Uptime,
		Tell: func(now keeper.State) {
			now.PID = state.PID
			if err := folder.Write(now); err != nil {
				logger.Print(err)
			}
		},
	}
	go endWith(ctx, s.anchor(), stop)
	err = k.Run(ctx)
	if ctx.Err() == nil && err == nil {
		folder.Forget(uplink)
	}
	return err
}

// lockOrHold keeps everybody else from changing the namespace. A guard that waits for a
// confirmation has the lock all the time, and holds still when it is asked to.
func (s *session) lockOrHold() (unlock func(), err error) {
	if release, err := s.store.HoldGuard(); err == nil {
		return release, nil
	}
	return s.store.Unlock, s.store.Lock()
}

// endSoon is how long a keeper may take to end by itself.
const endSoon = 200 * time.Millisecond

// outlive makes this process one that neither a terminal nor the end of a session reaches:
// deaf to its signals, and under systemd in a scope of its own.
func (a *app) outlive(what string) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	if err := apply.OwnScope("keeper", "drawbridge: keeps the "+what); err != nil {
		fmt.Fprintln(a.err, "keeper, going on without:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		time.Sleep(endSoon)
		os.Exit(exitDone) // whoever ends it waits: no server and no lock is worth that
	}()
	return ctx, stop
}

// endWith calls stop when nothing holds the namespace any more but ourselves.
func endWith(ctx context.Context, anchor kernel.Anchor, stop func()) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if anchor.Gone() {
			stop()
			return
		}
	}
}

// inside runs fn in the namespace that the command works in.
func (a *app) inside(fn func() error) error {
	if a.netns == "" {
		return fn()
	}
	return kernel.Enter(filepath.Join("/run/netns", a.netns), fn)
}

// tryLeases finds the leases among the addresses that a plan moves, and renews each once
// on its uplink. One that cannot be kept is refused, before anything is touched.
func (a *app) tryLeases(ctx context.Context, s *session, p *plan.Plan, before plan.Owned) ([]keeper.Lease, error) {
	var leases []keeper.Lease
	var refused []error
	for _, u := range p.Owned.Uplinks {
		moved := slices.ContainsFunc(before.Uplinks, func(o plan.OwnedUplink) bool { return o.Name == u.Name && o.Bridge == u.Bridge })
		if moved || u.Host != "move" {
			continue
		}
		found := keeper.Clients(s.kernel.Inode(), u.Name)
		for _, address := range u.Addresses {
			l, note, err := a.tryLease(ctx, s, *p, u, address, found)
			if err != nil {
				refused = append(refused, err)
			}
			if note != "" {
				p.Notes = append(p.Notes, note)
			}
			if l != nil {
				leases = append(leases, *l)
			}
		}
	}
	return leases, errors.Join(refused...)
}

// tryLease looks at one address: a lease to keep, a note, or a refusal; or nothing, where
// it is nobody's but the host's own.
func (a *app) tryLease(ctx context.Context, s *session, p plan.Plan, u plan.OwnedUplink, address model.Address, found []keeper.Client) (*keeper.Lease, string, error) {
	timed := address.Origin == model.DHCP && address.Lifetime != nil
	if address.Prefix.Addr().Is6() {
		if timed && len(found) > 0 && address.Prefix.IsSingleIP() {
			return nil, "", &plan.Refusal{Object: u.Name, Reason: fmt.Sprintf("%s is a DHCPv6 lease that %s renews: on %s nobody would, and it runs out in %d s", address.Prefix, found[0], u.Bridge, address.Lifetime.Valid),
				Hint: "give the host a fixed IPv6 address, or take this one away: ip addr del"}
		}
		if timed {
			return nil, fmt.Sprintf("%s runs out in %d s: nobody was found who renews it", address.Prefix, address.Lifetime.Valid), nil
		}
		return nil, "", nil
	}
	link := p.Before.Here().Link(u.Name)
	noted, known := keeper.Noted(found, u.Name, link.Index, address.Prefix.Addr())
	if st := s.keptLease(u.Name, address); st != nil { // of our own, since the last 'down'
		noted, known = keeper.Note{ClientID: st.ClientID, Hostname: st.Hostname}, true
	}
	if !timed && !known && !silent(found) {
		return nil, "", nil
	}
	l := keeper.Lease{Uplink: u.Name, Link: u.Bridge, Prefix: address.Prefix, Timed: timed, Hostname: noted.Hostname}
	if len(found) > 0 {
		l.Client = found[0].String()
	}
	if name, err := os.Hostname(); err == nil && l.Hostname == "" && !silent(found) {
		l.Hostname = name
	}
	mac, _ := net.ParseMAC(string(link.MAC))
	err := a.inside(func() (err error) {
		l, err = keeper.Try(ctx, l, keeper.Identities(noted.ClientID, mac, keeper.DUIDs()))
		return err
	})
	switch {
	case err == nil:
		return &l, fmt.Sprintf("%s is a DHCP lease of %s: a keeper renews it on %s until 'down'", address.Prefix.Addr(), l.Server, u.Bridge), nil
	case known || len(found) > 0:
		return nil, "", &plan.Refusal{Object: u.Name, Reason: fmt.Sprintf("%s is a DHCP lease that could not be renewed from here (%v): on %s it would run out", address.Prefix, err, u.Bridge),
			Hint: "end the DHCP client and give the host a fixed address, or see why the server does not answer"}
	default:
		return nil, fmt.Sprintf("%s runs out in %d s: nobody was found who renews it, and no DHCP server knows it", address.Prefix, address.Lifetime.Valid), nil
	}
}

func (s *session) keptLease(uplink string, address model.Address) *keeper.State {
	states, _ := keeper.Folder(s.store.Dir).List()
	for _, st := range states {
		if st.Uplink == uplink && st.Prefix.Addr() == address.Prefix.Addr() {
			return &st
		}
	}
	return nil
}

// silent: udhcpc writes down nothing, and gives its address no lifetime.
func silent(found []keeper.Client) bool {
	return slices.ContainsFunc(found, func(c keeper.Client) bool { return c.Name == "udhcpc" })
}

// handOverLeases notes the leases that a change makes ours, and sees to it that nobody
// renews one while its address moves. A keeper that does not begin is told, and does not
// undo the change.
func (a *app) handOverLeases(s *session, leases []keeper.Lease, moves bool, change func() error) error {
	folder := keeper.Folder(s.store.Dir)
	if moves {
		if err := s.stopKeepers(); err != nil {
			return err
		}
	}
	for _, l := range leases {
		if err := folder.Write(keeper.State{Lease: l}); err != nil {
			return err
		}
	}
	err := change()
	a.startAll(s)
	return err
}

// stopKeepers ends the keepers for as long as addresses may move.
func (s *session) stopKeepers() error {
	states, err := keeper.Folder(s.store.Dir).List()
	for _, st := range states {
		err = errors.Join(err, keeper.Folder(s.store.Dir).Stop(st))
	}
	return err
}

// startKeepers starts one for every lease whose address is on its bridge, and forgets the
// others.
func (a *app) startKeepers(s *session) error {
	folder := keeper.Folder(s.store.Dir)
	states, err := folder.List()
	if len(states) == 0 {
		return err
	}
	ns, oerr := s.kernel.Observe(context.Background())
	if oerr != nil {
		return oerr
	}
	self, oerr := os.Executable()
	if oerr != nil {
		return oerr
	}
	for _, st := range states {
		switch {
		case st.Alive:
		case !holds(&ns, st.Link, st) && !a.orphaned(s, &ns, &st):
			folder.Forget(st.Uplink)
		default:
			if err := folder.Write(st); err != nil {
				return err
			}
			if e := folder.Start(st.Uplink, self, a.keeperArguments(st.Uplink)...); e != nil {
				err = errors.Join(err, fmt.Errorf("the lease of %s is not kept: %w\n  hint: drawbridge up starts its keeper again", st.Prefix.Addr(), e))
			}
		}
	}
	return err
}

func (a *app) keeperArguments(uplink string) []string {
	args := []string{"keeper", uplink}
	if a.netns != "" {
		args = append(args, "--netns", a.netns)
	}
	return args
}

func holds(ns *model.Namespace, link string, st keeper.State) bool {
	return slices.ContainsFunc(ns.AddressesOf(link), func(x model.Address) bool { return x.Prefix.Addr() == st.Prefix.Addr() })
}

// clientEnds is how long a client may take to end over what a change did to its link.
const clientEnds = 500 * time.Millisecond

// orphaned tells whether a lease is back on its uplink, and the client that it was taken
// over from is not: dhcpcd takes the notice that a port left its bridge (RTM_DELLINK of
// the bridge family) for the end of the interface, and ends. The keeper then goes on there
// until a client runs again.
func (a *app) orphaned(s *session, ns *model.Namespace, st *keeper.State) bool {
	if st.Client == "" || !holds(ns, st.Uplink, *st) {
		return false
	}
	time.Sleep(clientEnds)
	if len(keeper.Clients(s.kernel.Inode(), st.Uplink)) > 0 {
		return false
	}
	st.Link = st.Uplink
	fmt.Fprintf(a.err, "note: %s no longer runs: the keeper goes on renewing %s on %s until a DHCP client is started there\n", st.Client, st.Prefix.Addr(), st.Uplink)
	return true
}

// leaseStatus is a kept lease as a program reads it.
type leaseStatus struct {
	Address netip.Addr `json:"address"`
	keeper.State
}

func (s *session) leases() []leaseStatus {
	states, _ := keeper.Folder(s.store.Dir).List()
	out := []leaseStatus{}
	for _, st := range states {
		out = append(out, leaseStatus{st.Prefix.Addr(), st})
	}
	return out
}

// words tell how a kept lease is.
func (l leaseStatus) words() string {
	parts := []string{fmt.Sprintf("lease %s", l.Address)}
	if !l.Until.IsZero() {
		parts = append(parts, "until "+l.Until.Format("15:04:05"))
	}
	switch {
	case !l.Alive:
		parts = append(parts, "nobody keeps it: run drawbridge up")
	case l.Failing != "":
		parts = append(parts, "not renewed: "+l.Failing)
	default:
		parts = append(parts, fmt.Sprintf("kept by process %d", l.PID))
	}
	return strings.Join(parts, ", ")
}
