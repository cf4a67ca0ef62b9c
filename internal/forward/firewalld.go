package forward

import (
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// firewalldZones are what its chains of a zone begin with, as of its version 1.0 and before.
var firewalldZones = []string{"filter_FWD_", "filter_FWDI_"}

// ReadFirewalld tells which zones its links are in, by its base chain of what is forwarded. What no rule of
// a zone lets through is rejected.
func ReadFirewalld(t Table, chain string) model.Firewall {
	f, _ := t.Read(model.Firewall{Name: model.Firewalld, IPv4: true, IPv6: true}, chain, false)
	if f.Drops != "" {
		f.Drops = "what its zones do not let through is rejected"
	}
	f.Zones = map[string]string{}
	for name, rules := range t {
		if !strings.HasSuffix(name, "_ZONES") {
			continue
		}
		for _, r := range rules {
			for _, prefix := range firewalldZones {
				zone, is := strings.CutPrefix(r.Target, prefix)
				if !is || r.Verdict != "goto" && r.Verdict != "jump" {
					continue
				}
				if links, all := linksOf(r); all {
					f.Zones[""] = zone
				} else {
					for _, l := range links {
						f.Zones[l] = zone
					}
				}
			}
		}
	}
	return f
}

// linksOf are the links that a rule of firewalld's asks for; all: it asks for nothing.
func linksOf(r model.FirewallRule) (links []string, all bool) {
	i := slices.IndexFunc(r.Matches, func(m model.FirewallMatch) bool { return m.Key == "iifname" && !m.Not })
	if i < 0 {
		return nil, len(r.Matches) == 0
	}
	return r.Matches[i].Values, false
}
