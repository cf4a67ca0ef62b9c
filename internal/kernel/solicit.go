package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// setToken sets a link's interface identifier. The kernel refuses one where RAs are not
// heard (inet6_set_iftoken).
func (k *Kernel) setToken(o model.SetToken) error {
	token, err := netip.ParseAddr(o.Token)
	if err != nil || !token.Is6() {
		return fmt.Errorf("token %q of %s: %w", o.Token, o.Link, model.ErrInvalid)
	}
	l, err := k.linkByName(o.Link)
	if err != nil {
		return err
	}
	m := linkMessage(unix.RTM_SETLINK, 0, l.Index, 0, 0)
	m.nest(unix.IFLA_AF_SPEC, func() {
		m.nest(unix.AF_INET6, func() { m.addr(unix.IFLA_INET6_TOKEN, token) })
	})
	return refusal(fmt.Sprintf("token %s on %s", token, o.Link), k.rt.do(m))
}

// solicitEvery is RTR_SOLICITATION_INTERVAL, shortened: a router answers the first one
// within half a second (MAX_RA_DELAY_TIME), unless it has just advertised (RFC 4861, 10).
const solicitEvery = time.Second

// solicitRouters asks for advertisements until the kernel has a default route of its own
// from every router whose moved route waits, and deletes those.
func (k *Kernel) solicitRouters(ctx context.Context, o model.SolicitRouters) error {
	l, err := k.linkByName(o.Link)
	if err != nil {
		return err
	}
	end := time.Now().Add(time.Duration(o.Timeout) * time.Millisecond)
	var asked time.Time
	for {
		interim, waiting, err := k.interimRoutes(ctx, o.Link)
		if err != nil {
			return err
		}
		if err := k.deleteRoutes(interim); err != nil {
			return err
		}
		if !waiting || time.Now().After(end) {
			return nil // what waits on goes by its lifetime
		}
		if time.Since(asked) > solicitEvery {
			asked = time.Now()
			if err := k.sendSolicitation(l.Index); err != nil && !isErrno(err, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.ENETDOWN) {
				return refusal("router solicitation on "+o.Link, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// interimRoutes lists the stand-ins whose router the kernel has heard since, and tells
// whether others wait on.
func (k *Kernel) interimRoutes(ctx context.Context, link string) (replaced []model.Route, waiting bool, err error) {
	routes, err := k.namedRoutes(ctx, unix.AF_INET6)
	if err != nil {
		return nil, false, err
	}
	for _, r := range routes {
		if !r.IsInterimRA() || r.Link() != link {
			continue
		}
		heard := slices.ContainsFunc(routes, func(o rawRoute) bool {
			return o.Protocol == "ra" && o.IsDefault() && o.Metric == model.MetricRA && o.Table == r.Table &&
				slices.ContainsFunc(o.NextHops, func(h model.NextHop) bool { return h.Link == link && h.Gateway == r.Gateway() })
		})
		if heard {
			replaced = append(replaced, r.Route)
		}
		waiting = waiting || !heard
	}
	return replaced, waiting, nil
}

// sendSolicitation sends one from an address of the link, or from none while its own are
// tentative; the kernel chooses, and fills in the checksum.
func (k *Kernel) sendSolicitation(index int) error {
	return k.inside(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		err = errors.Join(
			// Receivers drop anything that may have come through a router: RFC 4861, 6.1.1.
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index))
		if err != nil {
			return err
		}
		const routerSolicitation = 133
		allRouters := netip.MustParseAddr("ff02::2")
		return unix.Sendto(fd, []byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0}, 0,
			&unix.SockaddrInet6{Addr: allRouters.As16(), ZoneId: uint32(index)})
	})
}
