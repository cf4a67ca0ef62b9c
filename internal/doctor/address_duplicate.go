package doctor

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// addressDuplicate: IPv6 asks before it uses an address (RFC 4862, 5.4); IPv4 does not, and
// whoever answered last is who the others send to.
var addressDuplicate = Check{
	ID:    "address-duplicate",
	Title: "Two hosts of a LAN use one address",
	Shows: "now the one answers, now the other; connections break off, SSH complains about a changed host key",
	Knows: "duplicate address detection has failed for an address of this host; or an address was told by a guest, seen at a port or heard on the bridge (--listen) from two MAC addresses within ten minutes",
	Mends: "one of the two gets another address. What has it is named",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, a := range h.here.Addresses {
			if a.Flags.DADFailed {
				out = append(out, Finding{Object: a.Link, Severity: Broken, Sure: Certain,
					What: fmt.Sprintf("%s on %s is used by another host already: the kernel does not use it", a.Prefix, a.Link),
					Seen: []string{fmt.Sprintf("%s dev %s: dadfailed", a.Prefix, a.Link)},
					Mend: byHand("give one of the two another address; or, when the other is gone, set this one again", fmt.Sprintf("ip addr del %s dev %s", a.Prefix, a.Link), fmt.Sprintf("ip addr add %s dev %s", a.Prefix, a.Link)),
				})
			}
		}
		users := h.users()
		places := make([]place, 0, len(users))
		for p, by := range users {
			if len(by) > 1 {
				places = append(places, p)
			}
		}
		slices.SortFunc(places, func(a, b place) int {
			if a.bridge != b.bridge {
				return model.NaturalCompare(a.bridge, b.bridge)
			}
			return a.Compare(b.Addr)
		})
		for _, p := range places {
			var who []string
			for _, u := range users[p] {
				who = append(who, u.words())
			}
			out = append(out, Finding{Object: p.Addr.String(), Severity: Broken, Sure: Likely,
				What: fmt.Sprintf("%s on %s is used by %s", p.Addr, p.bridge, strings.Join(who, " and by ")),
				Seen: []string{"by guests, at ports, or on the wire: " + strings.Join(who, ", ")},
				Mend: byHand("give one of them another address; who a MAC address belongs to: drawbridge status --neighbours", "drawbridge status --neighbours"),
			})
		}
		return out
	},
}
