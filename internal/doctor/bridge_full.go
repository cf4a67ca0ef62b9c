package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// nearlyFull is from how many ports on a bridge is told.
const nearlyFull = model.MaxPorts - 23

// bridgeFull: port numbers have ten bits, and 0 is not used (BR_MAX_PORTS).
var bridgeFull = Check{
	ID:    "bridge-full",
	Title: "A bridge has all the ports that it can have, or nearly",
	Shows: "the next machine does not start: exchange full",
	Knows: fmt.Sprintf("the bridge has %d ports or more; it takes %d (BR_MAX_PORTS)", nearlyFull, model.MaxPorts),
	Mends: "a second bridge, connected to the first by a veth pair, or by a VLAN of the uplink; or ports that nobody uses are deleted",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			n := len(h.ports[b.Name])
			if n < nearlyFull {
				continue
			}
			var idle []string
			for _, p := range h.ports[b.Name] {
				if p.Tap != nil && len(p.Tap.Holders) == 0 && !p.Carrier {
					idle = append(idle, p.Name)
				}
			}
			f := Finding{Object: b.Name, Severity: Risk, Sure: Certain,
				What: fmt.Sprintf("%s has %d ports, and takes %d", b.Name, n, model.MaxPorts),
				Seen: []string{fmt.Sprintf("ports: %d; taps that nobody holds: %d", n, len(idle))},
				Mend: byHand("put the next machines on a second bridge; taps that nobody holds can go: " + runs(idle)),
			}
			if len(idle) == 0 {
				f.Mend = byHand("put the next machines on a second bridge")
			}
			out = append(out, f)
		}
		return out
	},
}
