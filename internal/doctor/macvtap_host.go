package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// macvtapHost: a macvlan's frames go down to the wire or to its brothers; the parent's own
// stack is neither (macvlan_queue_xmit).
var macvtapHost = Check{
	ID:    "macvtap-host",
	Title: "A machine on macvtap or macvlan does not reach its own host",
	Shows: "the machine reaches everybody on the LAN but the host that it runs on",
	Knows: "a macvtap or macvlan is on a link on which the host has an address; frames of such a link go to the wire, and no switch sends them back",
	Mends: "a bridge instead of macvtap; or the host gets its address on a macvlan (mode bridge) of its own beside it",
	Find: func(h *Host) []Finding {
		var out []Finding
		for i := range h.here.Links {
			p := &h.here.Links[i]
			if len(h.addresses[p.Name]) == linkLocals(h.addresses[p.Name]) {
				continue
			}
			var kids []string
			brother := false
			for j := range h.here.Links {
				l := &h.here.Links[j]
				if l.Parent == nil || l.Parent.Namespace != "" || l.Parent.Name != p.Name || l.Kind != model.Macvtap && l.Kind != model.Macvlan {
					continue
				}
				brother = brother || l.Kind == model.Macvlan && len(h.addresses[l.Name]) > linkLocals(h.addresses[l.Name])
				if l.Kind == model.Macvtap {
					kids = append(kids, l.Name)
				}
			}
			if len(kids) == 0 || brother {
				continue
			}
			out = append(out, Finding{Object: p.Name, Severity: Note, Sure: Certain,
				What: fmt.Sprintf("who is on %s does not reach this host at %s, nor this host them", runs(kids), model.SplitAddresses(h.addresses[p.Name])),
				Seen: []string{fmt.Sprintf("%s: parent %s, which has the host's addresses", runs(kids), p.Name)},
				Mend: byHand("put both into a bridge; or give the host an address on a macvlan beside them",
					"ip link add link "+p.Name+" name host0 type macvlan mode bridge"),
			})
		}
		return out
	},
}
