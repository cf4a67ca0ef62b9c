package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// forwardingOff: the kernel forwards what comes in by a link by that link's own switch
// (ip_route_input_slow, IN_DEV_FORWARD). A write to ip_forward sets them all.
var forwardingOff = Check{
	ID:    "forwarding-off",
	Title: "Somebody switched forwarding off that a network of ours needs",
	Shows: "machines reach the host, and nobody beyond it",
	Knows: "drawbridge switched forwarding on for a link of a network that is routed or behind NAT, or had it answer for others, and it is off now. A write to net.ipv4.ip_forward sets every link there is; an adapter that was unplugged is another link when it comes back",
	Mends: "it is switched on again for those links",
	Needs: []Fact{FactOwned},
	Find: func(h *Host) []Finding {
		need := map[string]bool{}
		for _, f := range h.Facts.Owned.Forwarding {
			if f.Out || f.In || len(f.Publish) > 0 {
				need["ipv4/conf/"+f.Link+"/forwarding"] = true
			}
		}
		if len(need) == 0 && len(h.Facts.Owned.Needs) == 0 {
			return nil
		}
		for path, was := range h.Facts.Owned.Settings {
			if was == "0" && (strings.HasSuffix(path, "/forwarding") || strings.HasSuffix(path, "/force_forwarding")) {
				need[path] = true
			}
		}
		var ops []model.Operation
		f := Finding{Object: "forwarding", Severity: Broken, Sure: Certain}
		for _, path := range slices.Sorted(maps.Keys(need)) {
			if h.setting(path) == "0" {
				f.Seen = append(f.Seen, "net/"+path+" = 0")
				ops = append(ops, model.SetSetting{Path: path, Value: "1"})
			}
		}
		for _, n := range h.Facts.Owned.Needs {
			if now := h.setting(n.Path); n.Value != "" && now == n.Was && !need[n.Path] {
				f.Seen = append(f.Seen, "net/"+n.Path+" = "+now)
				ops = append(ops, model.SetSetting{Path: n.Path, Value: n.Value})
			}
		}
		if len(ops) == 0 {
			return nil
		}
		f.What = "forwarding is off on links that networks of ours need it on"
		f.Mend = by("switch it on again", ops...)
		return []Finding{f}
	},
}

// forwardBlocked: a packet passes all chains of the forward hook, and a drop in one of them is
// final, whatever ours accepts (nf_hook_slow).
var forwardBlocked = Check{
	ID:    "forward-blocked",
	Title: "Another firewall drops what a network of ours forwards",
	Shows: "machines reach the host, and nobody beyond it; typical beside Docker and ufw",
	Knows: "drawbridge forwards for a network, and a chain of somebody else's at the forward hook drops by default, with no rule that accepts what comes by the network's link",
	Mends: "that firewall is told to let the network's link through, in its own words",
	Needs: []Fact{FactOwned, FactFirewall},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, f := range h.Facts.Owned.Forwarding {
			l := h.links[f.Link]
			if l == nil || !f.Out && !f.In {
				continue
			}
			if slices.ContainsFunc(h.Facts.Owned.Passages, func(p model.Passage) bool { return p.Network == f.Network }) {
				continue // it was let through, and that is looked at by itself (rules-lost)
			}
			if found := h.notInZone(f); found != nil {
				out = append(out, *found)
				continue
			}
			for _, chain := range h.Facts.Firewall.ForwardDrop {
				if !sharesFamily(chain, f) || tableOf(chain) == "nft inet drawbridge" || h.letsThrough(l, chain) {
					continue
				}
				out = append(out, Finding{Object: f.Network, Severity: Broken, Sure: Likely,
					What: fmt.Sprintf("%s drops what network %s forwards by %s", chain, f.Network, f.Link),
					Seen: []string{chain + ": policy drop, and no rule that accepts what comes by " + f.Link},
					Mend: byHand("'drawbridge up' lets it through, with rules that 'down' takes away; by hand, with ufw: ufw route allow in on "+f.Link+"; with Docker: in the chain DOCKER-USER", acceptCommands(chain, f.Link)...),
				})
				break
			}
		}
		return out
	},
}

// notInZone tells of a network whose link is in no zone of firewalld: what comes by that is
// rejected, as no zone lets anything through to another.
func (h *Host) notInZone(f model.Forwarding) *Finding {
	w := h.here.FirewallOf(model.Passage{Firewall: model.Firewalld})
	if w == nil || w.Drops == "" || w.Zones[f.Link] != "" {
		return nil
	}
	return &Finding{Object: f.Network, Severity: Broken, Sure: Certain,
		What: fmt.Sprintf("firewalld rejects what network %s forwards by %s", f.Network, f.Link),
		Seen: []string{"firewalld: " + w.Drops, f.Link + " is in none of its zones"},
		Mend: byHand("'drawbridge up' puts it into a zone, where firewalld can be told; by hand", "firewall-cmd --zone=trusted --add-interface="+f.Link),
	}
}

// sharesFamily tells whether a chain sees packets of a network.
func sharesFamily(chain string, f model.Forwarding) bool {
	for _, family := range []string{"ip", "ip6"} {
		has := len(f.Subnets) == 0
		for _, s := range f.Subnets {
			has = has || s.Addr().Is6() == (family == "ip6")
		}
		if has && ofFamily(chain, family) {
			return true
		}
	}
	return false
}

// acceptCommands let what comes by a link, and the answers to it, pass a chain.
func acceptCommands(chain, link string) []string {
	words := strings.Fields(chain)
	if words[0] == "nft" && len(words) == 4 {
		where := "nft insert rule " + strings.Join(words[1:], " ")
		return []string{fmt.Sprintf("%s iifname %q accept", where, link), fmt.Sprintf("%s oifname %q ct state established,related accept", where, link)}
	}
	return []string{words[0] + " -I FORWARD -i " + link + " -j ACCEPT", words[0] + " -I FORWARD -o " + link + " -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"}
}
