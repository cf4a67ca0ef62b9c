package story

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// Words tells what differs between two wirings, one sentence for each change: what is new
// and gone, which ends move, what becomes of the addresses.
func Words(before, after model.Wiring) []string {
	return append(ends(before, after), fates(before, after)...)
}

// Changes tells what differs between two states: what a picture shows, and then what is
// beneath it, routes, neighbours and settings.
func Changes(before, after model.Snapshot) []string {
	return append(Words(model.Wire(before), model.Wire(after)), beneath(before, after)...)
}

// ends tells of stacks, segments and interfaces.
func ends(before, after model.Wiring) []string {
	w := model.Compare(before, after)
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, s := range w.Stacks {
		switch s.Change {
		case model.Added:
			say("%s is there, with a network stack of its own.", s.Name)
		case model.Removed:
			say("%s is gone.", s.Name)
		case model.Altered:
			say("%s %s between its interfaces.", s.Name, map[bool]string{true: "routes", false: "no longer routes"}[s.Forwards])
		}
	}
	for _, s := range w.Segments {
		if s.Kind == "bridge" && s.Change == model.Added {
			say("A virtual LAN inside the host, that of the bridge %s, is there.", s.Name)
		}
	}
	for _, i := range w.Interfaces {
		was := before.Interface(i.ID)
		switch {
		case i.Change == model.Added:
			say("%s is new: its host end is %s, its wire end %s.", i.Name, place(&w, i, i.HostEnd), place(&w, i, i.WireEnd))
		case i.Change == model.Removed:
			say("%s is gone.", i.Name)
		case i.Change == model.Altered && was != nil:
			out = append(out, altered(&w, *was, i)...)
		}
	}
	return out
}

// altered tells which properties of an interface differ.
func altered(w *model.Wiring, was, is model.Interface) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if was.HostEnd != is.HostEnd {
		say("The host end of %s moves: it was %s, and is %s now.", is.Name, place(w, was, was.HostEnd), place(w, is, is.HostEnd))
	}
	if was.WireEnd != is.WireEnd {
		say("The wire end of %s was %s, and is %s now.", is.Name, place(w, was, was.WireEnd), place(w, is, is.WireEnd))
	}
	if was.Declared && !is.Declared {
		say("%s is a device now; before, it was only declared.", is.Name)
	}
	if was.Up != is.Up {
		say("%s is %s now.", is.Name, map[bool]string{true: "up", false: "down"}[is.Up])
	}
	if was.MTU != is.MTU && was.MTU != 0 && is.MTU != 0 {
		say("The MTU of %s is %d bytes, before %d.", is.Name, is.MTU, was.MTU)
	}
	if was.MAC != is.MAC && was.MAC != "" && is.MAC != "" {
		say("The MAC of %s is %s, before %s.", is.Name, is.MAC, was.MAC)
	}
	switch {
	case was.Security == is.Security:
	case is.Security == "":
		say("What arrives by the cable at %s is not checked any more.", is.Name)
	default:
		say("What arrives by the cable at %s is checked now: %s.", is.Name, is.Security)
	}
	if was.Owner != is.Owner && is.Owner != "" {
		say("%s may open %s.", is.Owner, is.Name)
	}
	return append(out, roles(w, was, is)...)
}

// roles tells what the stack does for others at the host end, and what no longer.
func roles(w *model.Wiring, was, is model.Interface) []string {
	if was.Roles.Same(is.Roles) {
		return nil
	}
	var out []string
	x := model.NewIndex(w)
	old, now := draw.Roles(x, was.Roles), draw.Roles(x, is.Roles)
	for _, l := range now {
		if !slices.Contains(old, l) {
			out = append(out, fmt.Sprintf("At the host end of %s: %s.", is.Name, l))
		}
	}
	for _, l := range old {
		if !slices.Contains(now, l) {
			out = append(out, fmt.Sprintf("No longer at the host end of %s: %s.", is.Name, l))
		}
	}
	return out
}

// place says what an end of an interface is in.
func place(w *model.Wiring, self model.Interface, e model.End) string {
	switch e.In {
	case model.InStack:
		if s := w.Stack(e.ID); s != nil {
			return "in the stack of " + s.Name
		}
	case model.InSegment:
		s := w.Segment(e.ID)
		switch {
		case s == nil:
		case s.Kind == "bridge":
			return "in the virtual LAN of " + s.Name
		case s.Kind == "cable":
			return "in a cable" + otherEnd(w, self, e)
		default:
			return strings.TrimSpace("on the LAN " + s.Name)
		}
	case model.InInterface:
		if i := w.Interface(e.ID); i != nil {
			return "in " + i.Name
		}
	case model.InTunnel:
		return strings.TrimSpace("in a tunnel " + e.ID)
	case model.InNothing, "":
		return "dangling"
	}
	return "elsewhere"
}

// otherEnd says where a cable leads: " to eth1 of web".
func otherEnd(w *model.Wiring, self model.Interface, cable model.End) string {
	for _, i := range w.Interfaces {
		if i.WireEnd == cable && i.ID != self.ID {
			return fmt.Sprintf(" to %s of %s", i.Name, stackName(w, i.Stack))
		}
	}
	return ""
}
