package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CreateTaps makes many taps, plugs each into Master and brings it up: what
// [CreateTap], [SetMaster] and [SetUp] do to one. It makes all of them or none.
type CreateTaps struct {
	Taps   []CreateTap `json:"taps"`
	Master string      `json:"master,omitempty"` // "": they stay in the stack
	Up     bool        `json:"up,omitempty"`
	// LinkGroup is the IFLA_GROUP of all of them (not a group of users): links of one
	// group can be deleted by one message.
	LinkGroup uint32 `json:"link_group,omitempty"`
}

// LinkGroup makes an IFLA_GROUP of a number: one that nobody gave a name in
// /etc/iproute2/group, and that tools print as a positive number.
func LinkGroup(n uint32) uint32 { return n&(1<<30-1) | 1<<30 }

// DeleteLinks deletes many links, with one message by their group. Left alone, and no error: what is gone, and what is a stranger's.
// A link is ours that has the index given. Where the index is not known, because the
// one that made it did not live to tell, it is ours when it has the MAC that it was made
// with; of those made with none, what has the group, or is a tap that never got that far:
// down, unplugged and in no group.
type DeleteLinks struct {
	Links     []LinkID `json:"links"`
	LinkGroup uint32   `json:"link_group,omitempty"`
	Kind      Kind     `json:"kind,omitempty"` // for the words only
}

// LinkID is a link and, where they are known, its index and the MAC that it was made with.
type LinkID struct {
	Name  string `json:"name"`
	Index int    `json:"index,omitempty"`
	MAC   MAC    `json:"mac,omitempty"`
}

// Made are the indexes of the links that an operation made, by their names.
type Made map[string]int

// MadeBy names the links that an operation makes in the namespace that was asked for.
func MadeBy(op Operation) []string {
	switch op := op.(type) {
	case CreateBridge, CreateTap, CreateVeth:
		return []string{op.Object()}
	case CreateTaps:
		return op.Names()
	default:
		return nil
	}
}

// MACsMadeBy are the MACs that an operation makes its links with, by their names.
func MACsMadeBy(op Operation) map[string]MAC {
	switch op := op.(type) {
	case CreateBridge:
		return map[string]MAC{op.Name: op.MAC}
	case CreateTap:
		return map[string]MAC{op.Name: op.MAC}
	case CreateVeth:
		return map[string]MAC{op.Name: op.MAC}
	case CreateTaps:
		out := make(map[string]MAC, len(op.Taps))
		for _, t := range op.Taps {
			out[t.Name] = t.MAC
		}
		return out
	default:
		return nil
	}
}

// Made are the indexes of the links that op made, nil if it made none.
func (n *Namespace) Made(op Operation) Made {
	names := MadeBy(op)
	if len(names) == 0 {
		return nil
	}
	made := make(Made, len(names))
	for _, name := range names {
		made[name] = 0
	}
	for i := range n.Links {
		if _, ours := made[n.Links[i].Name]; ours {
			made[n.Links[i].Name] = n.Links[i].Index
		}
	}
	return made
}

// Op implements [Operation].
func (CreateTaps) Op() string { return "create-taps" }

// Op implements [Operation].
func (DeleteLinks) Op() string { return "delete-links" }

// Object implements [Operation].
func (o CreateTaps) Object() string { return strings.Join(NameRuns(o.Names()), " ") }

// Object implements [Operation].
func (o DeleteLinks) Object() string { return strings.Join(NameRuns(o.Names()), " ") }

// Names are the names of the taps.
func (o CreateTaps) Names() []string {
	out := make([]string, len(o.Taps))
	for i, t := range o.Taps {
		out[i] = t.Name
	}
	return out
}

// Names are the names of the links.
func (o DeleteLinks) Names() []string {
	out := make([]string, len(o.Links))
	for i, l := range o.Links {
		out[i] = l.Name
	}
	return out
}

// Identifies tells whether l is the link that id means, to one that made its links
// with the group given; see [DeleteLinks].
func (id LinkID) Identifies(l *Link, group uint32) bool {
	switch {
	case l.Name != id.Name:
		return false
	case id.Index != 0:
		return l.Index == id.Index
	case id.MAC != "":
		return l.MAC == id.MAC
	case l.Group == group:
		return group != 0
	default:
		return l.Group == 0 && l.Kind == TapKind && !l.Up && l.Master == ""
	}
}

