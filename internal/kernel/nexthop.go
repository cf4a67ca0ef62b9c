package kernel

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

const sizeofNhMsg = 8 // struct nhmsg: family, scope, protocol, resvd, flags

// moveNextHops writes the messages that replace the nexthop objects that the routes
// name, and the members of the groups among them, by themselves with another device.
// Every route that names them follows at once.
func (k *Kernel) moveNextHops(ctx context.Context, routes []model.Route, from, to int) ([]routeChange, error) {
	ids := map[uint32]bool{}
	for _, r := range routes {
		if r.NextHopID != 0 {
			ids[r.NextHopID] = true
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	objects := map[uint32][]byte{}
	request := func() *message { return newMessage(unix.RTM_GETNEXTHOP, 0).raw(make([]byte, sizeofNhMsg)) }
	err := k.rt.dump(ctx, request, func(body []byte) error {
		if len(body) < sizeofNhMsg {
			return errTruncated
		}
		objects[attrU32(body[sizeofNhMsg:], unix.NHA_ID)] = body
		return nil
	})
	if err != nil {
		return nil, refusal("nexthop objects", err)
	}
	for id := range ids {
		if body, ok := objects[id]; ok {
			for _, member := range groupMembers(body) {
				ids[member] = true
			}
		}
	}
	var out []routeChange
	for id := range ids {
		if body, ok := patchNextHop(objects[id], from, to); ok {
			m := newMessage(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_REPLACE).raw(body)
			out = append(out, routeChange{m, fmt.Sprintf("nexthop %d", id)})
		}
	}
	return out, nil
}

// groupMembers reads NHA_GROUP, an array of struct nexthop_grp (id, weight, 3 reserved).
func groupMembers(body []byte) []uint32 {
	var out []uint32
	v := findAttr(body[sizeofNhMsg:], unix.NHA_GROUP)
	for ; len(v) >= 8; v = v[8:] {
		out = append(out, native.Uint32(v))
	}
	return out
}

// patchNextHop copies an object with its device exchanged, false if it has another.
func patchNextHop(body []byte, from, to int) ([]byte, bool) {
	if len(body) < sizeofNhMsg || int(attrU32(body[sizeofNhMsg:], unix.NHA_OIF)) != from {
		return nil, false
	}
	m := &message{b: append([]byte(nil), body[:sizeofNhMsg]...)}
	native.PutUint32(m.b[4:], native.Uint32(m.b[4:])&nextHopOnLink)
	m.b[1] = 0 // nh_scope is the kernel's to say: given, it is refused (nh_valid_get_del_req, rtm_to_nh_config)
	err := walk(body[sizeofNhMsg:], func(typ uint16, v []byte) {
		if typ == unix.NHA_OIF {
			v = native.AppendUint32(nil, uint32(to))
		}
		m.attr(typ, v)
	})
	return m.b, err == nil
}
