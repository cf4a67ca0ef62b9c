package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// machineDead: a machine that is still in our books, and does not run.
var machineDead = Check{
	ID:    "machine-dead",
	Title: "A machine that is to run has ended, or does not stay up",
	Shows: "the machine is gone",
	Knows: "its shim says failed, or restarting time and again; or what looked after it has died",
	Mends: "drawbridge up starts it again; its console tells why it ended",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, m := range h.Snapshot.Machines {
			if m.Config == nil || m.State != model.MachineFailed && (m.State != model.MachineRestarting || m.Restarts < 3) {
				continue
			}
			out = append(out, Finding{Object: m.Name, Severity: Broken, Sure: Certain,
				What: fmt.Sprintf("%s is %s", m.Name, m.State),
				Seen: []string{fmt.Sprintf("state %s, started again %d times", m.State, m.Restarts)},
				Mend: byHand("start it again; why it ended is the last thing on its console", "drawbridge machine console "+m.Name, "drawbridge up"),
			})
		}
		return out
	},
}

// serviceDead: a network without its server gives no addresses and no names.
var serviceDead = Check{
	ID:    "service-dead",
	Title: "What serves addresses and names on a network has ended",
	Shows: "machines that start get no address; names are not found",
	Knows: "the network's service says failed, or restarting time and again",
	Mends: "drawbridge up starts it again",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, s := range h.Snapshot.Services {
			if s.State != model.ServiceFailed && (s.State != model.ServiceRestarting || s.Restarts < 3) {
				continue
			}
			out = append(out, Finding{Object: s.Network, Severity: Broken, Sure: Certain,
				What: fmt.Sprintf("the service of network %s on %s is %s", s.Network, s.Link, s.State),
				Seen: append([]string{fmt.Sprintf("state %s, started again %d times", s.State, s.Restarts)}, s.Troubles...),
				Mend: byHand("start it again", "drawbridge up"),
			})
		}
		return out
	},
}

// serviceTrouble: what a service itself finds that it cannot do, for reasons that are mostly
// beyond this host.
var serviceTrouble = Check{
	ID:    "service-trouble",
	Title: "What serves a network runs, and cannot do all of it",
	Shows: "some machines have no address, or are not reached at the one that they use",
	Knows: "the network's service tells of it: the LAN's DHCP server is silent, an address is somebody else's, the uplink is on another LAN or has no carrier, the leases' disk is full",
	Mends: "what it names is seen to; the service goes on by itself as soon as it can",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, s := range h.Snapshot.Services {
			if s.State != model.ServiceRunning || len(s.Troubles) == 0 {
				continue
			}
			out = append(out, Finding{Object: s.Network, Severity: Risk, Sure: Certain,
				What: fmt.Sprintf("the service of network %s on %s has trouble", s.Network, s.Link),
				Seen: s.Troubles,
				Mend: byHand("see to what it says: it goes on by itself then", "drawbridge status"),
			})
		}
		return out
	},
}
