package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// NDTA_*, include/uapi/linux/neighbour.h.
const (
	ndtaName    = 1
	ndtaThresh2 = 3
	ndtaThresh3 = 4
	ndtaConfig  = 5
	ndtaStats   = 7
)

// Where in struct ndt_config and struct ndt_stats the entries and the refusals are.
const (
	ndtConfigEntries  = 4
	ndtStatsTableFull = 10 * 8
)

// NeighbourTables reads how full the neighbour tables are. The tables' own messages have
// thresholds; those of each link's parameters have none.
func (k *Kernel) NeighbourTables(ctx context.Context) ([]model.NeighbourTable, error) {
	families := map[string]int{"arp_cache": 4, "ndisc_cache": 6}
	var out []model.NeighbourTable
	request := func() *message { return newMessage(unix.RTM_GETNEIGHTBL, 0).raw([]byte{unix.AF_UNSPEC, 0, 0, 0}) }
	err := k.rt.dump(ctx, request, func(body []byte) error {
		if len(body) < 4 {
			return errTruncated
		}
		attrs := body[4:]
		family := families[string(trimNul(findAttr(attrs, ndtaName)))]
		if family == 0 || findAttr(attrs, ndtaThresh3) == nil {
			return nil
		}
		t := model.NeighbourTable{Family: family, Soft: attrU32(attrs, ndtaThresh2), Hard: attrU32(attrs, ndtaThresh3)}
		if c := findAttr(attrs, ndtaConfig); len(c) >= ndtConfigEntries+4 {
			t.Entries = native.Uint32(c[ndtConfigEntries:])
		}
		if s := findAttr(attrs, ndtaStats); len(s) >= ndtStatsTableFull+8 {
			t.Fulls = native.Uint64(s[ndtStatsTableFull:])
		}
		out = append(out, t)
		return nil
	})
	return out, refusal("neighbour tables", err)
}

func trimNul(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// IFLA_BR_MCAST_QUERIER_STATE (Linux 5.16) and what is in it, include/uapi/linux/if_bridge.h.
const (
	brMcastQuerierState = 47
	bridgeQuerierIP     = 1
	bridgeQuerierTimer  = 3
	bridgeQuerierIP6    = 5
	bridgeQuerierTimer6 = 7
)

// Queriers tells of bridges whether another host's multicast queries have been heard: its
// address, or an invalid one for none. A kernel before Linux 5.16 does not tell, and one that
// has nothing to tell leaves the attribute out as well: ok is false for the former.
func (k *Kernel) Queriers(bridges []string) (out map[string]netip.Addr, ok bool, err error) {
	if !since(5, 16) {
		return nil, false, nil
	}
	out = map[string]netip.Addr{}
	for _, name := range bridges {
		l, err := k.linkByName(name)
		if isGone(err) || isErrno(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		out[name] = otherQuerier(l.querier)
	}
	return out, true, nil
}

// otherQuerier: the address may be the bridge's own; a timer runs for another's only
// (br_multicast_dump_querier_state).
func otherQuerier(state []byte) netip.Addr {
	switch {
	case findAttr(state, bridgeQuerierTimer) != nil:
		return getAddr(findAttr(state, bridgeQuerierIP))
	case findAttr(state, bridgeQuerierTimer6) != nil:
		return getAddr(findAttr(state, bridgeQuerierIP6))
	default:
		return netip.Addr{}
	}
}

// since tells whether this kernel is of a version or later.
func since(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b)
	return err == nil && (a > major || a == major && b >= minor)
}
