package doctor

import (
	"fmt"
	"slices"
	"strconv"

	"drawbridge/internal/model"
)

// tapShape: TUNSETIFF refuses who is neither owner nor of the group, without CAP_NET_ADMIN
// (tun_not_capable, EPERM), and who asks for several queues of a tap that has one, or the
// other way round (EINVAL).
var tapShape = Check{
	ID:    "tap-shape",
	Title: "A tap cannot be opened by whom it is for: another owner, or the wrong number of queues",
	Shows: "the machine does not start: could not open tap: operation not permitted, or invalid argument",
	Knows: "a machine of ours is to have its NIC on the tap, runs as a user who does not own it, or has several processors where the tap has one queue. Of others' machines it is not known who would open a tap",
	Mends: "the tap is made anew as it should be, with its MAC address, its bridge and its state; nobody holds it",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, m := range h.Snapshot.Machines {
			if m.Config == nil {
				continue
			}
			for _, n := range m.Config.NICs {
				l := h.links[n.Link]
				if n.Link == "" || n.Transport != model.TransportTap || l == nil || l.Tap == nil || len(l.Tap.Holders) > 0 {
					continue
				}
				if f, wrong := shape(m.Config, l); wrong {
					f.Mend = h.anew(l, m.Config)
					out = append(out, f)
				}
			}
		}
		return out
	},
}

func shape(m *model.MachineConfig, l *model.Link) (Finding, bool) {
	f := Finding{Object: l.Name, Severity: Broken, Sure: Certain}
	switch {
	case m.Owner != nil && *m.Owner != 0 && (l.Tap.Owner == nil || *l.Tap.Owner != *m.Owner):
		f.What = fmt.Sprintf("%s is for %s, which runs as user %d, and belongs to %s", l.Name, m.Name, *m.Owner, ownerWords(l.Tap))
		f.Seen = []string{l.Name + ": owner " + ownerWords(l.Tap), m.Name + ": runs as user " + strconv.FormatUint(uint64(*m.Owner), 10)}
	case m.VMM == "qemu" && (m.CPUs > 1) != l.Tap.MultiQueue:
		f.What = fmt.Sprintf("%s is for %s with %d processors, and has %s", l.Name, m.Name, max(m.CPUs, 1), queueWords(l.Tap))
		f.Seen = []string{fmt.Sprintf("%s: multi_queue %t", l.Name, l.Tap.MultiQueue), fmt.Sprintf("%s: %d processors", m.Name, max(m.CPUs, 1))}
	default:
		return f, false
	}
	return f, true
}

func ownerWords(t *model.Tap) string {
	switch {
	case t.OwnerName != "":
		return t.OwnerName
	case t.Owner != nil:
		return "user " + strconv.FormatUint(uint64(*t.Owner), 10)
	default:
		return "root alone"
	}
}

func queueWords(t *model.Tap) string {
	if t.MultiQueue {
		return "several queues"
	}
	return "one queue"
}

// anew makes a tap as a machine needs it, in the place of the one that is there.
func (h *Host) anew(l *model.Link, m *model.MachineConfig) Mend {
	tap := model.CreateTap{Name: l.Name, MAC: l.MAC, MTU: l.MTU, Owner: l.Tap.Owner, OwnerName: l.Tap.OwnerName,
		Group: l.Tap.Group, GroupName: l.Tap.GroupName, VnetHeader: l.Tap.VnetHeader, MultiQueue: m.VMM == "qemu" && m.CPUs > 1}
	if m.Owner != nil {
		tap.Owner, tap.OwnerName = m.Owner, ""
	}
	ops := []model.Operation{model.DeleteLink{Name: l.Name, Index: l.Index, Kind: model.TapKind}, tap}
	if l.Master != "" {
		ops = append(ops, model.SetMaster{Link: l.Name, Master: l.Master})
	}
	if p := h.here.SecurityOf(l.Name); p != nil {
		ops = append(ops, model.SecurePorts{Ports: []model.PortSecurity{p.Wish()}})
	}
	if l.Port != nil && l.Port.Isolated {
		ops = append(ops, model.SetIsolated{Links: []string{l.Name}, Isolated: true})
	}
	if as := slices.DeleteFunc(slices.Clone(h.addresses[l.Name]), func(a model.Address) bool { return a.Origin == model.LinkLocal }); len(as) > 0 {
		ops = append(ops, model.AddAddresses{Link: l.Name, Addresses: as})
	}
	if l.Up {
		ops = append(ops, model.SetUp{Link: l.Name, Up: true})
	}
	return by("make "+l.Name+" anew, as "+m.Name+" needs it; then start "+m.Name+" again", ops...)
}
