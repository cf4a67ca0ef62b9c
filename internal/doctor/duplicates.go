package doctor

import (
	"net/netip"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/snoop"
)

// recently is how old a sighting may be to speak against another one, in seconds: later,
// an address may have gone to somebody else rightly.
const recently = 600

// Alarms are what 'drawbridge status' tells of all this, without the rest: one MAC address or
// one address at two hosts, two DHCP servers.
func Alarms(snap model.Snapshot, heard []Heard) []string {
	var out []string
	for _, f := range examine(Host{Snapshot: snap, Facts: Facts{Heard: heard}}, []Check{macDuplicate, addressDuplicate, dhcpServers}).Findings {
		out = append(out, f.What)
	}
	slices.Sort(out)
	return out
}

// user is somebody who uses an address on a bridge.
type user struct {
	mac model.MAC
	who string // "this host", "web/eth1", or the MAC address of a stranger
}

func (u user) words() string {
	if u.who == string(u.mac) {
		return u.who
	}
	return u.who + " (" + string(u.mac) + ")"
}

// place is an address on a bridge's LAN.
type place struct {
	bridge string
	netip.Addr
}

// users lists who uses which address: what guests tell, what was seen at their ports, the
// host's own addresses, and what was heard.
func (h *Host) users() map[place][]user {
	out := map[place][]user{}
	note := func(bridge string, a netip.Addr, u user) {
		p := place{bridge, a}
		at := slices.IndexFunc(out[p], func(o user) bool { return o.mac == u.mac })
		switch {
		case bridge == "" || u.mac == "" || a.IsLinkLocalUnicast() && a.Is4():
		case at < 0:
			out[p] = append(out[p], u)
		case u.who != string(u.mac):
			out[p][at].who = u.who
		}
	}
	for _, m := range h.Snapshot.Machines {
		for _, n := range m.NICs {
			l := h.links[n.Link.Name]
			if n.Link.Name == "" || n.Link.Namespace != "" || l == nil {
				continue
			}
			u := user{n.MAC, m.Name + "/" + n.Name}
			if m.Inside != nil {
				for _, a := range m.Inside.AddressesOf(n.Name) {
					note(l.Master, a.Prefix.Addr(), u)
				}
			}
			if p := h.here.SecurityOf(l.Name); p != nil {
				for _, s := range p.Seen {
					if (s.By == model.SeenByARP || s.By == model.SeenByND) && s.SecondsAgo < recently {
						note(l.Master, s.Address, u)
					}
				}
			}
		}
	}
	for _, b := range h.bridges() {
		for _, a := range h.addresses[b.Name] {
			if a.Origin != model.LinkLocal {
				note(b.Name, a.Prefix.Addr(), user{b.MAC, "this host"})
			}
		}
	}
	for _, s := range h.Facts.Heard {
		if s.By != snoop.ByDHCPServer {
			note(s.Bridge, s.Address, user{s.MAC, string(s.MAC)})
		}
	}
	for p := range out {
		slices.SortFunc(out[p], func(a, b user) int { return cmpString(a.words(), b.words()) })
	}
	return out
}
