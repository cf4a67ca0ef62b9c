package doctor

import (
	"fmt"

	"drawbridge/internal/preflight"
)

// managerTakesBack: what a network manager believes to manage it brings to what its files
// say, at its next reload, restart or carrier.
var managerTakesBack = Check{
	ID:    "manager-takes-back",
	Title: "A network manager holds an uplink that we moved into a bridge, and may take it back",
	Shows: "all is well until a reload, an update or a cable that is plugged in again: then the address is on the uplink again, or the uplink is out of the bridge",
	Knows: "drawbridge moved the uplink, and the manager's own state says that it manages it; ifupdown does nothing by itself",
	Mends: "the manager is told to leave the uplink alone, or is given the same network in its own words",
	Needs: []Fact{FactProcesses, FactOwned},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, u := range h.Facts.Owned.Uplinks {
			l := h.links[u.Name]
			if l == nil || l.Master != u.Bridge {
				continue
			}
			for _, s := range h.Facts.States {
				if s.Link != u.Name {
					continue
				}
				f := Finding{Object: u.Name, Severity: Risk, Sure: Likely,
					What: fmt.Sprintf("%s manages %s, which is in %s: it may take it out again, or give it its addresses", s.Manager, u.Name, u.Bridge),
					Seen: []string{s.Manager + ": " + s.File},
					Mend: leaveAlone(s),
				}
				if s.Manager == "ifupdown" || s.Manager == "ifupdown2" {
					f.Severity, f.What = Note, fmt.Sprintf("%s has brought %s up, which is in %s now: a restart of networking takes the host off %s", s.Manager, u.Name, u.Bridge, u.Bridge)
				}
				out = append(out, f)
			}
		}
		return out
	},
}

// leaveAlone keeps a manager from a link.
func leaveAlone(s preflight.State) Mend {
	says := "keep it from " + s.Link
	if s.Writer != "" {
		says += "; its file is written anew by " + s.Writer
	}
	switch s.Manager {
	case "NetworkManager":
		return byHand(says+", until the next boot; for good: unmanaged-devices=interface-name:"+s.Link+" in a file of /etc/NetworkManager/conf.d", "nmcli device set "+s.Link+" managed no")
	case "systemd-networkd":
		return byHand(says+": Unmanaged=yes under [Link] of a drop-in that a reboot forgets",
			"mkdir -p /run/systemd/network", fmt.Sprintf(`printf '[Match]\nName=%s\n[Link]\nUnmanaged=yes\n' > /run/systemd/network/00-%s.network`, s.Link, s.Link), "networkctl reload")
	default:
		return byHand("do not restart networking, or write the bridge into /etc/network/interfaces")
	}
}