func (o CreateTaps) apply(s *Snapshot) error {
	n := s.Here()
	there, next := make(map[string]bool, len(n.Links)), 0
	for i := range n.Links {
		there[n.Links[i].Name] = true
		next = max(next, n.Links[i].Index)
	}
	if err := o.check(n, there); err != nil {
		return err
	}
	defaults := n.defaults()
	if len(defaults) > 0 {
		n.Settings = withRoom(n.Settings, len(defaults)*len(o.Taps))
	}
	n.Links = slices.Grow(n.Links, len(o.Taps))
	for i, t := range o.Taps {
		l := t.link()
		l.Index, l.Master, l.Up, l.Group, l.OperState = next+1+i, o.Master, o.Up, o.LinkGroup, "down"
		if l.MTU == 0 {
			l.MTU = 1500
		}
		if o.Master != "" {
			l.Port = newPort()
		}
		n.Links = append(n.Links, l)
		for _, d := range defaults {
			n.Settings[d.of(t.Name)] = d.value
		}
	}
	return nil
}

// check refuses what the kernel would refuse to any of the taps.
func (o CreateTaps) check(n *Namespace, there map[string]bool) error {
	for _, t := range o.Taps {
		if err := CheckLinkName(t.Name); err != nil {
			return err
		}
		if there[t.Name] {
			return refuse(t.Name, ErrExists)
		}
		there[t.Name] = true
		if t.MTU != 0 && (t.MTU < minMTU || t.MTU > maxMTU) {
			return refuse(t.Name, ErrInvalid)
		}
	}
	if o.Master == "" {
		return nil
	}
	m, err := n.mustLink(o.Master)
	switch {
	case err != nil:
		return err
	case m.Kind != Bridged:
		return refuse(o.Master, ErrInvalid)
	case len(n.Ports(o.Master))+len(o.Taps) > MaxPorts:
		return refuse(o.Master, ErrPortLimit)
	}
	return nil
}

func (o DeleteLinks) apply(s *Snapshot) error {
	n := s.Here()
	ids := make(map[string]LinkID, len(o.Links))
	for _, id := range o.Links {
		ids[id.Name] = id
	}
	gone := map[string]bool{}
	for i := range n.Links {
		l := &n.Links[i]
		if id, listed := ids[l.Name]; listed && id.Identifies(l, o.LinkGroup) {
			gone[l.Name] = true
			if l.Kind == Veth && l.Peer != nil && l.Peer.Namespace == n.Name {
				gone[l.Peer.Name] = true
			}
		}
	}
	n.dropLinks(gone)
	return nil
}

// NameRuns shortens names in their natural order: tap0 tap1 tap2 x is tap0…tap2 x.
func NameRuns(names []string) []string {
	return nameRuns(names, func(prefix string, first, last int) string {
		return fmt.Sprintf("%s%d…%s%d", prefix, first, prefix, last)
	})
}

// NameBraces is [NameRuns] as bash(1) expands it: tap{0..2} x.
func NameBraces(names []string) []string {
	return nameRuns(names, func(prefix string, first, last int) string {
		return fmt.Sprintf("%s{%d..%d}", prefix, first, last)
	})
}

func nameRuns(names []string, run func(prefix string, first, last int) string) []string {
	names = slices.Clone(names)
	slices.SortFunc(names, NaturalCompare)
	var out []string
	for i := 0; i < len(names); {
		prefix, first, ok := numbered(names[i])
		last := first
		for ok && i+1+last-first < len(names) && names[i+1+last-first] == prefix+strconv.Itoa(last+1) {
			last++
		}
		if last-first < 2 { // two names are shorter than a run
			last = first
			out = append(out, names[i])
		} else {
			out = append(out, run(prefix, first, last))
		}
		i += 1 + last - first
	}
	return out
}

// numbered splits tap12 into tap and 12; not ok without a number, or where it would
// be written in another way (tap012).
func numbered(name string) (prefix string, n int, ok bool) {
	prefix = strings.TrimRight(name, "0123456789")
	digits := name[len(prefix):]
	n, err := strconv.Atoi(digits)
	return prefix, n, err == nil && strconv.Itoa(n) == digits
}
