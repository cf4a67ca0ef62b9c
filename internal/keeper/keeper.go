package keeper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drawbridge/internal/model"
)

// Kernel is what a keeper needs of the host.
type Kernel interface {
	Observe(ctx context.Context) (model.Namespace, error)
	Do(ctx context.Context, op model.Operation) (model.Made, error)
	// Watch rings when something has changed.
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// Keeper keeps one lease.
type Keeper struct {
	Lease  Lease
	Kernel Kernel
	// Inside runs fn in the network namespace.
	Inside func(fn func() error) error
	// Lock keeps everybody else from changing the namespace until unlock is called; an
	// error if somebody is at it just now.
	Lock func() (unlock func(), err error)
	// Resumed tells whether a client sees to the uplink again: asked where the keeper stands
	// in for one on the uplink itself; may be nil.
	Resumed func() bool
	// Tell is told what becomes of the lease.
	Tell func(State)
	Log  func(format string, args ...any)
	// Clock is the time since boot that counts a suspend as well: the server's clock goes on.
	Clock func() time.Duration

	state State
	until time.Duration // the lease's end, on Clock
}

const (
	// lookEvery is how often the keeper looks after its address, whatever rings.
	lookEvery = 5 * time.Second
	// retryLeast and retryMost bound the time between attempts (RFC 2131, 4.4.5, has at
	// least 60 s; leases are shorter than that in a lab).
	retryLeast = time.Second
	retryMost  = time.Minute
)

// Run renews the lease until ctx ends or the address is no longer on its link: then
// somebody else has it back, and keeps it.
func (k *Keeper) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	bell, err := k.Kernel.Watch(ctx)
	if err != nil {
		return err
	}
	k.state = State{Lease: k.Lease}
	next := k.Clock() // at once: the lease is half over already, maybe
	for {
		if there, err := k.tidy(ctx); err != nil || !there {
			return err
		}
		if k.Clock() >= next {
			next = k.renew(ctx)
			k.Tell(k.state)
		}
		timer := time.NewTimer(min(lookEvery, next-k.Clock()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case _, open := <-bell:
			if !open { // it is deaf from now on, and looks by itself
				bell = nil
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tidy tells whether the address is still on its link, and takes it off the uplink where
// the old client has put it there again: on a port it would be misplaced.
func (k *Keeper) tidy(ctx context.Context) (there bool, err error) {
	ns, err := k.Kernel.Observe(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, err
	}
	if !has(&ns, k.Lease.Link, k.Lease) {
		return false, nil
	}
	if k.Lease.Link == k.Lease.Uplink {
		return k.Resumed == nil || !k.Resumed(), nil
	}
	uplink := ns.Link(k.Lease.Uplink)
	if uplink == nil || uplink.Master != k.Lease.Link || !has(&ns, k.Lease.Uplink, k.Lease) {
		return true, nil
	}
	unlock, err := k.Lock()
	if err != nil {
		return true, nil // a cutover is under way: it has the address on both on purpose
	}
	defer unlock()
	// What was seen before the lock may be over.
	if ns, err = k.Kernel.Observe(ctx); err != nil || !has(&ns, k.Lease.Link, k.Lease) || ns.Link(k.Lease.Uplink).Master != k.Lease.Link {
		return true, err
	}
	misplaced := addressesOf(&ns, k.Lease.Uplink, k.Lease)
	k.Log("%s was put on %s again, where it would be misplaced: taken off", k.Lease.Prefix, k.Lease.Uplink)
	_, err = k.Kernel.Do(ctx, model.DeleteAddresses{Link: k.Lease.Uplink, Addresses: misplaced})
	return true, err
}

// renew asks for the lease once, and tells when to ask next.
func (k *Keeper) renew(ctx context.Context) (next time.Duration) {
	var g Grant
	asked := k.Clock()
	err := k.Inside(func() (err error) {
		g, err = ask(ctx, k.Lease.Link, k.Lease, k.Lease.ClientID)
		return err
	})
	if err == nil {
		k.until = asked + g.Length
		err = k.prolong(ctx)
	}
	if err != nil {
		k.state.Failing = err.Error()
		k.Log("%s: %v", k.Lease.Prefix, err)
		return k.Clock() + min(max((k.until-k.Clock())/8, retryLeast), retryMost)
	}
	k.state.Failing, k.state.Renewed, k.state.Until = "", g.Since, g.Since.Add(g.Length)
	k.state.Renewals++
	if k.Lease.Server != g.Server {
		k.Lease.Server, k.state.Server = g.Server, g.Server
	}
	return asked + max(g.Renew, retryLeast)
}

// prolong gives the address what is left of the lease. Under the lock, for the kernel
// would make an address that a `down` has just moved away.
func (k *Keeper) prolong(ctx context.Context) error {
	if !k.Lease.Timed {
		return nil
	}
	unlock, err := k.lockPatiently(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	ns, err := k.Kernel.Observe(ctx)
	if err != nil {
		return err
	}
	seconds := uint32(max(k.until-k.Clock(), time.Second) / time.Second)
	fresh := addressesOf(&ns, k.Lease.Link, k.Lease)
	for i := range fresh {
		fresh[i].Lifetime = &model.Lifetime{Valid: seconds, Preferred: seconds}
	}
	if len(fresh) == 0 {
		return nil // it is gone: so are we, soon
	}
	_, err = k.Kernel.Do(ctx, model.RenewAddresses{Link: k.Lease.Link, Addresses: fresh})
	return err
}

// lockPatiently waits for whoever is at work; not for one that waits for a person's
// confirmation: then the next attempt comes soon enough.
func (k *Keeper) lockPatiently(ctx context.Context) (unlock func(), err error) {
	for range 20 {
		if unlock, err = k.Lock(); err == nil {
			return unlock, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("renewed, and not noted on the address yet: %w", err)
}

func addressesOf(ns *model.Namespace, link string, l Lease) []model.Address {
	return slices.DeleteFunc(ns.AddressesOf(link), func(a model.Address) bool { return a.Prefix.Addr() != l.Prefix.Addr() })
}

func has(ns *model.Namespace, link string, l Lease) bool { return len(addressesOf(ns, link, l)) > 0 }
