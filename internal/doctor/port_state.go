package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// portBlocked: without STP a port that is up and has a carrier forwards; what does not was
// set so, or was shut by a guard (br_stp_rcv).
var portBlocked = Check{
	ID:    "port-blocked",
	Title: "A port of a bridge does not forward, although it is up and its cable is in",
	Shows: "who is behind the port has no network",
	Knows: "the bridge does not run STP and is up, the port is up with a carrier, and its state is not forwarding: somebody set it so, or its BPDU guard shut it",
	Mends: "the port is taken down and up again. With BPDU guard it is shut again by the next BPDU: who sends them must be found first",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			if b.Bridge.STP {
				continue
			}
			for _, p := range h.ports[b.Name] {
				if p.Port == nil || !p.Up || !p.Carrier || p.OperState != "up" && p.OperState != "unknown" || p.Port.State == "forwarding" || p.Port.State == "" {
					continue
				}
				f := Finding{Object: p.Name, Severity: Broken, Sure: Certain,
					What: fmt.Sprintf("%s is up and has its cable, and %s does not let it forward: %s", p.Name, b.Name, p.Port.State),
					Seen: []string{fmt.Sprintf("%s: state %s, guard %t; %s: stp_state 0", p.Name, p.Port.State, p.Port.Guard, b.Name)},
				}
				if p.Port.Guard {
					f.Mend = byHand("find out who behind it sends BPDUs, then take it down and up", "ip link set "+p.Name+" down", "ip link set "+p.Name+" up")
				} else {
					f.Mend = by("take it down and up again", model.SetUp{Link: p.Name}, model.SetUp{Link: p.Name, Up: true})
				}
				out = append(out, f)
			}
		}
		return out
	},
}

// bridgeDown: a bridge that is down forwards nothing (br_dev_stop disables its ports).
var bridgeDown = Check{
	ID:    "bridge-down",
	Title: "A bridge with ports is down",
	Shows: "nobody behind its ports reaches anybody",
	Knows: "the bridge has ports that are up, and is not up itself",
	Mends: "it is brought up",
	Find: func(h *Host) []Finding {
		var out []Finding
		for i := range h.here.Links {
			b := &h.here.Links[i]
			if b.Kind != model.Bridged || b.Up {
				continue
			}
			var up []string
			for _, p := range h.ports[b.Name] {
				if p.Up {
					up = append(up, p.Name)
				}
			}
			if len(up) > 0 {
				out = append(out, Finding{Object: b.Name, Severity: Broken, Sure: Certain,
					What: fmt.Sprintf("%s is down, and %s is plugged into it", b.Name, runs(up)),
					Seen: []string{b.Name + ": down", "ports that are up: " + runs(up)},
					Mend: by("bring it up", model.SetUp{Link: b.Name, Up: true}),
				})
			}
		}
		return out
	},
}

// uplinkDown: the way out has no carrier.
var uplinkDown = Check{
	ID:    "uplink-down",
	Title: "The uplink of a bridge is down, or its cable is out",
	Shows: "machines reach each other and the host, and nobody else",
	Knows: "the only uplink of a bridge with machines is not up, or has no carrier",
	Mends: "it is brought up; a cable is a person's to plug in",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			ups := h.uplinks(b.Name)
			if len(ups) != 1 || len(h.guests(b.Name)) == 0 || ups[0].Up && ups[0].Carrier {
				continue
			}
			u := ups[0]
			f := Finding{Object: u.Name, Severity: Broken, Sure: Certain,
				What: fmt.Sprintf("%s, the way out of %s, has no carrier", u.Name, b.Name),
				Seen: []string{fmt.Sprintf("%s: up %t, carrier %t, %s", u.Name, u.Up, u.Carrier, u.OperState)},
				Mend: byHand("is the cable in, and the switch's port on? What the switch sees: ethtool "+u.Name, "ethtool "+u.Name),
			}
			if !u.Up {
				f.What = fmt.Sprintf("%s, the way out of %s, is down", u.Name, b.Name)
				f.Mend = by("bring it up", model.SetUp{Link: u.Name, Up: true})
			}
			out = append(out, f)
		}
		return out
	},
}
