package doctor

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// bridgeLoop: without spanning tree a frame for everybody goes round a loop for ever, and is
// copied each time.
var bridgeLoop = Check{
	ID:    "bridge-loop",
	Title: "A bridge is connected with itself by a veth pair",
	Shows: "one broadcast fills the bridge and a processor; machines lose most of their packets, MAC addresses wander from port to port",
	Knows: "both halves of a veth pair are up and ports of one bridge, or of two bridges that are connected twice, and the bridge does not run the spanning tree protocol",
	Mends: "one half of the pair is taken down",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			loops := h.loops(b.Name)
			if b.Bridge.STP || len(loops) == 0 {
				continue
			}
			l := loops[0]
			out = append(out, Finding{Object: b.Name, Severity: Broken, Sure: Certain,
				What: fmt.Sprintf("%s is connected with itself by %s and %s: what is for everybody goes round for ever", b.Name, l.Name, l.Peer.Name),
				Seen: []string{fmt.Sprintf("%s and %s are one cable, up, and lead from %s to %s", l.Name, l.Peer.Name, l.Master, h.links[l.Peer.Name].Master), b.Name + ": stp_state 0"},
				Mend: by("take one half down", model.SetUp{Link: l.Name}),
			})
		}
		return out
	},
}

// loops are the ports of a bridge by which veth pairs close a circle.
func (h *Host) loops(bridge string) []*model.Link {
	var out []*model.Link
	ways := map[string][]*model.Link{} // by the other bridge
	for _, p := range h.ports[bridge] {
		far := h.farPort(p)
		switch {
		case far == nil:
		case far.Master == bridge:
			if p.Name < far.Name {
				out = append(out, p)
			}
		default:
			ways[far.Master] = append(ways[far.Master], p)
		}
	}
	for _, ps := range ways {
		if len(ps) > 1 {
			out = append(out, ps[1])
		}
	}
	slices.SortFunc(out, func(a, b *model.Link) int { return model.NaturalCompare(a.Name, b.Name) })
	return out
}

// farPort is the port at the other end of a port's cable, where both are up.
func (h *Host) farPort(p *model.Link) *model.Link {
	if p.Kind != model.Veth || p.Peer == nil || p.Peer.Namespace != "" || !p.Up || !p.Carrier {
		return nil
	}
	far := h.links[p.Peer.Name]
	if far == nil || !far.Up || h.links[far.Master] == nil || h.links[far.Master].Kind != model.Bridged {
		return nil
	}
	return far
}
