package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// switchSTP: a port with BPDU guard is shut by the first BPDU, until somebody opens it.
var switchSTP = Check{
	ID:    "switch-stp",
	Title: "The switch speaks the spanning tree protocol, and BPDUs can reach it from here",
	Shows: "the whole host is off the LAN from one moment to the next: the switch has shut its port (BPDU guard)",
	Knows: "BPDUs were heard from the switch (--listen), and the bridge speaks STP itself; or it does not, and forwards the BPDUs of a machine whose port is not secured",
	Mends: "STP off on the bridge; ports of machines secured (security: strict), which keeps their BPDUs off",
	Needs: []Fact{FactSwitch},
	Find: func(h *Host) []Finding {
		var out []Finding
		done := map[string]bool{}
		for _, s := range h.Facts.Switch {
			l := h.links[s.Link]
			if s.Protocol != "stp" || l == nil || done[l.Name] {
				continue
			}
			b := h.links[l.Master]
			if b == nil || b.Kind != model.Bridged || b.Bridge == nil || h.ownBPDU(b, s.From) {
				continue
			}
			done[l.Name] = true
			seen := fmt.Sprintf("heard on %s: %s from %s", l.Name, s.Detail, s.From)
			if b.Bridge.STP {
				out = append(out, Finding{Object: l.Name, Severity: Risk, Sure: Possible,
					What: fmt.Sprintf("the switch at %s speaks spanning tree, and so does %s: with BPDU guard it shuts the port", l.Name, b.Name),
					Seen: []string{seen, b.Name + ": stp_state 1"},
					Mend: by("switch spanning tree off on "+b.Name, model.SetBridge{Bridge: b.Name, STP: new(bool)}),
				})
				continue
			}
			var open []string
			for _, p := range h.guests(b.Name) {
				if sec := h.here.SecurityOf(p.Name); !p.Port.Guard && (sec == nil || sec.Level != model.SecurityStrict || sec.Allows(model.AllowSTP)) {
					open = append(open, p.Name)
				}
			}
			if len(open) > 0 {
				out = append(out, Finding{Object: l.Name, Severity: Note, Sure: Possible,
					What: fmt.Sprintf("the switch at %s speaks spanning tree: a BPDU of a machine on %s would shut its port, if it has BPDU guard", l.Name, runs(open)),
					Seen: []string{seen, "ports that may send BPDUs: " + runs(open)},
					Mend: byHand("secure the ports: security: strict in the file, or 'drawbridge tap add --security strict'"),
				})
			}
		}
		return out
	},
}

// ownBPDU tells whether what was heard is the bridge's own.
func (h *Host) ownBPDU(b *model.Link, from model.MAC) bool {
	if from == b.MAC {
		return true
	}
	for _, p := range h.ports[b.Name] {
		if p.MAC == from {
			return true
		}
	}
	return false
}
