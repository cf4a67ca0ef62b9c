package doctor

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// tapUnheld: the wire end of a tap is a descriptor; who lets go of it pulls the cable.
var tapUnheld = Check{
	ID:    "tap-unheld",
	Title: "A machine runs, and nobody holds the tap that its NIC is on",
	Shows: "the machine has no network at all: its NIC has no carrier, or sends into nothing",
	Knows: "a machine of ours runs and has a NIC on the tap, and no process that may be looked at has the tap open, nor has it a carrier",
	Mends: "the machine is started again, or the NIC is unplugged and plugged in",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, m := range h.Snapshot.Machines {
			if m.State != model.MachineRunning || m.Config == nil {
				continue
			}
			for _, n := range m.NICs {
				l := h.links[n.Link.Name]
				if n.Link.Name == "" || n.Link.Namespace != "" || n.Declared || l == nil || l.Tap == nil || len(l.Tap.Holders) > 0 || l.Carrier {
					continue
				}
				out = append(out, Finding{Object: l.Name, Severity: Broken, Sure: Certain,
					What: fmt.Sprintf("%s of %s is on %s, which nobody holds: the cable is pulled", n.Name, m.Name, l.Name),
					Seen: []string{m.Name + ": " + m.State, l.Name + ": no holder, no carrier"},
					Mend: byHand("unplug the NIC and plug it in again; if it will not, start the machine again",
						fmt.Sprintf("drawbridge machine unplug %s %s", m.Name, n.Name), fmt.Sprintf("drawbridge machine plug %s %s %s", m.Name, n.Name, l.Name)),
				})
			}
		}
		return out
	},
}

// tapShared: each reader of a tap gets what the other one does not: of a tap with several
// queues each has its own, by the flow (tun_automq_select_queue).
var tapShared = Check{
	ID:    "tap-shared",
	Title: "Two programs hold one tap, and each gets a part of the frames",
	Shows: "every second connection works; a machine loses packets as if by chance",
	Knows: "processes of two machines, or of two programs, have the tap open; of a tap with several queues each reads those frames that the kernel gives to its queue",
	Mends: "one of the two is ended; each machine has a tap of its own",
	Find: func(h *Host) []Finding {
		var out []Finding
		for i := range h.here.Links {
			l := &h.here.Links[i]
			if l.Tap == nil || len(l.Tap.Holders) < 2 {
				continue
			}
			who := whoHolds(l.Tap)
			if len(who) < 2 {
				continue
			}
			f := Finding{Object: l.Name, Severity: Broken, Sure: Likely,
				What: fmt.Sprintf("%s is held by %s: each gets a part of the frames", l.Name, strings.Join(who, " and by ")),
				Seen: []string{"held by: " + holders(l), fmt.Sprintf("%s: multi_queue %t", l.Name, l.Tap.MultiQueue)},
				Mend: byHand("end one of them, and give it a tap of its own", "drawbridge tap add NAME --network NETWORK --owner USER"),
			}
			if l.Tap.MultiQueue {
				f.Sure = Certain
			}
			out = append(out, f)
		}
		return out
	},
}

// whoHolds names the machines or programs that hold a tap: the processes of one machine
// share its descriptors, and count once. Several queues are held by one process.
func whoHolds(t *model.Tap) []string {
	var out []string
	for _, o := range t.Holders {
		who := o.Command
		switch {
		case o.Machine != "":
			who = o.Machine
		case o.Name != "":
			who = o.Name
		case t.MultiQueue && strings.HasPrefix(o.Command, "qemu"): // a QEMU is one process
			who = fmt.Sprintf("%s (pid %d)", o.Command, o.PID)
		}
		if !slices.Contains(out, who) {
			out = append(out, who)
		}
	}
	return out
}
