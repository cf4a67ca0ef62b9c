package kernel

import (
	"context"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// parseBridge reads IFLA_BR_* (br_fill_info).
func parseBridge(b []byte) *model.Bridge {
	br := &model.Bridge{}
	_ = walk(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_BR_STP_STATE:
			br.STP = getU32(v) != 0
		case unix.IFLA_BR_FORWARD_DELAY:
			br.ForwardDelay = getU32(v)
		case unix.IFLA_BR_AGEING_TIME:
			br.AgeingTime = getU32(v)
		case unix.IFLA_BR_VLAN_FILTERING:
			br.VLANFiltering = getU8(v) != 0
		case unix.IFLA_BR_MCAST_SNOOPING:
			br.McastSnooping = getU8(v) != 0
		case unix.IFLA_BR_MCAST_QUERIER:
			br.McastQuerier = getU8(v) != 0
		}
	})
	return br
}

// parsePort reads IFLA_BRPORT_* (br_port_fill_attrs).
func parsePort(b []byte) *model.BridgePort {
	p := &model.BridgePort{}
	_ = walk(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_BRPORT_STATE:
			p.State = portStates.word(uint32(getU8(v)))
		case unix.IFLA_BRPORT_PRIORITY:
			p.Priority = getU16(v)
		case unix.IFLA_BRPORT_COST:
			p.Cost = getU32(v)
		case unix.IFLA_BRPORT_MODE:
			p.Hairpin = getU8(v) != 0
		case unix.IFLA_BRPORT_GUARD:
			p.Guard = getU8(v) != 0
		case unix.IFLA_BRPORT_LEARNING:
			p.Learning = getU8(v) != 0
		case unix.IFLA_BRPORT_UNICAST_FLOOD:
			p.Flood = getU8(v) != 0
		case unix.IFLA_BRPORT_ISOLATED:
			p.Isolated = getU8(v) != 0
		case unix.IFLA_BRPORT_LOCKED:
			p.Locked = getU8(v) != 0
		}
	})
	return p
}

const filterVLANsCompressed = 1 << 2 // RTEXT_FILTER_BRVLAN_COMPRESSED

// IFLA_BRIDGE_VLAN_INFO and its flags, include/uapi/linux/if_bridge.h.
const (
	bridgeVLANInfo       = 2
	bridgeVLANPVID       = 1 << 1
	bridgeVLANUntagged   = 1 << 2
	bridgeVLANRangeBegin = 1 << 3
	bridgeVLANRangeEnd   = 1 << 4
)

// portVLANs reads the VLANs of every bridge port, by index. They are a dump of their
// own, and mean something only where a bridge filters by them.
func (k *Kernel) portVLANs(ctx context.Context) (map[int][]model.PortVLAN, error) {
	out := map[int][]model.PortVLAN{}
	request := func() *message {
		m := newMessage(unix.RTM_GETLINK, 0).raw(linkHeader(unix.AF_BRIDGE, 0, 0, 0))
		m.u32(unix.IFLA_EXT_MASK, filterVLANsCompressed)
		return m
	}
	err := k.rt.dump(ctx, request, func(body []byte) error {
		if len(body) < unix.SizeofIfInfomsg {
			return errTruncated
		}
		index := int(int32(native.Uint32(body[4:])))
		return walk(body[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
			if typ == unix.IFLA_AF_SPEC {
				out[index] = append(out[index], parsePortVLANs(v)...)
			}
		})
	})
	return out, refusal("VLANs of bridge ports", err)
}

func parsePortVLANs(b []byte) []model.PortVLAN {
	var out []model.PortVLAN
	begin := uint16(0)
	_ = walk(b, func(typ uint16, v []byte) {
		if typ != bridgeVLANInfo || len(v) < 4 {
			return
		}
		flags, id := native.Uint16(v), native.Uint16(v[2:])&0xfff
		if flags&bridgeVLANRangeBegin != 0 {
			begin = id
			return
		}
		first := id
		if flags&bridgeVLANRangeEnd != 0 {
			first = begin
		}
		for n := first; n <= id; n++ {
			out = append(out, model.PortVLAN{ID: n, PVID: flags&bridgeVLANPVID != 0, Untagged: flags&bridgeVLANUntagged != 0})
		}
	})
	return out
}
