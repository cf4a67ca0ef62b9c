package model

import (
	"net/netip"
	"reflect"
	"slices"
)

// Compare returns after with every change since before marked: new members Added,
// members that differ Altered, and those that are gone put back, marked Removed.
func Compare(before, after Wiring) Wiring {
	out := Wiring{Version: after.Version}
	out.Stacks = compareLists(before.Stacks, after.Stacks,
		func(s *Stack) (string, *Change) { return s.ID, &s.Change },
		func(x, y Stack) bool { return x.Forwards == y.Forwards && x.Name == y.Name })
	out.Segments = compareLists(before.Segments, after.Segments,
		func(s *Segment) (string, *Change) { return s.ID, &s.Change },
		func(Segment, Segment) bool { return true })
	out.Interfaces = compareLists(before.Interfaces, after.Interfaces,
		func(i *Interface) (string, *Change) { return i.ID, &i.Change },
		sameInterface)
	for i := range out.Interfaces {
		itf := &out.Interfaces[i]
		if old := before.Interface(itf.ID); old != nil && itf.Change != Removed {
			itf.Addresses = compareAddresses(old.Addresses, itf.Addresses)
		}
	}
	return out
}

func sameInterface(x, y Interface) bool {
	return x.HostEnd == y.HostEnd && x.WireEnd == y.WireEnd && x.Up == y.Up && x.MTU == y.MTU && x.MAC == y.MAC &&
		x.Declared == y.Declared && x.Owner == y.Owner && x.Security == y.Security && x.Detail == y.Detail && x.Standby == y.Standby && x.HolderUnknown == y.HolderUnknown && slices.Equal(x.VLANs, y.VLANs) && x.Roles.Same(y.Roles) &&
		slices.Equal(x.TellingAddresses(), y.TellingAddresses())
}

func compareLists[T any](before, after []T, of func(*T) (string, *Change), same func(x, y T) bool) []T {
	old := map[string]T{}
	for _, t := range before {
		id, _ := of(&t)
		old[id] = t
	}
	out := make([]T, 0, len(after))
	seen := map[string]bool{}
	for _, t := range after {
		id, change := of(&t)
		seen[id] = true
		if was, ok := old[id]; !ok {
			*change = Added
		} else if !same(was, t) {
			*change = Altered
		}
		out = append(out, t)
	}
	for _, t := range before {
		id, change := of(&t)
		if !seen[id] {
			*change = Removed
			out = append(out, t)
		}
	}
	return out
}

func compareAddresses(before, after []WiredAddress) []WiredAddress {
	var out []WiredAddress
	at := func(as []WiredAddress, p netip.Prefix) int {
		return slices.IndexFunc(as, func(a WiredAddress) bool { return a.Address == p })
	}
	for _, a := range after {
		switch i := at(before, a.Address); {
		case i < 0:
			a.Change = Added
		case before[i].Status != a.Status:
			a.Change = Altered
		}
		out = append(out, a)
	}
	for _, a := range before {
		if at(after, a.Address) < 0 {
			a.Change = Removed
			out = append(out, a)
		}
	}
	return out
}

// Changed tells whether anything in a compared wiring is marked.
func (w Wiring) Changed() bool {
	return slices.ContainsFunc(w.Stacks, func(s Stack) bool { return s.Change != "" }) ||
		slices.ContainsFunc(w.Segments, func(s Segment) bool { return s.Change != "" }) ||
		slices.ContainsFunc(w.Interfaces, func(i Interface) bool { return i.Change != "" })
}

// Equal compares two wirings in every field.
func (w Wiring) Equal(o Wiring) bool { return reflect.DeepEqual(w, o) }
