package cli

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// An uplink is settled when it has been the same for a while: a manager gives it its
// addresses one by one, and duplicate address detection takes a second (RFC 4862, 5.4).
const (
	lookAgain   = 200 * time.Millisecond
	settledTime = 1500 * time.Millisecond
)

// waitForUplinks waits until whoever brings the uplinks up at boot has done so. When the
// time is over it goes on: what then lacks, the plan says.
func (a *app) waitForUplinks(ctx context.Context, want spec.Desired, limit time.Duration) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	deadline, since := time.Now().Add(limit), time.Now()
	var before []model.Address
	for {
		now, ready := s.uplinkAddresses(ctx, want)
		if !ready || !reflect.DeepEqual(now, before) {
			before, since = now, time.Now()
		}
		switch {
		case ready && time.Since(since) >= settledTime:
			return nil
		case time.Now().After(deadline):
			fmt.Fprintf(a.err, "note: the uplink has no addresses after %s: going on as it is\n", limit)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// uplinkAddresses are those of the uplinks whose place moves; whether all have some. An
// uplink that is in its bridge already has nothing to wait for.
func (s *session) uplinkAddresses(ctx context.Context, want spec.Desired) (out []model.Address, ready bool) {
	p, err := s.plan(ctx, want, looks{unasked: true})
	if err != nil {
		return nil, false // no default route to tell the uplink by, for one
	}
	here := p.Before.Here()
	for _, u := range p.Owned.Uplinks {
		l := here.Link(u.Name)
		if l == nil || l.Master == u.Bridge || u.Host != spec.HostMove {
			continue
		}
		has := slices.DeleteFunc(here.AddressesOf(u.Name), func(x model.Address) bool { return x.Origin == model.LinkLocal })
		if len(has) == 0 || slices.ContainsFunc(has, func(x model.Address) bool { return x.Flags.Tentative }) {
			return nil, false
		}
		for _, x := range has {
			x.Lifetime = nil
			out = append(out, x)
		}
	}
	return out, true
}
