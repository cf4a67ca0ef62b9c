package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/keeper"
	"drawbridge/internal/manager"
	"drawbridge/internal/model"
	"drawbridge/internal/persist"
	"drawbridge/internal/plan"
	"drawbridge/internal/probe"
)

// managerNames are what internal/manager calls the managers that internal/persist writes
// for, and that take over in the same boot what was written. ifupdown2 goes by what is there,
// and has nothing to take over; what it does to a bridge, it does when it is told to.
var managerNames = map[string]string{
	persist.Networkd: model.Networkd, persist.Netplan: model.Networkd, persist.NetworkManager: model.NetworkManager,
	persist.Ifupdown: model.Ifupdown,
}

// handOver has the manager that files were written for take over, as it is, what they say:
// a change of its own, that is rolled back to what was before it. One that was rolled back
// is told, and is no failure: the files are there, and the next boot reads them.
func (a *app) handOver(ctx context.Context, s *session, written string, o persistOptions) error {
	p, err := s.planTakeOver(ctx, written)
	if err != nil || len(p.Steps) == 0 {
		return err
	}
	t := a.transaction(s, o.json)
	t.StartGuard = func() (apply.Guard, error) { return a.startGuard(s) }
	t.Probes = a.probesOf(s, p)
	err = t.Run(ctx, p)
	var f *apply.Failure
	switch {
	case errors.As(err, &f) && len(f.Left) == 0:
		fmt.Fprintf(a.err, "note: %v\n  it goes on leaving them alone, as before; the next boot reads the files\n", f.Err)
		return nil
	case err != nil:
		return failureCode(err)
	}
	s.forgetKeepers()
	if !o.json {
		fmt.Fprintf(a.err, "taken over: %s sees to %s from now on, and has changed nothing\n", p.Steps[0].Do.Object(), namesOf(p.Steps[0].Do))
	}
	return nil
}

func namesOf(op model.Operation) string {
	if op, ok := op.(model.TakeOver); ok {
		return strings.Join(op.Links(), ", ")
	}
	return op.Object()
}

// planTakeOver plans it; without steps there is nothing to hand over, or nobody to take it.
func (s *session) planTakeOver(ctx context.Context, written string) (plan.Plan, error) {
	name := managerNames[written]
	if name == "" {
		return plan.Plan{}, nil
	}
	now, owned, err := s.known(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	return plan.TakeOver(now, owned, name)
}

// probesOf ask by the bridges that are handed over what is asked by an uplink that moves.
func (a *app) probesOf(s *session, p plan.Plan) apply.Probes {
	set := &probe.Set{Inside: s.kernel.Inside, Sockets: s.kernel.Sockets, Servers: nameServers(a.netns), Login: func(model.Socket) bool { return false }}
	for _, u := range p.Owned.Uplinks {
		if u.Host == "move" {
			set.Moves = append(set.Moves, model.Move{From: u.Bridge, To: u.Bridge, Host: true})
		}
	}
	if len(set.Moves) == 0 {
		return nil
	}
	return set
}

// forgetKeepers ends the keepers of leases that the bridge's own manager has got.
func (s *session) forgetKeepers() {
	folder := keeper.Folder(s.store.Dir)
	states, _ := folder.List()
	for _, st := range states {
		if s.hasLease(st) && folder.Stop(st) == nil {
			folder.Forget(st.Uplink)
		}
	}
}

// hasLease tells whether a client on the bridge has noted a kept lease as its own.
func (s *session) hasLease(st keeper.State) bool {
	_, ok := keeper.Noted(keeper.Clients(s.kernel.Inode(), st.Link), st.Link, s.indexOf(st.Link), st.Prefix.Addr())
	return ok
}

// How long a manager may take until all is as it was: what routers advertise it hears anew.
const asWasTime = 15 * time.Second

// takeOver carries a [model.TakeOver] out: the manager takes the links over, and whatever of
// them is another than before is an error.
func (a *app) takeOver(ctx context.Context, s *session, op model.TakeOver) error {
	before, err := s.observe()
	if err != nil {
		return err
	}
	if err := manager.TakeOver(ctx, s.managerSystem(), "/", op, s.hands()); err != nil {
		return err
	}
	var w persist.Wish
	for _, name := range op.Bridges {
		b := persist.Bridge{Name: name}
		for _, x := range before.AddressesOf(name) {
			if x.Origin == model.DHCP && x.Prefix.Addr().Is4() {
				b.DHCP4 = &persist.Identity{}
			}
		}
		w.Bridges = append(w.Bridges, b)
	}
	for _, name := range op.Ports {
		w.Taps = append(w.Taps, persist.Tap{Name: name})
	}
	for end := time.Now().Add(asWasTime); ; {
		differs, err := s.differs(w, before, op)
		if err != nil || len(differs) == 0 {
			return err
		}
		if time.Now().After(end) {
			return &manager.Refused{Manager: op.Manager, Reason: strings.Join(differs, "; ")}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// differs tells what of the links is another than before, and which leases the manager has
// not got yet.
func (s *session) differs(w persist.Wish, before model.Namespace, op model.TakeOver) ([]string, error) {
	now, err := s.observe()
	if err != nil {
		return nil, err
	}
	out := w.Differences(before, now)
	if op.Manager != model.Networkd && op.Manager != model.NetworkManager {
		return out, nil // they have no DHCP client of their own
	}
	states, _ := keeper.Folder(s.store.Dir).List()
	for _, st := range states {
		if !s.hasLease(st) {
			out = append(out, fmt.Sprintf("it has not got the lease of %s", st.Prefix.Addr()))
		}
	}
	return out, nil
}

// runQuietly runs a manager's own command; its error is what it said.
func (s *session) runQuietly(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// stepAside has managers let go of what they have taken over, before the files go by which
// they hold it: at their next look they would bring the uplink back to what it was. Where
// they have a DHCP lease there, nobody else would renew it.
func (a *app) stepAside(s *session) error {
	ctx := context.Background()
	now, err := s.snapshot(ctx, false)
	if err != nil {
		return err
	}
	if err := s.tellManagers(ctx, now.Here()); err != nil {
		return err
	}
	own, err := s.store.Owned()
	if err != nil {
		return err
	}
	p, err := plan.StepAside(now, own)
	if err != nil || len(p.Steps) == 0 {
		return err
	}
	for _, l := range own.Links {
		for _, x := range now.Here().AddressesOf(l.Name) {
			if x.Origin == model.DHCP || s.hasLease(keeper.State{Lease: keeper.Lease{Link: l.Name, Prefix: x.Prefix}}) {
				fmt.Fprintf(a.err, "note: %s renews the lease of %s on %s until its next reload, and nobody after that: 'drawbridge down' now, or 'persist write' again\n", p.Steps[0].Do.Object(), x.Prefix.Addr(), l.Name)
				return nil
			}
		}
	}
	return failureCode(a.transaction(s, true).Run(ctx, p))
}
