package doctor

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/preflight"
)

// firewallPort: a packet that came in by a port comes in by the bridge, for all that a
// firewall of IP sees (br_handle_frame, netif_receive_skb with the bridge as its device).
var firewallPort = Check{
	ID:    "firewall-port",
	Title: "Firewall rules name an interface that is a port of a bridge now: they never match",
	Shows: "what a rule allowed is closed, or what it was to keep out is open; address translation does not happen",
	Knows: "a rule at an IP hook asks for an interface, by its very name, that is a port; packets have the bridge as their interface. Rules of the bridge and netdev families, of physdev, and with patterns are left out",
	Mends: "the rule names the bridge; it is left to who wrote it",
	Needs: []Fact{FactFirewall},
	Find: func(h *Host) []Finding {
		rules := map[string][]preflight.Rule{}
		var ports []string
		for i := range h.here.Links {
			l := &h.here.Links[i]
			if m := h.links[l.Master]; m == nil || m.Kind != model.Bridged {
				continue
			}
			for _, r := range h.Facts.Firewall.Rules {
				if namesPort(r, l.Name) {
					if rules[l.Name] == nil {
						ports = append(ports, l.Name)
					}
					rules[l.Name] = append(rules[l.Name], r)
				}
			}
		}
		var out []Finding
		for _, port := range ports {
			bridge := h.links[port].Master
			f := Finding{Object: port, Severity: Risk, Sure: Certain,
				What: fmt.Sprintf("%s %s, which is a port of %s: packets have %s as their interface", counted(len(rules[port]), "rule names", "rules name"), port, bridge, bridge),
			}
			f.Mend = byHand("write them for " + bridge + ", where they were written: a change in the kernel alone is lost with the next reload")
			const most = 5
			for n, r := range rules[port] {
				if n == most {
					f.Seen = append(f.Seen, fmt.Sprintf("and %d more", len(rules[port])-most))
					break
				}
				f.Seen = append(f.Seen, r.Where+": "+r.Line)
			}
			out = append(out, f)
		}
		return out
	},
}

func namesPort(r preflight.Rule, port string) bool {
	if strings.HasPrefix(r.Where, "nft bridge ") || strings.HasPrefix(r.Where, "nft netdev ") || strings.Contains(r.Line, "physdev") {
		return false
	}
	in, out := preflight.Interfaces(r.Line)
	return in.Exactly(port) || out.Exactly(port)
}
