package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// ndaProtocol is NDA_PROTOCOL (include/uapi/linux/neighbour.h), which x/sys lacks.
const ndaProtocol = 12

// changeProxies makes a link answer for addresses that are elsewhere, or no longer.
func (k *Kernel) changeProxies(ctx context.Context, op model.Operation) error {
	switch o := op.(type) {
	case model.AddProxies:
		protocol, ok := routeProtocols.number(o.Protocol)
		if o.Protocol != "" && (!ok || protocol > 255) {
			return fmt.Errorf("proxies on %s: %w: protocol %q", o.Link, model.ErrInvalid, o.Protocol)
		}
		err := k.sendProxies(o.Link, o.Addresses, func(a netip.Addr, index int) *message {
			m := proxyMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a, index)
			m.attr(ndaProtocol, []byte{uint8(protocol)})
			return m
		})
		if err == nil {
			var ns model.Namespace
			if ns, err = k.Observe(ctx); err == nil {
				k.tellRouted(&ns, o)
			}
		}
		return err
	case model.DeleteProxies:
		return k.sendProxies(o.Link, o.Addresses, func(a netip.Addr, index int) *message { return proxyMessage(unix.RTM_DELNEIGH, 0, a, index) })
	case model.ForgetLearned:
		return k.forgetLearned(ctx, o)
	default:
		return fmt.Errorf("%s: %w", op.Op(), model.ErrInvalid)
	}
}

func proxyMessage(typ, flags uint16, a netip.Addr, index int) *message {
	m := newMessage(typ, flags).raw(neighbourHeader(familyOf(a), index, 0, unix.NTF_PROXY))
	m.attr(unix.NDA_DST, a.AsSlice())
	return m
}

func (k *Kernel) sendProxies(link string, addresses []netip.Addr, write func(netip.Addr, int) *message) error {
	l, err := k.linkByName(link)
	if err != nil {
		return err
	}
	ms := make([]*message, len(addresses))
	for i, a := range addresses {
		ms[i] = write(a, l.Index)
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		if !isErrno(err, unix.ENOENT) {
			errs = append(errs, refusal(fmt.Sprintf("proxy for %s on %s", addresses[i], link), err))
		}
	}
	return errors.Join(errs...)
}

// forgetLearned finds what carries our mark, and nothing else. A link that is gone took
// its own with it.
func (k *Kernel) forgetLearned(ctx context.Context, o model.ForgetLearned) error {
	ns, err := k.Observe(ctx)
	if err != nil {
		return err
	}
	var proxied []netip.Addr
	for _, nb := range ns.Proxies(o.Uplink) {
		if nb.Protocol == model.ProtocolLearned {
			proxied = append(proxied, nb.Address)
		}
	}
	var routes []model.Route
	for _, r := range ns.RoutesOf(o.Link) {
		if r.Protocol == model.ProtocolLearned {
			routes = append(routes, r)
		}
	}
	k.tellBridged(&ns, o)
	if len(proxied) > 0 {
		err = k.changeProxies(ctx, model.DeleteProxies{Link: o.Uplink, Addresses: proxied})
	}
	return errors.Join(err, k.deleteRoutes(routes))
}
