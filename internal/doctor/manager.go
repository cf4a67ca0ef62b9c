package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
)

// managerTakesBack: what a network manager believes to manage it brings to what its files
// say, at its next reload, restart or carrier.
var managerTakesBack = Check{
	ID:    "manager-takes-back",
	Title: "A network manager holds an uplink that we moved into a bridge, and may take it back",
	Shows: "all is well until a reload, an update or a cable that is plugged in again: then the address is on the uplink again, or the uplink is out of the bridge",
	Knows: "drawbridge moved the uplink, and the manager's own word or state says that it manages it; ifupdown does nothing by itself",
	Mends: "the manager is told to leave the uplink alone, or is given the same network in its own words",
	Needs: []Fact{FactManagers, FactOwned},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, u := range h.Facts.Owned.Uplinks {
			l := h.links[u.Name]
			if l == nil || l.Master != u.Bridge {
				continue
			}
			for _, m := range l.Managers {
				if m.Client || byOurs(m.Name, l, h.links[u.Bridge]) {
					continue // of the lease alone; or it keeps it where it is
				}
				out = append(out, held(m, u.Name, u.Bridge))
			}
		}
		return out
	},
}

// byOurs tells whether a manager has an uplink or its bridge by a file of ours.
func byOurs(name string, links ...*model.Link) bool {
	return slices.ContainsFunc(links, func(l *model.Link) bool {
		return l != nil && slices.ContainsFunc(l.Managers, func(m model.Manager) bool {
			return m.Name == name && strings.Contains(path.Base(m.File), "drawbridge")
		})
	})
}

func held(m model.Manager, uplink, bridge string) Finding {
	f := Finding{Object: uplink, Severity: Note, Sure: Likely,
		What: fmt.Sprintf("%s manages %s, which is in %s: %s", m.Name, uplink, bridge, m.WouldDo),
		Seen: []string{m.Name + ": " + strings.Trim(m.Where()+" "+m.Profile, " ")},
	}
	if m.Silent != "" {
		f.Sure = Possible
		f.Seen = append(f.Seen, "it could not be asked: "+m.Silent)
	}
	if m.Acts {
		f.Severity = Risk
	}
	says := "keep it from " + uplink
	if good := manager.ForGood(m, uplink); good != "" {
		says += "; for good: " + good
	}
	f.Mend = byHand(says, untilReboot(m.Name, uplink)...)
	return f
}

// untilReboot are the commands that keep a manager from a link until the next boot.
func untilReboot(name, link string) []string {
	switch name {
	case manager.NetworkManager:
		return []string{"nmcli device set " + link + " managed no"}
	case manager.Networkd:
		return []string{"mkdir -p /run/systemd/network",
			fmt.Sprintf(`printf '[Match]\nName=%s\n[Link]\nUnmanaged=yes\n' > /run/systemd/network/00-%s.network`, link, link), "networkctl reload"}
	default:
		return nil
	}
}
