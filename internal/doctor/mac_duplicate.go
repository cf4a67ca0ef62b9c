package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

func cmpString(a, b string) int { return cmp.Compare(a, b) }

// macDuplicate: a switch sends to where it last heard a MAC address.
var macDuplicate = Check{
	ID:    "mac-duplicate",
	Title: "Two hosts of a LAN have one MAC address",
	Shows: "both lose packets in turns; with DHCP both get one address. Mostly a copied machine",
	Knows: "two NICs of machines have one MAC address; or a machine's or the host's own MAC address was learned behind the uplink, or is another host's by the neighbour table",
	Mends: "one of the two gets another MAC address: in the file (mac:), or no mac: at all, which gives each its own",
	Find: func(h *Host) []Finding {
		out := h.twins()
		own := map[model.MAC]string{}
		for _, m := range h.Snapshot.Machines {
			for _, n := range m.NICs {
				if l := h.links[n.Link.Name]; n.Link.Namespace == "" && l != nil && l.Master != "" {
					own[n.MAC] = m.Name + "/" + n.Name
				}
			}
		}
		for _, e := range h.here.FDB {
			l := h.links[e.Link]
			if who, known := own[e.MAC]; known && e.State == "" && l != nil && h.isUplink(l) {
				out = append(out, Finding{Object: string(e.MAC), Severity: Broken, Sure: Likely,
					What: fmt.Sprintf("%s has the MAC address %s, and so has a host behind %s", who, e.MAC, e.Link),
					Seen: []string{fmt.Sprintf("forwarding entry: %s dev %s master %s, learned", e.MAC, e.Link, e.Master)},
					Mend: byHand("give "+who+" another MAC address: change or leave out its mac: in the file, and run 'drawbridge up'", "drawbridge up"),
				})
			}
		}
		return append(out, h.clones()...)
	},
}

// twins are NICs of machines with one MAC address.
func (h *Host) twins() []Finding {
	by := map[model.MAC][]string{}
	for _, m := range h.Snapshot.Machines {
		for _, n := range m.NICs {
			if n.MAC != "" && n.Link.Name != "" {
				by[n.MAC] = append(by[n.MAC], m.Name+"/"+n.Name)
			}
		}
	}
	var out []Finding
	for mac, who := range by {
		if len(who) < 2 {
			continue
		}
		slices.SortFunc(who, model.NaturalCompare)
		out = append(out, Finding{Object: string(mac), Severity: Broken, Sure: Certain,
			What: fmt.Sprintf("%s have one MAC address, %s: the LAN cannot tell them apart", strings.Join(who, " and "), mac),
			Seen: []string{strings.Join(who, ", ") + ": " + string(mac)},
			Mend: byHand("give each its own: change or leave out mac: in the file, and run 'drawbridge up'", "drawbridge up"),
		})
	}
	slices.SortFunc(out, func(a, b Finding) int { return cmpString(a.Object, b.Object) })
	return out
}

// clones are hosts of the LAN that have the host's own MAC address.
func (h *Host) clones() []Finding {
	var out []Finding
	for _, n := range h.here.Neighbours {
		l := h.links[n.Link]
		dead := n.State == "failed" || n.State == "incomplete" || n.State == "noarp" || n.State == "permanent" || n.Proxy
		if l == nil || l.Kind != model.Bridged || n.MAC == "" || n.MAC != l.MAC || dead {
			continue
		}
		if slices.ContainsFunc(h.here.Addresses, func(a model.Address) bool { return a.Prefix.Addr() == n.Address }) {
			continue
		}
		out = append(out, Finding{Object: string(n.MAC), Severity: Broken, Sure: Likely,
			What: fmt.Sprintf("the host at %s has the MAC address of this host's %s", n.Address, l.Name),
			Seen: []string{fmt.Sprintf("neighbour: %s dev %s lladdr %s %s", n.Address, n.Link, n.MAC, n.State), fmt.Sprintf("%s: %s", l.Name, l.MAC)},
			Mend: byHand("give one of the two another MAC address; is one a copy of the other, look at its DHCP identity and /etc/machine-id as well"),
		})
	}
	return out
}
