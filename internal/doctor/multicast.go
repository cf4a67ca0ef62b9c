package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// multicastQuerier: a Linux bridge that snoops and hears no querier floods, and harms nobody
// (br_multicast_querier_exists). A switch that snoops often does not: it forgets the members
// after some four minutes, and IPv6 neighbour discovery is multicast.
var multicastQuerier = Check{
	ID:    "multicast-querier",
	Title: "Nobody on the LAN asks for members of multicast groups",
	Shows: "IPv6 and mDNS between machines and hosts behind a switch work for some minutes, and then no longer",
	Knows: "the bridge snoops, sends no queries, and has heard none since minutes (IFLA_BR_MCAST_QUERIER_STATE), while it has machines and a way out. The bridge itself floods then; a switch behind the uplink that snoops may forget the members (RFC 4541, 2.1.1)",
	Mends: "the bridge asks itself (mcast_querier 1): one small packet every two minutes",
	Needs: []Fact{FactQueriers},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			other, known := h.Facts.Queriers[b.Name]
			if !known || other.IsValid() || !b.Bridge.McastSnooping || b.Bridge.McastQuerier || len(h.uplinks(b.Name)) == 0 || len(h.guests(b.Name)) == 0 {
				continue
			}
			out = append(out, Finding{Object: b.Name, Severity: Note, Sure: Possible,
				What: fmt.Sprintf("nobody on the LAN of %s asks for multicast members: a switch that snoops there may forget them", b.Name),
				Seen: []string{b.Name + ": mcast_snooping 1, mcast_querier 0; no query heard"},
				Mend: by("ask from "+b.Name, model.SetBridge{Bridge: b.Name, McastQuerier: &on}),
			})
		}
		return out
	},
}

var on = true
