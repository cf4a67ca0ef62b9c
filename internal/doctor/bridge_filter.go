package doctor

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
)

// bridgeFilter: with br_netfilter, IP frames between two ports of a bridge go through the
// forward hook of iptables and of nftables' ip tables (br_nf_forward_ip), where the policy
// is for routed packets.
var bridgeFilter = Check{
	ID:    "bridge-filter",
	Title: "Frames between the ports of a bridge are dropped by a firewall that is meant for routing (br_netfilter)",
	Shows: "machines reach the host, and neither each other nor the LAN; ARP works, ping does not. Typical beside Docker",
	Knows: "net.bridge.bridge-nf-call-iptables is 1, a chain at the forward hook drops by default, and no rule accepts what goes between the ports",
	Mends: "net.bridge.bridge-nf-call-*tables=0: bridges are left to themselves again. Who filters on purpose between ports by iptables adds a rule instead",
	Needs: []Fact{FactFirewall},
	Find: func(h *Host) []Finding {
		calls := map[string]string{"iptables": "ip", "ip6tables": "ip6"}
		var out []Finding
		for _, b := range h.bridges() {
			letThrough := plan.Plan{Owned: h.Facts.Owned}.Passes(b.Name) // which is looked at by itself (rules-lost)
			if len(h.ports[b.Name]) < 2 || letThrough {
				continue
			}
			var ops []model.Operation
			f := Finding{Object: b.Name, Severity: Broken, Sure: Likely}
			for _, tool := range []string{"iptables", "ip6tables"} {
				path := "bridge/bridge-nf-call-" + tool
				if h.setting(path) != "1" {
					continue
				}
				for _, chain := range h.Facts.Firewall.ForwardDrop {
					if !ofFamily(chain, calls[tool]) || h.letsThrough(b, chain) {
						continue
					}
					f.Seen = append(f.Seen, fmt.Sprintf("net.%s = 1", strings.ReplaceAll(path, "/", ".")), chain+": policy drop, and no rule that accepts what stays on "+b.Name)
					ops = append(ops, model.SetSetting{Path: path, Value: "0"})
				}
			}
			if len(ops) == 0 {
				continue
			}
			f.Seen = slices.Compact(f.Seen)
			f.What = fmt.Sprintf("frames between the ports of %s pass through the host's firewall, which drops what it forwards", b.Name)
			f.Mend = by("leave bridges to themselves, as without br_netfilter. Docker switches it on again when it starts: then iptables -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT in its stead", unique(ops)...)
			out = append(out, f)
		}
		return out
	},
}

func unique(ops []model.Operation) []model.Operation {
	var out []model.Operation
	for _, op := range ops {
		if !slices.Contains(out, op) {
			out = append(out, op)
		}
	}
	return out
}

// ofFamily tells whether a chain, as preflight names it, sees packets of a family.
func ofFamily(chain, family string) bool {
	switch words := strings.Fields(chain); words[0] {
	case "nft":
		return words[1] == family || words[1] == "inet"
	case "iptables":
		return family == "ip"
	case "ip6tables":
		return family == "ip6"
	default:
		return false
	}
}

// letsThrough tells whether a rule of a chain's own table accepts what comes by a link; of a
// packet from one port of a bridge to another, both interfaces are the bridge. What another
// table accepts, this one may drop.
func (h *Host) letsThrough(l *model.Link, chain string) bool {
	return slices.ContainsFunc(h.Facts.Firewall.Accepts, func(r preflight.Rule) bool {
		return tableOf(r.Where) == tableOf(chain) && acceptsFrom(r.Line, l)
	})
}

// tableOf is the table of a chain: all but the last word.
func tableOf(chain string) string { return chain[:max(strings.LastIndexByte(chain, ' '), 0)] }

func acceptsFrom(line string, b *model.Link) bool {
	if strings.Contains(line, "physdev-is-bridged") {
		return true
	}
	in, out := preflight.Interfaces(line)
	if in.Names(b.Name) == preflight.Not || out.Names(b.Name) == preflight.Not {
		return false
	}
	if in.Names(b.Name) == preflight.Yes || out.Names(b.Name) == preflight.Yes {
		return true
	}
	// No interface at all: for everything, or for a subnet that may be the bridge's.
	return !strings.Contains(line, "ct state") && !strings.Contains(line, "--ctstate") && !strings.Contains(line, "dport")
}
