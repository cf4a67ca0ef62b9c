package doctor

import (
	"fmt"

	"drawbridge/internal/plan"
)

// portRoute: a route by a port sends frames out of the port, past the bridge. The answers
// come in by the bridge.
var portRoute = Check{
	ID:    "route-by-port",
	Title: "A route leaves by a port of a bridge instead of by the bridge",
	Shows: "what that route leads to is reached one way only: answers arrive at the bridge, ARP and connection tracking see half of each conversation",
	Knows: "a route that the kernel did not make by itself names a link that is a port of a bridge",
	Mends: "the routes move to the bridge; those that the bridge has already are deleted from the port",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			for _, p := range h.ports[b.Name] {
				routes := h.routesBy(p.Name)
				if len(routes) == 0 || len(h.addresses[p.Name]) > linkLocals(h.addresses[p.Name]) {
					continue // with the address, misplacedAddress moves the routes as well
				}
				f := Finding{Object: p.Name, Severity: Broken, Sure: Certain,
					What: fmt.Sprintf("%s by %s, which is a port of %s: answers come in by %s", counted(len(routes), "route leaves", "routes leave"), p.Name, b.Name, b.Name),
				}
				for _, r := range routes {
					f.Seen = append(f.Seen, "route: "+routeWords(r))
				}
				f.Mend = bySteps("let them leave by "+b.Name, plan.MoveHome(h.Snapshot, p.Name, b.Name))
				out = append(out, f)
			}
		}
		return out
	},
}
