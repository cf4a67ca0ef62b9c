package story

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
)

// Words tells what differs between two wirings, one sentence for each change.
func Words(before, after model.Wiring) []string {
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
			say("%s is new: its host end is %s, its wire end %s.", i.Name, place(&w, i.HostEnd), place(&w, i.WireEnd))
		case i.Change == model.Removed:
			say("%s is gone.", i.Name)
		case i.Change == model.Altered && was != nil:
			out = append(out, altered(&w, *was, i)...)
		}
		for _, a := range i.TellingAddresses() {
			switch {
			case i.Change == model.Removed:
			case a.Change == model.Added:
				say("%s is on %s.", a.Address, i.Name)
			case a.Change == model.Removed:
				say("%s leaves %s.", a.Address, i.Name)
			case a.Change == model.Altered:
				say("%s on %s is %s now.", a.Address, i.Name, a.Status)
			}
		}
	}
	return out
}

// altered tells which properties of an interface differ.
func altered(w *model.Wiring, was, is model.Interface) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if was.HostEnd != is.HostEnd {
		say("The host end of %s moves: it is %s now.", is.Name, place(w, is.HostEnd))
	}
	if was.WireEnd != is.WireEnd {
		say("The wire end of %s is %s now.", is.Name, place(w, is.WireEnd))
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
	if was.MAC != is.MAC && was.MAC != "" {
		say("The MAC of %s is %s, before %s.", is.Name, is.MAC, was.MAC)
	}
	return out
}

// place says what an end is in.
func place(w *model.Wiring, e model.End) string {
	switch e.In {
	case model.InStack:
		if s := w.Stack(e.ID); s != nil {
			return "in " + s.Name
		}
	case model.InSegment:
		s := w.Segment(e.ID)
		switch {
		case s == nil:
		case s.Kind == "bridge":
			return "in the virtual LAN of " + s.Name
		case s.Kind == "cable":
			return "in a cable"
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
