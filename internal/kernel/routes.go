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

// Order: of several routes of one key the first is in force, for IPv6 as well unless its
// neighbour is known to be dead (rt6_select). With a second uplink on an equal prefix, a
// moved route must therefore stand where the old one stood. NLM_F_REPLACE does that, and
// replaces the first of a key, whoever's that is (fib_table_insert, fib6_add_rt2node):
// it is used where ours is the first, and else the new one is appended and the old one
// deleted by its device.

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
		nextHops, err := k.moveNextHops(ctx, wanted, from.Index, to.Index)
		if err != nil {
			return err
		}
		// The gateways of nexthop objects must be reachable on the new link as well.
		first := slices.IndexFunc(wanted, func(r model.Route) bool { return r.Gateway().IsValid() })
		if first < 0 {
			first = len(wanted)
		}
		var changes []routeChange
		for _, routes := range [][]model.Route{wanted[:first], wanted[first:]} {
			some, err := k.changesOf(there, routes, o, from.Index, to.Index)
			if err != nil {
				return err
			}
			changes = append(append(changes, some...), nextHops...)
			nextHops = nil
		}
		if err := k.changeRoutes(changes); err != nil {
			return err
		}
	}
	return nil
}

// routeChange is one message of a move, and what it is about.
type routeChange struct {
	message *message
	about   string
}

// changeRoutes sends all in one sendmsg.
func (k *Kernel) changeRoutes(changes []routeChange) error {
	ms := make([]*message, len(changes))
	for i, c := range changes {
		ms[i] = c.message
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		// ESRCH: the old one went by itself. EEXIST of an added one: an equal one came
		// meanwhile, or two routes became one (an RA's own and its stand-in).
		added := native.Uint16(ms[i].b[6:])&unix.NLM_F_APPEND != 0
		if !isErrno(err, unix.ESRCH) && !(added && isErrno(err, unix.EEXIST)) {
			errs = append(errs, refusal(changes[i].about, err))
		}
	}
	return errors.Join(errs...)
}

// keptByKernel: the kernel makes these for every link by itself, and moves none.
func keptByKernel(r model.Route) bool {
	return r.Table == model.TableLocal || r.Destination == netip.MustParsePrefix("fe80::/64") ||
		r.Destination == netip.MustParsePrefix("ff00::/8")
}

// changesOf writes the messages that move routes of one family, in their order.
func (k *Kernel) changesOf(there []rawRoute, wanted []model.Route, o model.MoveRoutes, from, to int) ([]routeChange, error) {
	plain := make([]model.Route, len(there))
	for i := range there {
		plain[i] = there[i].Route
	}
	var out []routeChange
	for _, r := range wanted {
		if r.NextHopID != 0 {
			continue // it follows its nexthop object
		}
		move, done := model.PlanRouteMove(plain, r, o)
		if done {
			continue
		}
		send := func(typ, flags uint16, body []byte) {
			out = append(out, routeChange{newMessage(typ, flags).raw(body), describe(r)})
		}
		if move.Twin >= 0 {
			send(unix.RTM_DELROUTE, 0, there[move.Twin].body)
		}
		if move.Add {
			fresh, err := freshRoute(there, move, from, to, k.indexes())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", describe(r), err)
			}
			if move.Replace {
				send(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, fresh)
				continue
			}
			send(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, fresh)
		}
		if move.Old >= 0 {
			send(unix.RTM_DELROUTE, 0, there[move.Old].body)
		}
	}
	return out, nil
}

// freshRoute is the message of a moved route: the old one's with its devices exchanged, or
// one made of what is known, where the old one is gone.
func freshRoute(there []rawRoute, move model.RouteMove, from, to int, index func(string) (int, error)) ([]byte, error) {
	if move.Old >= 0 {
		return patchRoute(there[move.Old], move.Target, from, to)
	}
	m, err := encodeRoute(unix.RTM_NEWROUTE, 0, move.Target, index)
	if err != nil {
		return nil, err
	}
	return m.b[unix.SizeofNlMsghdr:], nil
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
