package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// patience is how long a guest's DHCP client and a boot from the network wait at least, in
// hundredths of a second: a port that forwards by then does no harm.
const patience = 800

// spanningTree: with STP a new port listens for the forward delay, learns for as long
// again, and forwards nothing meanwhile (br_forward_delay_timer_expired). Without STP the
// delay is not used (br_make_forwarding), whatever its value.
var spanningTree = Check{
	ID:    "bridge-stp",
	Title: "A bridge with machines runs the spanning tree protocol with a long forward delay",
	Shows: "a machine has no network for half a minute after its start: DHCP gives up, a boot from the network fails",
	Knows: "the bridge has STP on and a forward delay of more than 4 s, and ports of machines; a port listens and then learns for that time each (br_make_forwarding). Without STP the delay is not used",
	Mends: "STP off, where the bridge has one way out and can make no loop; else the shortest delay, 2 s. Ports that wait are let through at once",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			guests := h.guests(b.Name)
			if !b.Bridge.STP || 2*b.Bridge.ForwardDelay <= patience || len(guests) == 0 {
				continue
			}
			f := Finding{Object: b.Name, Severity: Risk, Sure: Certain,
				What: fmt.Sprintf("%s runs the spanning tree protocol: a machine's port waits %s before it forwards anything", b.Name, seconds(2*b.Bridge.ForwardDelay)),
				Seen: []string{fmt.Sprintf("%s: stp_state 1, forward_delay %s", b.Name, seconds(b.Bridge.ForwardDelay)), "ports of machines: " + runs(names(guests))},
			}
			for _, p := range h.ports[b.Name] {
				if p.Port != nil && (p.Port.State == "listening" || p.Port.State == "learning") {
					f.Severity = Broken
					f.Seen = append(f.Seen, p.Name+": "+p.Port.State)
				}
			}
			if len(h.uplinks(b.Name)) > 1 || len(h.loops(b.Name)) > 0 {
				least := model.MinForwardDelay
				f.Mend = by("make the delay the shortest that the kernel takes; spanning tree stays, for there are two ways that could make a loop",
					model.SetBridge{Bridge: b.Name, ForwardDelay: &least})
			} else {
				f.Mend = by("switch spanning tree off: this bridge has one way out at most, and can make no loop by itself",
					model.SetBridge{Bridge: b.Name, STP: new(bool)})
			}
			out = append(out, f)
		}
		return out
	},
}
