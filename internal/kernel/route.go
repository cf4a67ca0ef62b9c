package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// nextHopOnLink is the one bit of rtm_flags and rtnh_flags that is asked for; the others are states.
const nextHopOnLink = unix.RTNH_F_ONLINK

const (
	rtaExpires   = unix.RTA_EXPIRES
	rtaNextHopID = 0x1e // RTA_NH_ID, since Linux 5.3
)

// clockTicks per second of the times that netlink gives as clock_t (USER_HZ, which is
// 100 on every architecture that this program is built for).
const clockTicks = 100

// rawRoute is one RTM_NEWROUTE. body is kept, so that a route can be sent back with
// every attribute that it has, also those that the model does not know.
type rawRoute struct {
	model.Route
	body []byte
	// oifs are the indexes of NextHops, whose names are filled in later.
	oifs []int
}

// routeHeader is struct rtmsg.
func routeHeader(family, dstLen, srcLen, tos uint8, table uint32, protocol, scope, typ uint8, flags uint32) []byte {
	if table > 255 {
		table = unix.RT_TABLE_COMPAT // the number is in RTA_TABLE
	}
	return native.AppendUint32([]byte{family, dstLen, srcLen, tos, uint8(table), protocol, scope, typ}, flags)
}

// routes dumps the routes of all tables of one family.
func (k *Kernel) routes(ctx context.Context, family uint8) ([]rawRoute, error) {
	var out []rawRoute
	request := func() *message {
		return newMessage(unix.RTM_GETROUTE, 0).raw(routeHeader(family, 0, 0, 0, 0, 0, 0, 0, 0))
	}
	err := k.rt.dump(ctx, request, func(body []byte) error {
		if len(body) == 0 || body[0] != family {
			return nil // MPLS, multicast routing
		}
		r, err := parseRoute(body)
		if err != nil {
			return err
		}
		out = append(out, r)
		return nil
	})
	if err != nil && !isErrno(err, unix.EOPNOTSUPP) {
		return nil, refusal("routes", err)
	}
	return out, nil
}

func parseRoute(b []byte) (rawRoute, error) {
	if len(b) < unix.SizeofRtMsg {
		return rawRoute{}, errTruncated
	}
	family := b[0]
	r := rawRoute{body: b, Route: model.Route{
		TOS: b[3], Table: uint32(b[4]), Protocol: routeProtocols.word(uint32(b[5])),
		Scope: scopes.word(uint32(b[6])), Type: routeTypes.word(uint32(b[7])),
	}}
	hop := model.NextHop{OnLink: native.Uint32(b[8:])&nextHopOnLink != 0}
	oif := 0
	var dst, src []byte
	var nested error
	err := walk(b[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_DST:
			dst = v
		case unix.RTA_SRC:
			src = v
		case unix.RTA_TABLE:
			r.Table = getU32(v)
		case unix.RTA_PRIORITY:
			r.Metric = getU32(v)
		case unix.RTA_PREFSRC:
			r.Source = getAddr(v)
		case unix.RTA_OIF:
			oif = int(getU32(v))
		case unix.RTA_GATEWAY:
			hop.Gateway = getAddr(v)
		case unix.RTA_VIA:
			hop.Gateway = getVia(v)
		case unix.RTA_MULTIPATH:
			nested = r.parseMultipath(v)
		case rtaNextHopID:
			r.NextHopID = getU32(v)
		case unix.RTA_METRICS:
			r.Metrics = parseRouteMetrics(v)
		case unix.RTA_PREF:
			r.Pref = prefWord(getU8(v))
		case unix.RTA_CACHEINFO:
			// struct rta_cacheinfo: clntref, lastuse, expires (clock_t) ...
			if len(v) >= 12 && int32(native.Uint32(v[8:])) > 0 {
				r.Expires = max(native.Uint32(v[8:])/clockTicks, 1)
			}
		}
	})
	if err == nil {
		err = nested
	}
	r.Destination = getPrefix(family, dst, int(b[1]))
	if b[2] != 0 {
		r.From = getPrefix(family, src, int(b[2]))
	}
	if len(r.NextHops) == 0 && (oif != 0 || hop.Gateway.IsValid()) {
		r.NextHops, r.oifs = []model.NextHop{hop}, []int{oif}
	}
	return r, err
}

