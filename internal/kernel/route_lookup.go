package kernel

import (
	"errors"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// LookupRoute asks the kernel by which way a packet would go (RTM_GETROUTE). An answer
// without a type is that there is none.
func (k *Kernel) LookupRoute(q model.RouteQuery) (model.RouteAnswer, error) {
	family, bits, flags := uint8(unix.AF_INET), uint8(32), uint32(unix.RTM_F_LOOKUP_TABLE)
	if q.Destination.Is6() { // which takes no such flag, and tells the table anyhow (inet6_rtm_valid_getroute_req)
		family, bits, flags = unix.AF_INET6, 128, 0
	}
	srcLen := uint8(0)
	if q.Source.IsValid() {
		srcLen = bits
	}
	m := newMessage(unix.RTM_GETROUTE, 0).raw(routeHeader(family, bits, srcLen, 0, 0, 0, 0, 0, flags))
	m.addr(unix.RTA_DST, q.Destination)
	m.addr(unix.RTA_SRC, q.Source)
	for _, l := range []struct {
		typ  uint16
		name string
	}{{unix.RTA_IIF, q.IIF}, {unix.RTA_OIF, q.OIF}} {
		if l.name == "" {
			continue
		}
		link, err := k.linkByName(l.name)
		if err != nil {
			return model.RouteAnswer{}, err
		}
		m.u32(l.typ, uint32(link.Index))
	}
	if q.Mark != 0 {
		m.u32(unix.RTA_MARK, q.Mark)
	}
	body, err := k.rt.get(m)
	switch {
	case isErrno(err, unix.ENETUNREACH, unix.EHOSTUNREACH):
		return model.RouteAnswer{}, nil
	case isErrno(err, unix.EACCES):
		return model.RouteAnswer{Type: "prohibit"}, nil
	case isErrno(err, unix.EINVAL) && q.Destination.Is4(): // fib_props of a blackhole
		return model.RouteAnswer{Type: "blackhole"}, nil
	case err != nil:
		return model.RouteAnswer{}, refusal("route to "+q.Destination.String(), err)
	}
	r, err := parseRoute(body)
	if err != nil {
		return model.RouteAnswer{}, err
	}
	a := model.RouteAnswer{Type: r.Type, Table: r.Table, Source: r.Source, Gateway: r.Gateway()}
	if len(r.oifs) > 0 {
		if a.Link, err = k.nameOf(r.oifs[0]); err != nil {
			return a, err
		}
	}
	if r.Type == "unreachable" { // IPv6 answers with a route of that type where it has none
		return model.RouteAnswer{}, nil
	}
	return a, nil
}

// nameOf is a link's name by its index.
func (k *Kernel) nameOf(index int) (string, error) {
	m := newMessage(unix.RTM_GETLINK, 0).raw(linkHeader(unix.AF_UNSPEC, index, 0, 0))
	body, err := k.rt.get(m)
	if err != nil {
		return "", err
	}
	if len(body) < unix.SizeofIfInfomsg {
		return "", errors.New("link: " + errTruncated.Error())
	}
	return getString(findAttr(body[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME)), nil
}
