package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// Moving routes from one link to another without a moment in which a packet finds none.
//
// What must be so before, for the flags in which a plan adds the addresses to the
// link that the routes go to, while they are still on the other one:
//
//   - IPv4: no flag at all. The kernel then appends that link's own connected route
//     behind the old one (fib_add_ifaddr, NLM_F_APPEND): the first stays in force
//     until it is deleted, and then the second is, without a gap. With noprefixroute
//     there would be nothing to clear it by afterwards, and "link down, up" would
//     lose the connected route.
//   - IPv6: nodad and noprefixroute. Without nodad the address is tentative for 1 to
//     2 s; without noprefixroute there would be two equal prefix routes, and the
//     kernel takes turns between them (find_rr_leaf). Both flags are cleared when
//     the address has left the other link: SettleAddresses.
//
// A default route that an RA made is put at metric 1023, one less than the kernel's
// own: an equal one of another maker makes rt6_add_dflt_router fail, and with it every
// later RA of that router is refused whole (ndisc_router_discovery), so that the
// SLAAC addresses run out hours later. The kernel adds its own at 1024 with the next
// RA; ours goes by its lifetime.

// move is one route on its way.
type move struct {
	old   rawRoute
	fresh []byte // body of the new route; nil when the new one is there already
	// replace: one message does it all. Else the old one is deleted afterwards.
	replace bool
}

// moveRoutes makes each route leave by to instead of from. All messages of a family
// leave in one sendmsg.
func (k *Kernel) moveRoutes(ctx context.Context, o model.MoveRoutes) error {
	from, err := k.linkByName(o.From)
	if err != nil {
		return err
	}
	to, err := k.linkByName(o.To)
	if err != nil {
		return err
	}
	for _, family := range families(o.Routes) {
		there, err := k.namedRoutes(ctx, family)
		if err != nil {
			return err
		}
		wanted := slices.DeleteFunc(model.ConnectedFirst(o.Routes), func(r model.Route) bool {
			return familyOf(r.Destination.Addr()) != family || keptByKernel(r)
		})
		if err := k.moveNextHops(ctx, wanted, from.Index, to.Index); err != nil {
			return err
		}
		if err := k.moveFamily(there, wanted, o, from.Index, to.Index); err != nil {
			return err
		}
	}
	return nil
}

// keptByKernel: the kernel makes these for every link by itself, and moves none.
func keptByKernel(r model.Route) bool {
	return r.Table == model.TableLocal || r.Destination == netip.MustParsePrefix("fe80::/64") ||
		r.Destination == netip.MustParsePrefix("ff00::/8")
}

func (k *Kernel) moveFamily(there []rawRoute, wanted []model.Route, o model.MoveRoutes, from, to int) error {
	var ms []*message
	var which []model.Route
	send := func(typ, flags uint16, body []byte, r model.Route) {
		ms, which = append(ms, newMessage(typ, flags).raw(body)), append(which, r)
	}
	for _, r := range wanted {
		if r.NextHopID != 0 {
			continue // it follows its nexthop object
		}
		m, err := planMove(there, r, o, from, to, k.indexes())
		if err != nil {
			return fmt.Errorf("%s: %w", describe(r), err)
		}
		switch {
		case m.replace:
			send(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m.fresh, r)
		default:
			if m.fresh != nil {
				send(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, m.fresh, r)
			}
			if m.old.body != nil {
				send(unix.RTM_DELROUTE, 0, m.old.body, r)
			}
		}
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		if !isErrno(err, unix.ESRCH) {
			errs = append(errs, refusal(describe(which[i]), err))
		}
	}
	return errors.Join(errs...)
}

// planMove decides how one route gets to its new link, from what is there now.
func planMove(there []rawRoute, r model.Route, o model.MoveRoutes, from, to int, index func(string) (int, error)) (move, error) {
	target := model.Moved([]model.Route{r}, o.From, o.To)[0]
	arrived := findRoute(there, target) >= 0
	i := findRoute(there, r)
	if i < 0 {
		if arrived {
			return move{}, nil // done before
		}
		// It is gone from its old link (an undo, after the link was down): as it was noted.
		m, err := encodeRoute(unix.RTM_NEWROUTE, 0, target, index)
		if err != nil {
			return move{}, err
		}
		return move{fresh: m.b[unix.SizeofNlMsghdr:]}, nil
	}
	old := there[i]
	if arrived {
		return move{old: old}, nil
	}
	fresh, err := patchRoute(old, target, from, to)
	if err != nil {
		return move{}, err
	}
	return move{old: old, fresh: fresh, replace: target.Metric == r.Metric && unique(there, old.Route)}, nil
}

// unique tells whether a route is the only one of its key. NLM_F_REPLACE replaces the
// first of a key, whoever's that is (fib_table_insert, fib6_add_rt2node).
func unique(there []rawRoute, r model.Route) bool {
	n := 0
	for i := range there {
		if model.SameRouteKey(there[i].Route, r) {
			n++
		}
	}
	return n == 1
}

// patchRoute copies a route's message with its devices exchanged, so that attributes
// that the model does not know go along.
func patchRoute(old rawRoute, target model.Route, from, to int) ([]byte, error) {
	m := &message{b: append(make([]byte, 0, len(old.body)+16), old.body[:unix.SizeofRtMsg]...)}
	// Dead, linkdown, offload and the like are states; the header keeps onlink only.
	native.PutUint32(m.b[8:], native.Uint32(m.b[8:])&nextHopOnLink)
	var nested error
	err := walk(old.body[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_OIF:
			if int(getU32(v)) == from {
				v = native.AppendUint32(nil, uint32(to))
			}
		case unix.RTA_MULTIPATH:
			v = slices.Clone(v)
			nested = eachHop(v, func(hop, _ []byte) {
				hop[2] &= nextHopOnLink
				if int(native.Uint32(hop[4:])) == from {
					native.PutUint32(hop[4:], uint32(to))
				}
			})
		case unix.RTA_PRIORITY:
			v = native.AppendUint32(nil, target.Metric)
		case unix.RTA_CACHEINFO, rtaExpires:
			return // a state; the time that is left follows
		}
		m.attr(typ, v)
	})
	if old.Expires != 0 && !target.Is4() {
		m.u32(rtaExpires, old.Expires)
	}
	return m.b, errors.Join(err, nested)
}