// prefWord is "" for medium, which every route has that was given none; the reserved
// value 2 is read as medium (RFC 4191, 2.1).
func prefWord(v uint8) string { return routePrefs[uint32(v)] }

// getVia reads RTA_VIA: a gateway of the other family (an IPv4 route by an IPv6 router).
func getVia(v []byte) netip.Addr {
	if len(v) < 2 {
		return netip.Addr{}
	}
	return getAddr(v[2:])
}

// eachHop calls fn with every struct rtnexthop of RTA_MULTIPATH and its attributes.
// What fn changes in hop is changed in v.
func eachHop(v []byte, fn func(hop, attrs []byte)) error {
	for len(v) >= unix.SizeofRtNexthop {
		n := int(native.Uint16(v))
		if n < unix.SizeofRtNexthop || n > len(v) {
			return errTruncated
		}
		fn(v[:unix.SizeofRtNexthop], v[unix.SizeofRtNexthop:n])
		v = v[min(align4(n), len(v)):]
	}
	return nil
}

func (r *rawRoute) parseMultipath(v []byte) error {
	var nested error
	err := eachHop(v, func(hop, attrs []byte) {
		h := model.NextHop{OnLink: hop[2]&nextHopOnLink != 0, Weight: int(hop[3]) + 1}
		err := walk(attrs, func(typ uint16, v []byte) {
			switch typ {
			case unix.RTA_GATEWAY:
				h.Gateway = getAddr(v)
			case unix.RTA_VIA:
				h.Gateway = getVia(v)
			}
		})
		nested = errors.Join(nested, err)
		r.NextHops = append(r.NextHops, h)
		r.oifs = append(r.oifs, int(int32(native.Uint32(hop[4:]))))
	})
	return errors.Join(err, nested)
}

func parseRouteMetrics(b []byte) map[string]uint32 {
	out := map[string]uint32{}
	_ = walk(b, func(typ uint16, v []byte) {
		// Congestion control is a name; it moves with the route's body only.
		if typ != unix.RTAX_CC_ALGO {
			out[routeMetrics.word(uint32(typ))] = getU32(v)
		}
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

// indexes finds links by name, each once.
func (k *Kernel) indexes() func(string) (int, error) {
	known := map[string]int{}
	return func(name string) (int, error) {
		if i, ok := known[name]; ok {
			return i, nil
		}
		l, err := k.linkByName(name)
		if err != nil {
			return 0, err
		}
		known[name] = l.Index
		return l.Index, nil
	}
}

// namedRoutes dumps the routes of one family with the names of their links.
func (k *Kernel) namedRoutes(ctx context.Context, family uint8) ([]rawRoute, error) {
	rs, err := k.routes(ctx, family)
	if err != nil {
		return nil, err
	}
	ls, err := k.links(ctx)
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range ls {
		names[l.Index] = l.Name
	}
	for i := range rs {
		for j := range rs[i].NextHops {
			rs[i].NextHops[j].Link = names[rs[i].oifs[j]]
		}
	}
	return rs, nil
}

func describe(r model.Route) string {
	parts := []string{r.Destination.String()}
	if g := r.Gateway(); g.IsValid() {
		parts = append(parts, "via "+g.String())
	}
	if l := r.Link(); l != "" {
		parts = append(parts, "dev "+l)
	}
	if r.Table != model.TableMain {
		parts = append(parts, fmt.Sprintf("table %d", r.Table))
	}
	return "route " + strings.Join(parts, " ")
}

func families(rs []model.Route) []uint8 {
	var four, six bool
	for _, r := range rs {
		four, six = four || r.Is4(), six || !r.Is4()
	}
	var out []uint8
	// IPv6 first: an IPv4 route may lead through an IPv6 router (RTA_VIA), which must be
	// within reach by then.
	if six {
		out = append(out, unix.AF_INET6)
	}
	if four {
		out = append(out, unix.AF_INET)
	}
	return out
}

var bothFamilies = []uint8{unix.AF_INET, unix.AF_INET6}
