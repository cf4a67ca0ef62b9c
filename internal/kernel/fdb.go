package kernel

import (
	"context"

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
