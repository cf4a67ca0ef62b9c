package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// bridgeMAC: a bridge that was given no MAC address takes the lowest of its ports', and
// another one when that port leaves (br_stp_recalculate_bridge_id).
var bridgeMAC = Check{
	ID:    "bridge-mac",
	Title: "A bridge with the host's address has the MAC address of a machine's port",
	Shows: "when that machine stops, the host's own MAC address changes: connections stall, and DHCP gives another address",
	Knows: "the bridge has an address, and its MAC address is that of a tap or veth that is its port: it was inherited, and goes with the port",
	Mends: "the bridge is given the MAC address of its uplink for good; without an uplink, one of its own",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			if len(h.addresses[b.Name]) == linkLocals(h.addresses[b.Name]) {
				continue
			}
			own := b.MAC
			var of *model.Link
			for _, p := range h.ports[b.Name] {
				if p.MAC != b.MAC {
					continue
				}
				if p.Kind != model.TapKind && (p.Kind != model.Veth || h.ours(p.Name)) {
					of = nil // the uplink's: as it should be
					break
				}
				of = p
			}
			if of == nil || of.Kind == model.Veth && h.isWayOut(b.Name) {
				continue // in a container the uplink is half of a veth pair
			}
			says := "give it a MAC address of its own, which stays: hosts that know the old one ask again within a minute"
			mac := "02" + own[2:]
			if mac == own {
				mac = "06" + own[2:]
			}
			if ups := h.hardware(b.Name); len(ups) > 0 {
				mac, says = ups[0].MAC, "give it the MAC address of its uplink "+ups[0].Name+", which stays: hosts that know the old one ask again within a minute"
			}
			out = append(out, Finding{Object: b.Name, Severity: Risk, Sure: Likely,
				What: fmt.Sprintf("%s has the MAC address of %s, and gets another one when %s leaves", b.Name, of.Name, of.Name),
				Seen: []string{fmt.Sprintf("%s: %s; %s: %s", b.Name, b.MAC, of.Name, of.MAC), "addresses: " + model.SplitAddresses(h.addresses[b.Name])},
				Mend: by(says, model.SetMAC{Link: b.Name, MAC: mac}),
			})
		}
		return out
	},
}

// isWayOut tells whether the host's default route leaves by a link.
func (h *Host) isWayOut(link string) bool {
	r := h.here.DefaultRoute()
	return r != nil && r.Link() == link
}

// ours tells whether a link was plugged in as an uplink by us.
func (h *Host) ours(link string) bool {
	for _, u := range h.Facts.Owned.Uplinks {
		if u.Name == link {
			return true
		}
	}
	return false
}

// hardware are the ports of a bridge that are no machine's, by their kind.
func (h *Host) hardware(bridge string) []*model.Link {
	var out []*model.Link
	for _, p := range h.ports[bridge] {
		if !isGuestPort(p) && h.isUplink(p) {
			out = append(out, p)
		}
	}
	return out
}
