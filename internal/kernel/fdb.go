package kernel

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// fdb dumps the forwarding databases of bridges, vxlans and NICs.
func (k *Kernel) fdb(ctx context.Context) ([]rawNeighbour, error) {
	var out []rawNeighbour
	if err := k.dumpNeighbours(ctx, unix.AF_BRIDGE, 0, func(n rawNeighbour) { out = append(out, n) }); err != nil {
		return nil, refusal("forwarding database", err)
	}
	return out, nil
}

func (n rawNeighbour) fdbEntry(link, master string) model.FDBEntry {
	e := model.FDBEntry{Link: link, MAC: n.mac, Master: master, VLAN: n.vlan, Remote: getAddr(n.dst)}
	switch { // fdb_to_nud
	case n.state&unix.NUD_PERMANENT != 0:
		e.State = "permanent"
	case n.state&unix.NUD_NOARP != 0:
		e.State = "static"
	}
	return e
}

// PortOf names the port of a bridge behind which a hardware address was last heard, ""
// where the bridge does not know. It needs no rights.
func (k *Kernel) PortOf(bridge string, mac model.MAC) (string, error) {
	hw, err := net.ParseMAC(string(mac))
	if err != nil {
		return "", fmt.Errorf("%s: %w", mac, model.ErrInvalid)
	}
	master, err := k.linkByName(bridge)
	if err != nil {
		return "", err
	}
	m := newMessage(unix.RTM_GETNEIGH, 0).raw(neighbourHeader(unix.AF_BRIDGE, 0, 0, 0))
	m.attr(unix.NDA_LLADDR, hw)
	m.u32(unix.NDA_MASTER, uint32(master.Index)) //nolint:gosec // an index is positive
	b, err := k.rt.get(m)
	if isErrno(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", refusal(bridge, err)
	}
	n, err := parseNeighbour(b)
	if err != nil {
		return "", err
	}
	b, err = k.rt.get(linkMessage(unix.RTM_GETLINK, 0, n.index, 0, 0))
	if err != nil {
		return "", refusal(bridge, err)
	}
	l, err := parseLink(b)
	return l.Name, err
}
