package doctor

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/snoop"
)

// dhcpServers: a client takes the first offer (RFC 2131, 4.4.1).
var dhcpServers = Check{
	ID:    "dhcp-servers",
	Title: "More than one DHCP server is on a LAN",
	Shows: "machines get an address of the wrong subnet, or the wrong router, now and then",
	Knows: "while we listened, two hosts sent what only a DHCP server sends",
	Mends: "the one that should not be there is ended; a machine's port that is secured cannot be a server at all",
	Needs: []Fact{FactHeard},
	Find: func(h *Host) []Finding {
		servers := map[string][]string{}
		for _, s := range h.Facts.Heard {
			who := fmt.Sprintf("%s (%s)", s.Address, s.MAC)
			if s.By == snoop.ByDHCPServer && !slices.Contains(servers[s.Bridge], who) {
				servers[s.Bridge] = append(servers[s.Bridge], who)
			}
		}
		var out []Finding
		for bridge, list := range servers {
			if len(list) < 2 {
				continue
			}
			slices.Sort(list)
			out = append(out, Finding{Object: bridge, Severity: Broken, Sure: Likely,
				What: fmt.Sprintf("more than one DHCP server is on the LAN of %s: %s", bridge, strings.Join(list, ", ")),
				Seen: []string{"heard: answers of " + strings.Join(list, " and of ")},
				Mend: byHand("end the one that should not be there. Where each is: bridge fdb show br "+bridge, "bridge fdb show br "+bridge),
			})
		}
		slices.SortFunc(out, func(a, b Finding) int { return model.NaturalCompare(a.Object, b.Object) })
		return out
	},
}
