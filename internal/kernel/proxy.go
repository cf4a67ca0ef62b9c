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
		return k.sendProxies(o.Link, o.Addresses, func(a netip.Addr, index int) *message {
			m := proxyMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a, index)
			m.attr(ndaProtocol, []byte{uint8(protocol)})
			return m
		})
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
	k.tellMoved(&ns, o, proxied)
	if len(proxied) > 0 {
		err = k.changeProxies(ctx, model.DeleteProxies{Link: o.Uplink, Addresses: proxied})
	}
	return errors.Join(err, k.deleteRoutes(routes))
}

// tellMoved tells both sides, where the uplink is in the machines' bridge by now, that they
// are on one Ethernet: the LAN where the machines are, in their own name, and the machines
// where those of the LAN are whom the host knows. Else each would go on sending to the host
// until it asks again, half a minute later (neigh_periodic_work, nud_state). It is a
// kindness, by ARP only: IPv6 finds out by itself, and a frame that is lost is no error.
func (k *Kernel) tellMoved(ns *model.Namespace, o model.ForgetLearned, machines []netip.Addr) {
	uplink, bridge := ns.Link(o.Uplink), ns.Link(o.Link)
	if uplink == nil || bridge == nil || uplink.Master != o.Link {
		return
	}
	type host struct {
		a   netip.Addr
		mac []byte
	}
	var lan, behind []host
	for _, nb := range ns.Neighbours {
		mac, err := parseMAC(nb.MAC)
		switch {
		case err != nil || nb.Link != o.Link || nb.Proxy || !nb.Address.Is4():
		case slices.Contains(machines, nb.Address):
			behind = append(behind, host{nb.Address, mac})
		default:
			lan = append(lan, host{nb.Address, mac})
		}
	}
	everybody := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	_ = k.inside(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		send := func(to, from []byte, h host) {
			_ = unix.Sendto(fd, arpIsAt(to, from, h.a, h.mac), 0, &unix.SockaddrLinklayer{Ifindex: bridge.Index})
		}
		own, err := parseMAC(bridge.MAC)
		for _, m := range behind {
			send(everybody, m.mac, m)
			for _, h := range lan {
				send(m.mac, own, h)
			}
		}
		return err
	})
}

// arpIsAt is an answer that nobody asked for (RFC 826): an address is at a MAC address.
func arpIsAt(to, from []byte, a netip.Addr, mac []byte) []byte {
	return slices.Concat(to, from, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 2}, mac, a.AsSlice(), to, a.AsSlice())
}
