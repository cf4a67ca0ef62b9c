package story

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// home is an address of a stack: the same on two interfaces of one stack is one address
// of the host, for Linux's addresses belong to the host (RFC 1122, 3.3.4.2, the weak model).
type home struct {
	stack   string
	address netip.Prefix
}

// spot is an interface that has an address.
type spot struct {
	itf    model.Interface
	status string
	origin model.Origin
}

// homes finds for each address the interfaces that have it, in the wiring's order.
func homes(w model.Wiring) (order []home, at map[home][]spot) {
	at = map[home][]spot{}
	for _, i := range w.Interfaces {
		for _, a := range i.TellingAddresses() {
			h := home{i.Stack, a.Address}
			if at[h] == nil {
				order = append(order, h)
			}
			at[h] = append(at[h], spot{i, a.Status, a.Origin})
		}
	}
	return order, at
}

// fates tells what becomes of each address between two wirings.
func fates(before, after model.Wiring) []string {
	first, was := homes(before)
	second, is := homes(after)
	var out []string
	for _, h := range append(first, slices.DeleteFunc(second, func(h home) bool { return was[h] != nil })...) {
		out = append(out, fate(&after, h, was[h], is[h])...)
	}
	return out
}

func fate(after *model.Wiring, h home, was, is []spot) []string {
	arrived, left := without(is, was), without(was, is)
	stayed := without(is, arrived)
	switch {
	case len(was) == 0:
		return []string{fmt.Sprintf("%s gets %s%s.", names(is, after), h.address, byOrigin(is))}
	case len(is) == 0:
		return []string{fmt.Sprintf("%s leaves %s, and is no address of %s any more.", h.address, names(left, after), stackName(after, h.stack))}
	case len(left) > 0:
		return []string{fmt.Sprintf("%s leaves %s,%s and lives on %s.", h.address, names(left, after), wouldBeMisplaced(left, after), names(is, after))}
	case len(arrived) > 0:
		return []string{fmt.Sprintf("%s is on %s as well as on %s: one address, at home on both.", h.address, names(arrived, after), names(stayed, after))}
	}
	var out []string
	for _, now := range is {
		for _, old := range was {
			switch {
			case now.itf.ID != old.itf.ID || now.status == old.status:
			case now.status == misplaced:
				out = append(out, fmt.Sprintf("%s is misplaced on %s now: %s is a port, what comes for it goes by %s.", h.address, now.itf.Name, now.itf.Name, bridgeOf(after, now.itf)))
			case now.status == "ok":
				out = append(out, fmt.Sprintf("%s on %s is in its place.", h.address, now.itf.Name))
			default:
				out = append(out, fmt.Sprintf("%s on %s is %s now.", h.address, now.itf.Name, now.status))
			}
		}
	}
	return out
}

const misplaced = "misplaced"

// wouldBeMisplaced says why an address leaves, where a port is what it leaves.
func wouldBeMisplaced(left []spot, after *model.Wiring) string {
	for _, s := range left {
		if i := after.Interface(s.itf.ID); i != nil && bridgeOf(after, *i) != "" {
			return " where it would be misplaced,"
		}
	}
	return ""
}

// bridgeOf is the bridge that an interface is a port of, "" for none.
func bridgeOf(w *model.Wiring, i model.Interface) string {
	if s := w.Segment(i.HostEnd.ID); i.HostEnd.In == model.InSegment && s != nil && s.Kind == "bridge" {
		return s.Name
	}
	return ""
}

// without are the spots of a whose interface is in none of b.
func without(a, b []spot) []spot {
	return slices.DeleteFunc(slices.Clone(a), func(s spot) bool {
		return slices.ContainsFunc(b, func(o spot) bool { return o.itf.ID == s.itf.ID })
	})
}

// names lists interfaces: "eth0 and br0", those of a guest with its name.
func names(list []spot, w *model.Wiring) string {
	var words []string
	for _, s := range list {
		name := s.itf.Name
		if st := w.Stack(s.itf.Stack); st == nil || st.Kind != "host" {
			name += " of " + stackName(w, s.itf.Stack)
		}
		words = append(words, name)
	}
	return and(words)
}

// and joins words: "a", "a and b", "a, b and c".
func and(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

func byOrigin(list []spot) string {
	switch list[0].origin {
	case model.DHCP:
		return " by DHCP"
	case model.RA:
		return " by the router's advertisement"
	}
	return ""
}

func stackName(w *model.Wiring, id string) string {
	if s := w.Stack(id); s != nil {
		return s.Name
	}
	return strings.TrimPrefix(id, "vm:")
}

// keepsMisplaced tells whether a step makes an address misplaced, or takes one off a port.
func keepsMisplaced(s Step) bool {
	was, is := model.Wire(s.Before), model.Wire(s.After)
	for _, i := range is.Interfaces {
		for _, a := range i.TellingAddresses() {
			if a.Status == misplaced {
				return true
			}
		}
	}
	first, old := homes(was)
	_, now := homes(is)
	for _, h := range first {
		if left := without(old[h], now[h]); len(now[h]) > 0 && len(left) > 0 && wouldBeMisplaced(left, &is) != "" {
			return true
		}
	}
	return false
}
