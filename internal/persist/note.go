package persist

import (
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Note goes with the files: what was ours when they were written. What is made of them at
// the next boot is ours then, though nothing in the kernel says so.
type Note struct {
	Owned plan.Owned           `json:"owned"`
	MACs  map[string]model.MAC `json:"macs"` // of our links
	// File and Uplink are what was written down; see [Source].
	File   string `json:"file"`
	Uplink string `json:"uplink,omitempty"`
}

// NoteOf notes what is ours in a state.
func NoteOf(now model.Snapshot, own plan.Owned, src Source) Note {
	n := Note{MACs: map[string]model.MAC{}, File: src.Path, Uplink: src.Uplink}
	for _, l := range own.Links {
		if there := now.Here().Link(l.Name); there != nil && l.Kind != model.Veth && (l.Added == nil || l.Added.Holder == nil) {
			l.Index, l.Group = 0, 0
			n.Owned.Links = append(n.Owned.Links, l)
			n.MACs[l.Name] = there.MAC
		}
	}
	for _, u := range own.Uplinks {
		u.Groups = nil // programs of that boot had joined them
		n.Owned.Uplinks = append(n.Owned.Uplinks, u)
	}
	n.Owned.Addresses, n.Owned.Networks = own.Addresses, own.Networks
	return n
}

// Adopt is what of a note is there again: links of the same name, kind and MAC address,
// with the indexes that they have now.
func (n Note) Adopt(ns *model.Namespace) plan.Owned {
	var own plan.Owned
	for _, l := range n.Owned.Links {
		if there := ns.Link(l.Name); there != nil && there.Kind == l.Kind && there.MAC == n.MACs[l.Name] {
			l.Index = there.Index
			own.Links = append(own.Links, l)
		}
	}
	ours := func(name string) bool {
		return slices.ContainsFunc(own.Links, func(l plan.OwnedLink) bool { return l.Name == name })
	}
	for _, u := range n.Owned.Uplinks {
		// One that somebody has taken out of our bridge is known still: what is on the bridge is its.
		if l := ns.Link(u.Name); l != nil && (l.Master == u.Bridge || l.Master == "" && ours(u.Bridge)) {
			own.Uplinks = append(own.Uplinks, u)
		}
	}
	for _, a := range n.Owned.Addresses {
		if ours(a.Link) {
			own.Addresses = append(own.Addresses, a)
		}
	}
	for _, x := range n.Owned.Networks {
		if ours(x.Bridge) {
			own.Networks = append(own.Networks, x)
		}
	}
	return own
}
