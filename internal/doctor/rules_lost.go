package doctor

import (
	"fmt"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// rulesLost: `nft flush ruleset`, which many a firewall's reload begins with, takes our rules
// with it.
var rulesLost = Check{
	ID:    "rules-lost",
	Title: "Rules that drawbridge made are gone, or were changed",
	Shows: "machines behind NAT reach nobody, or are reached by everybody; a port may send what it likes",
	Knows: "drawbridge forwards for a network, let it through another firewall or secured a port, and the kernel has no such rules, or other ones. A firewall that is reloaded does that",
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
		out = append(out, h.passagesLost()...)
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

// passagesLost are the ways through other firewalls that these do not have any more.
func (h *Host) passagesLost() (out []Finding) {
	for _, p := range h.Facts.Owned.Passages {
		f := h.here.FirewallOf(p)
		if f == nil || f.Drops == "" || f.Locked {
			continue
		}
		open, is := h.here.Passage(p)
		if open {
			continue
		}
		ops := []model.Operation{model.OpenPassage{Passage: p}}
		seen := p.Firewall + ": no rules of drawbridge's for network " + p.Network
		if p.Zone != "" {
			seen = p.Firewall + ": not all of its links are in zone " + p.Zone
		}
		if is != nil {
			seen = p.Firewall + ": other rules of drawbridge's for network " + p.Network + ", or others behind them"
			ops = append([]model.Operation{model.ClosePassage{Passage: p}}, ops...)
		}
		out = append(out, Finding{Object: p.Network, Severity: Broken, Sure: Certain,
			What: fmt.Sprintf("network %s no longer passes %s, where %s", p.Network, plan.PlaceOf(p), f.Drops),
			Seen: []string{seen},
			Mend: by("let it through again, as it was", ops...),
		})
	}
	return out
}
