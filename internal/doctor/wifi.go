package doctor

import (
	"fmt"
	"slices"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
)

// wifi: a station's frames have three addresses, and none for a machine behind it: the access
// point drops what is not from the station that it knows (IEEE 802.11, 9.3.2.1).
var wifi = Check{
	ID:    "wifi-bridged",
	Title: "Machines are bridged to a LAN by Wi-Fi",
	Shows: "machines get no address and reach nobody, the host does; or only broadcasts arrive",
	Knows: "a wireless interface is a port of a bridge, or carries a macvlan or macvtap, and no access point daemon runs. An access point takes frames of the station's own MAC address only, unless both do 4addr (WDS)",
	Mends: "the machines are routed instead of bridged (mode: routed, or nat), or the uplink is a cable",
	Find: func(h *Host) []Finding {
		isAP := slices.ContainsFunc(h.Facts.Processes, func(p manager.Process) bool { return p.Command == "hostapd" })
		var out []Finding
		for i := range h.here.Links {
			l := &h.here.Links[i]
			switch {
			case l.Kind != model.Wireless:
			case h.links[l.Master] != nil && h.links[l.Master].Kind == model.Bridged && !isAP:
				out = append(out, Finding{Object: l.Name, Severity: Broken, Sure: Possible,
					What: fmt.Sprintf("%s is wireless and a port of %s: if it is a station, its access point drops what the machines send", l.Name, l.Master),
					Seen: []string{fmt.Sprintf("%s: wireless, master %s; no hostapd runs", l.Name, l.Master)},
					Mend: byHand("does 'iw dev "+l.Name+" info' say type managed and no 4addr, route instead of bridging", "iw dev "+l.Name+" info"),
				})
			}
		}
		return append(out, h.onWireless()...)
	},
}

// onWireless are macvlans with a MAC address of their own on a wireless link.
func (h *Host) onWireless() []Finding {
	var out []Finding
	for i := range h.here.Links {
		l := &h.here.Links[i]
		if l.Kind != model.Macvlan && l.Kind != model.Macvtap || l.Parent == nil || l.Parent.Namespace != "" {
			continue
		}
		p := h.links[l.Parent.Name]
		if p == nil || p.Kind != model.Wireless || p.MAC == l.MAC {
			continue
		}
		out = append(out, Finding{Object: l.Name, Severity: Broken, Sure: Likely,
			What: fmt.Sprintf("%s has a MAC address of its own on the wireless %s: the access point drops its frames", l.Name, p.Name),
			Seen: []string{fmt.Sprintf("%s: %s; %s: %s, wireless", l.Name, l.MAC, p.Name, p.MAC)},
			Mend: byHand("use ipvlan, which shares the MAC address, or route"),
		})
	}
	return out
}
