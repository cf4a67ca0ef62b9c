package model

import (
	"slices"
	"strings"
)

// LeaveAlone tells a manager to leave links alone, in runtime configuration that a reboot
// forgets. A link that is there already must be told of only once it has no address of the
// manager's any more: the manager takes what it gave.
type LeaveAlone struct {
	Manager string   `json:"manager"`
	Links   []string `json:"links"`
	// Later are links that a following LeaveAlone tells of: what takes this one back takes
	// theirs back too, when all is as it was.
	Later []string `json:"later,omitempty"`
	// Follows: another has it in its Later.
	Follows bool `json:"follows,omitempty"`
	// Taken: it holds them, by a [TakeOver] or since the boot, and must let go without taking
	// what it gave.
	Taken bool `json:"taken,omitempty"`
	// Unread: it is not made to read it now, for it would make anew what files of ours say. It
	// reads it when it looks by itself.
	Unread bool `json:"unread,omitempty"`
}

// TakeOver has a manager take links over as they are, from files of ours that tell it so:
// it finds everything as wanted, and touches nothing. The bridges come before their ports.
type TakeOver struct {
	Manager string   `json:"manager"`
	Bridges []string `json:"bridges"`
	Ports   []string `json:"ports,omitempty"` // uplinks and taps
}

// Links are the bridges and their ports.
func (o TakeOver) Links() []string { return slices.Concat(o.Bridges, o.Ports) }

// ManageAgain takes a [LeaveAlone] back for links; what was not told is no error.
type ManageAgain struct {
	Manager string   `json:"manager"`
	Links   []string `json:"links"`
}

func (LeaveAlone) Op() string  { return "leave-alone" }
func (ManageAgain) Op() string { return "manage-again" }
func (TakeOver) Op() string    { return "take-over" }

func (o LeaveAlone) Object() string  { return o.Manager }
func (o ManageAgain) Object() string { return o.Manager }
func (o TakeOver) Object() string    { return o.Manager }

func (o LeaveAlone) apply(s *Snapshot) error {
	n := s.Here()
	for i := range n.Links {
		if l := &n.Links[i]; slices.Contains(o.Links, l.Name) {
			l.Managers = slices.DeleteFunc(slices.Clone(l.Managers), func(m Manager) bool { return m.Name == o.Manager && !m.Told })
		}
	}
	return nil
}

// What a manager does with a link that it is given back is its own affair.
func (o ManageAgain) apply(*Snapshot) error { return nil }

// Nothing changes: that is what it is for.
func (o TakeOver) apply(*Snapshot) error { return nil }

// The managers that can be told.
const (
	NetworkManager = "NetworkManager"
	Networkd       = "systemd-networkd"
)

// Ifupdown does nothing by itself: it notes what is up.
const Ifupdown = "ifupdown"

// CanBeTold tells whether a manager has runtime configuration by which it leaves links alone.
func CanBeTold(manager string) bool { return BesideFile(manager) != "" }

// BesideFile is the file of ours that tells a manager, "" for one that cannot be told.
func BesideFile(manager string) string {
	switch manager {
	case NetworkManager:
		return "/run/NetworkManager/conf.d/90-drawbridge-beside.conf"
	case Networkd:
		return "/run/systemd/network/00-drawbridge-beside.network"
	default:
		return ""
	}
}

// BesideText is what it holds. NetworkManager's own section does not take the place of what
// a person told it (NetworkManager.conf(5), device-*); of networkd's files the first by name
// that matches a link counts.
func BesideText(manager string, links []string) string {
	mark := "# Written by drawbridge, for this boot only: it takes this away with 'drawbridge down'.\n"
	if manager == NetworkManager {
		match := make([]string, len(links))
		for i, l := range links {
			match[i] = "interface-name:=" + l
		}
		return mark + "[device-drawbridge]\nmatch-device=" + strings.Join(match, ";") + "\nmanaged=0\n"
	}
	return mark + "[Match]\nName=" + strings.Join(links, " ") + "\n[Link]\nUnmanaged=yes\n"
}

// BesideLinks reads the links back from a file's text.
func BesideLinks(text string) (links []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if names, ok := strings.CutPrefix(line, "Name="); ok {
			links = strings.Fields(names)
		}
		if match, ok := strings.CutPrefix(line, "match-device="); ok {
			for one := range strings.SplitSeq(match, ";") {
				links = append(links, strings.TrimPrefix(one, "interface-name:="))
			}
		}
	}
	return links
}
