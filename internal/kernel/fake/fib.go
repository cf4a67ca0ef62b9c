package fake

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// followRoutes brings the ordered routes up to date with the snapshot's: what is new stands
// behind what is there (NLM_F_APPEND, as the kernel adds a connected route: fib_add_ifaddr).
func (k *Kernel) followRoutes() {
	now := k.snap.Here().Routes
	k.fib = slices.DeleteFunc(k.fib, func(r model.Route) bool { return find(now, r) < 0 })
	for _, r := range now {
		if i := find(k.fib, r); i >= 0 {
			k.fib[i] = r // the time left to it
		} else {
			k.fib = append(k.fib, r)
		}
	}
}

func find(routes []model.Route, r model.Route) int {
	return slices.IndexFunc(routes, func(x model.Route) bool { return model.SameRoute(x, r) })
}

// moveRoutes does what internal/kernel does: the moves of a family are planned from what is
// there, and their messages carried out one after the other.
func (k *Kernel) moveRoutes(o model.MoveRoutes) error {
	predicted := k.snap.Clone()
	if err := predicted.Apply(o); err != nil {
		return err // refused before the first message
	}
	for _, four := range []bool{true, false} {
		there := slices.Clone(k.fib)
		for _, r := range model.ConnectedFirst(o.Routes) {
			if r.Is4() != four {
				continue
			}
			if r.NextHopID != 0 {
				k.substitute(r, model.Moved([]model.Route{r}, o.From, o.To)[0]) // it follows its nexthop object
				continue
			}
			move, done := model.PlanRouteMove(there, r, o)
			if done {
				continue
			}
			if err := k.message(there, move); err != nil {
				return fmt.Errorf("%s: %w", r.Destination, err)
			}
		}
	}
	k.snap.Here().Routes = slices.Clone(k.fib)
	k.snap.Settle()
	return nil
}

// message carries out the messages of one move.
func (k *Kernel) message(there []model.Route, m model.RouteMove) error {
	if m.Twin >= 0 {
		k.deleteRoute(there[m.Twin])
	}
	if m.Add && m.Replace {
		return k.replaceRoute(m.Target)
	}
	if m.Add && find(k.fib, m.Target) < 0 {
		k.fib = append(k.fib, m.Target)
	}
	if m.Old >= 0 {
		k.deleteRoute(there[m.Old])
	}
	return nil
}

// replaceRoute is RTM_NEWROUTE with NLM_F_CREATE|NLM_F_REPLACE: it takes the place of the
// first route of its key, whoever's that is, and fails where an equal one stands elsewhere.
func (k *Kernel) replaceRoute(r model.Route) error {
	at, equal := model.FirstOfKey(k.fib, r), find(k.fib, r)
	switch {
	case equal >= 0 && equal == at:
		return nil
	case equal >= 0 && r.Is4():
		return model.ErrExists
	case at < 0:
		k.fib = append(k.fib, r)
	default:
		k.fib[at] = r
	}
	return nil
}

func (k *Kernel) deleteRoute(r model.Route) {
	if i := find(k.fib, r); i >= 0 {
		k.fib = slices.Delete(k.fib, i, i+1)
	}
}

func (k *Kernel) substitute(old, fresh model.Route) {
	if i := find(k.fib, old); i >= 0 {
		k.fib[i] = fresh
	}
}

// Replace adds a route as `ip route replace` does, as somebody else would.
func (k *Kernel) Replace(r model.Route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.alter(func() error {
		if err := k.replaceRoute(r); err != nil {
			return err
		}
		k.snap.Here().Routes = slices.Clone(k.fib)
		k.snap.Settle()
		return nil
	})
}
