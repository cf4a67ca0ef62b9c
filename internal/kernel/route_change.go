package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// addRoutes adds routes, connected ones first so that the gateways of the others can
// be reached. Another route of the same key by the same link is ErrExists, as ip-route(8)
// has it; one by another link is a stranger's, and stays: APPEND puts ours behind it. (An
// IPv6 route with a gateway becomes a further leg of a stranger's: fib6_add_rt2node.)
func (k *Kernel) addRoutes(ctx context.Context, routes []model.Route) error {
	index := k.indexes()
	var errs []error
	for _, family := range families(routes) {
		there, err := k.namedRoutes(ctx, family)
		if err != nil {
			return err
		}
		var ms []*message
		var which []model.Route
		for _, r := range model.ConnectedFirst(routes) {
			if familyOf(r.Destination.Addr()) != family || hasRoute(there, r) {
				continue
			}
			if taken(there, r) {
				errs = append(errs, fmt.Errorf("%s: %w", describe(r), model.ErrExists))
				continue
			}
			m, err := encodeRoute(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, r, index)
			if err != nil {
				return fmt.Errorf("%s: %w", describe(r), err)
			}
			ms, which = append(ms, m), append(which, r)
		}
		for i, err := range k.rt.doAll(ms) {
			if isErrno(err, unix.EEXIST) {
				err = k.sameRouteThere(ctx, family, which[i], err)
			}
			errs = append(errs, refusal(describe(which[i]), err))
		}
	}
	return errors.Join(errs...)
}

// sameRouteThere forgives a route that exists when it is the one that was asked for: a manager
// may have brought it back since the dump.
func (k *Kernel) sameRouteThere(ctx context.Context, family uint8, want model.Route, exists error) error {
	there, err := k.namedRoutes(ctx, family)
	if err != nil {
		return err
	}
	if hasRoute(there, want) {
		return nil
	}
	return exists
}

// taken: a link leads elsewhere for the same key.
func taken(there []rawRoute, r model.Route) bool {
	return slices.ContainsFunc(there, func(o rawRoute) bool { return model.SameRouteKey(o.Route, r) && o.Link() == r.Link() })
}

func hasRoute(there []rawRoute, r model.Route) bool { return findRoute(there, r) >= 0 }

// findRoute finds a route as it stands, the time left to it aside.
func findRoute(there []rawRoute, r model.Route) int {
	for i := range there {
		if model.SameRoute(there[i].Route, r) {
			return i
		}
	}
	return -1
}

// deleteRoutes deletes routes, each by its device, protocol and metric, so that
// another link's route of the same prefix stays.
func (k *Kernel) deleteRoutes(routes []model.Route) error {
	index := k.indexes()
	var ms []*message
	var which []model.Route
	for _, r := range routes {
		m, err := encodeRoute(unix.RTM_DELROUTE, 0, r, index)
		if errors.Is(err, model.ErrNotFound) {
			continue // its link is gone, and the route with it
		}
		if err != nil {
			return fmt.Errorf("%s: %w", describe(r), err)
		}
		ms, which = append(ms, m), append(which, r)
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		if !isErrno(err, unix.ESRCH, unix.ENOENT) {
			errs = append(errs, refusal(describe(which[i]), err))
		}
	}
	return errors.Join(errs...)
}
