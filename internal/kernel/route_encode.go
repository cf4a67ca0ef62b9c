package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// encodeRoute writes an RTM_NEWROUTE or RTM_DELROUTE; index finds links by name.
func encodeRoute(typ, msgFlags uint16, r model.Route, index func(string) (int, error)) (*message, error) {
	r = withDefaults(r)
	protocol, ok1 := routeProtocols.number(r.Protocol)
	scope, ok2 := scopes.number(r.Scope)
	kind, ok3 := routeTypes.number(r.Type)
	if !ok1 || !ok2 || !ok3 || !r.Destination.IsValid() {
		return nil, fmt.Errorf("route %s: %w: protocol %q, scope %q, type %q", r.Destination, model.ErrInvalid, r.Protocol, r.Scope, r.Type)
	}
	var flags uint32
	if len(r.NextHops) == 1 && r.NextHops[0].OnLink {
		flags |= nextHopOnLink
	}
	family := familyOf(r.Destination.Addr())
	srcLen := 0
	if r.From.IsValid() {
		srcLen = r.From.Bits()
	}
	m := newMessage(typ, msgFlags).raw(routeHeader(family, uint8(r.Destination.Bits()), uint8(srcLen), r.TOS, r.Table, uint8(protocol), uint8(scope), uint8(kind), flags))
	m.u32(unix.RTA_TABLE, r.Table)
	m.addr(unix.RTA_DST, r.Destination.Masked().Addr())
	if r.From.IsValid() {
		m.addr(unix.RTA_SRC, r.From.Masked().Addr())
	}
	if r.Metric != 0 {
		m.u32(unix.RTA_PRIORITY, r.Metric)
	}
	m.addr(unix.RTA_PREFSRC, r.Source)
	if len(r.Metrics) > 0 && typ == unix.RTM_NEWROUTE {
		m.routeMetrics(r.Metrics)
	}
	if typ == unix.RTM_NEWROUTE {
		if n, ok := routePrefs.number(r.Pref); ok && r.Pref != "" && family == unix.AF_INET6 {
			m.u8(unix.RTA_PREF, uint8(n))
		}
		if r.Expires != 0 && family == unix.AF_INET6 {
			m.u32(rtaExpires, r.Expires)
		}
	}
	if r.NextHopID != 0 {
		m.u32(rtaNextHopID, r.NextHopID) // device and gateway are the object's
		return m, nil
	}
	return m, m.nextHops(r, index)
}

// withDefaults fills in what iproute2 would (iproute_modify).
func withDefaults(r model.Route) model.Route {
	if r.Table == 0 {
		r.Table = model.TableMain
	}
	if r.Type == "" {
		r.Type = "unicast"
	}
	if r.Protocol == "" {
		r.Protocol = "boot"
	}
	if r.Scope == "" {
		r.Scope = "global"
		if r.Is4() && r.Link() != "" && !r.Gateway().IsValid() && r.Type == "unicast" {
			r.Scope = "link"
		}
	}
	return r
}

func (m *message) routeMetrics(metrics map[string]uint32) {
	m.nest(unix.RTA_METRICS, func() {
		for typ := uint16(unix.RTAX_LOCK); typ <= unix.RTAX_MAX; typ++ {
			if v, ok := metrics[routeMetrics.word(uint32(typ))]; ok {
				m.u32(typ, v)
			}
		}
	})
}

func (m *message) nextHops(r model.Route, index func(string) (int, error)) error {
	dst := r.Destination.Addr()
	gateway := func(h model.NextHop) {
		switch {
		case !h.Gateway.IsValid():
		case h.Gateway.BitLen() == dst.BitLen():
			m.addr(unix.RTA_GATEWAY, h.Gateway)
		default:
			m.attr(unix.RTA_VIA, append(native.AppendUint16(nil, uint16(familyOf(h.Gateway))), h.Gateway.AsSlice()...))
		}
	}
	if len(r.NextHops) == 1 {
		h := r.NextHops[0]
		if h.Link != "" {
			i, err := index(h.Link)
			if err != nil {
				return err
			}
			m.u32(unix.RTA_OIF, uint32(i))
		}
		gateway(h)
		return nil
	}
	var failed error
	if len(r.NextHops) > 1 {
		m.nest(unix.RTA_MULTIPATH, func() {
			for _, h := range r.NextHops {
				i, err := index(h.Link)
				failed = errors.Join(failed, err)
				start := len(m.b)
				hop := []byte{0, 0, 0, uint8(max(h.Weight, 1) - 1)}
				if h.OnLink {
					hop[2] |= nextHopOnLink
				}
				m.b = append(m.b, native.AppendUint32(hop, uint32(i))...)
				gateway(h)
				native.PutUint16(m.b[start:], uint16(len(m.b)-start))
			}
		})
	}
	return failed
}
