package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// rulesLost: `nft flush ruleset`, which many a firewall's reload begins with, takes our rules
// with it.
var rulesLost = Check{
	ID:    "rules-lost",
	Title: "Rules that drawbridge made are gone, or were changed",
	Shows: "machines behind NAT reach nobody, or are reached by everybody; a port may send what it likes",
	Knows: "drawbridge forwards for a network or secured a port, and the kernel has no such rules, or other ones. A firewall that is reloaded with 'flush ruleset' does that",
	Mends: "the rules are made again, as they were",
	Needs: []Fact{FactOwned},
	Find: func(h *Host) []Finding {
		if h.here.SecurityUnseen {
			return nil
		}
		var out []Finding
		for _, want := range h.Facts.Owned.Forwarding {
			there := h.here.ForwardingOf(want.Network)
			if h.links[want.Link] == nil || there != nil && !there.Altered {
				continue
			}
			f := Finding{Object: want.Network, Severity: Broken, Sure: Certain,
				What: fmt.Sprintf("the rules by which %s is forwarded for are gone", want.Network),
				Seen: []string{"table inet drawbridge: nothing for network " + want.Network},
				Mend: by("make them again", model.SetForwarding{Forwarding: want.Wish()}),
			}
			if there != nil {
				f.What = fmt.Sprintf("the rules by which %s is forwarded for were changed by somebody", want.Network)
				f.Seen = []string{"table inet drawbridge: other rules for network " + want.Network}
			}
			out = append(out, f)
		}
		var ports []model.PortSecurity
		for _, want := range h.Facts.Owned.Secured {
			if l := h.links[want.Link]; l == nil || h.Facts.Owned.Link(*l) == nil {
				continue // another link of that name is not for us to secure
			}
			if there := h.here.SecurityOf(want.Link); there == nil || there.Altered {
				ports = append(ports, want.Wish())
			}
		}
		if len(ports) > 0 {
			op := model.SecurePorts{Ports: ports}
			out = append(out, Finding{Object: op.Object(), Severity: Broken, Sure: Certain,
				What: fmt.Sprintf("%s %s, and may send what it likes", runs(op.Names()), "is no longer secured as it was"),
				Seen: []string{"table netdev drawbridge: not the rules for " + runs(op.Names())},
				Mend: by("secure it again, as it was; a lease that the port had learned is forgotten: its machine is heard again once it renews it", op),
			})
		}
		return out
	},
}
