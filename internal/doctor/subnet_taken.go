package doctor

import (
	"fmt"
	"net/netip"

	"drawbridge/internal/model"
)

// subnetTaken: of two links with one prefix the kernel takes the first of its routes for both
// (fib_table_lookup), and one of the two is not reached.
var subnetTaken = Check{
	ID:    "subnet-taken",
	Title: "The subnet of a network of ours is also that of a LAN or a VPN",
	Shows: "the host or the machines do not reach a part of the LAN, its gateway perhaps; or the host does not reach its machines",
	Knows: "another link has an address, or a route leads elsewhere, in the subnet that the network was given or that was chosen for it: the LAN has another prefix by now, or a VPN has come",
	Mends: "a subnet that was chosen is chosen anew by 'drawbridge up'; one that the file gives has to be another there",
	Needs: []Fact{FactOwned},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, n := range h.Facts.Owned.Networks {
			for _, p := range n.Subnets {
				who, sure := h.alsoIn(p, n.Bridge)
				if who == "" || h.links[n.Bridge] == nil {
					continue
				}
				out = append(out, Finding{Object: n.Name, Severity: Broken, Sure: sure,
					What: fmt.Sprintf("network %s has %s, and so has somebody else: %s", n.Name, p, who),
					Seen: []string{fmt.Sprintf("network %s on %s: %s", n.Name, n.Bridge, p), who},
					Mend: byHand("give the network another subnet in the file, or leave it out; machines that run have an address of it once they ask anew", "drawbridge up"),
				})
			}
		}
		return out
	},
}

// alsoIn says what else is in a subnet. A route to a wider prefix is none: who took a part of
// it was told.
func (h *Host) alsoIn(p netip.Prefix, bridge string) (who string, sure Sureness) {
	for _, a := range h.here.Addresses {
		if a.Link != bridge && a.Origin != model.LinkLocal && a.Prefix.Masked().Overlaps(p) {
			return fmt.Sprintf("%s has %s", a.Link, a.Prefix), Certain
		}
	}
	for _, r := range h.here.Routes {
		if r.Table != model.TableLocal && r.Link() != "" && r.Link() != bridge && r.Destination.Bits() >= p.Bits() && r.Destination.Overlaps(p) {
			return fmt.Sprintf("a route to %s goes by %s", r.Destination, r.Link()), Likely
		}
	}
	return "", ""
}
