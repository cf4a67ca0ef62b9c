package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// rawNeighbour is one RTM_NEWNEIGH with indexes in place of names: a neighbour of IP,
// or an entry of a forwarding database (family AF_BRIDGE).
type rawNeighbour struct {
	family        uint8
	index, master int
	state         uint16
	flags         uint8
	dst           []byte
	mac           model.MAC
	vlan          uint16
	protocol      uint8
	rank          int // of its link, see sortFDB
}

// neighbourHeader is struct ndmsg.
func neighbourHeader(family uint8, index int, state uint16, flags uint8) []byte {
	b := native.AppendUint32([]byte{family, 0, 0, 0}, uint32(index))
	b = native.AppendUint16(b, state)
	return append(b, flags, 0)
}

const sizeofNdMsg = 12

func parseNeighbour(b []byte) (rawNeighbour, error) {
	if len(b) < sizeofNdMsg {
		return rawNeighbour{}, errTruncated
	}
	n := rawNeighbour{family: b[0], index: int(int32(native.Uint32(b[4:]))), state: native.Uint16(b[8:]), flags: b[10]}
	err := walk(b[sizeofNdMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NDA_DST:
			n.dst = v
		case unix.NDA_LLADDR:
			n.mac = formatMAC(v)
		case unix.NDA_MASTER:
			n.master = int(getU32(v))
		case ndaProtocol:
			n.protocol = getU8(v)
		case unix.NDA_VLAN:
			n.vlan = getU16(v)
		}
	})
	return n, err
}

func (k *Kernel) dumpNeighbours(ctx context.Context, family, flags uint8, fn func(rawNeighbour)) error {
	request := func() *message { return newMessage(unix.RTM_GETNEIGH, 0).raw(neighbourHeader(family, 0, 0, flags)) }
	err := k.rt.dump(ctx, request, func(body []byte) error {
		n, err := parseNeighbour(body)
		if err == nil && n.family == family {
			fn(n)
		}
		return err
	})
	if isErrno(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// neighbours dumps the ARP and NDP tables and the proxied addresses.
func (k *Kernel) neighbours(ctx context.Context) ([]rawNeighbour, error) {
	var out []rawNeighbour
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, flags := range []uint8{0, unix.NTF_PROXY} {
			if err := k.dumpNeighbours(ctx, family, flags, func(n rawNeighbour) { out = append(out, n) }); err != nil {
				return nil, refusal("neighbours", err)
			}
		}
	}
	return out, nil
}

func (n rawNeighbour) neighbour(link string) model.Neighbour {
	protocol := ""
	if n.protocol != 0 {
		protocol = routeProtocols.word(uint32(n.protocol))
	}
	return model.Neighbour{
		Protocol: protocol, Link: link, Address: getAddr(n.dst), MAC: n.mac, State: neighbourStates.word(uint32(n.state)),
		Router: n.flags&unix.NTF_ROUTER != 0, Proxy: n.flags&unix.NTF_PROXY != 0,
	}
}

// resolved are the states in which a neighbour's MAC is known (NUD_VALID without noarp).
const resolved = unix.NUD_PERMANENT | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE

// copyNeighbours copies what is resolved, and what is answered for in others' stead. Who is being asked again (delay, probe) is
// copied as stale: the copy is used at once and confirmed by its first traffic.
func (k *Kernel) copyNeighbours(ctx context.Context, from, to string) error {
	source, err := k.linkByName(from)
	if err != nil {
		return err
	}
	target, err := k.linkByName(to)
	if err != nil {
		return err
	}
	all, err := k.neighbours(ctx)
	if err != nil {
		return err
	}
	var ms []*message
	var which []rawNeighbour
	for _, n := range all {
		if n.index != source.Index {
			continue
		}
		if n.flags&unix.NTF_PROXY != 0 && routeProtocols.word(uint32(n.protocol)) == model.ProtocolLearned {
			continue // it belongs to this very link
		}
		if n.flags&unix.NTF_PROXY != 0 {
			m := newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE).raw(neighbourHeader(n.family, target.Index, n.state, n.flags&(unix.NTF_PROXY|unix.NTF_ROUTER)))
			m.attr(unix.NDA_DST, n.dst)
			ms, which = append(ms, m), append(which, n)
			continue
		}
		if n.state&resolved == 0 || n.mac == "" {
			continue
		}
		state := n.state
		if state&(unix.NUD_DELAY|unix.NUD_PROBE) != 0 {
			state = unix.NUD_STALE
		}
		mac, err := parseMAC(n.mac)
		if err != nil {
			return err
		}
		m := newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE).raw(neighbourHeader(n.family, target.Index, state, n.flags&unix.NTF_ROUTER))
		m.attr(unix.NDA_DST, n.dst)
		m.attr(unix.NDA_LLADDR, mac)
		ms, which = append(ms, m), append(which, n)
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		errs = append(errs, refusal(fmt.Sprintf("neighbour %s on %s", getAddr(which[i].dst), to), err))
	}
	return errors.Join(errs...)
}
