package draw

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
)

// Describe tells a wiring in sentences, for a reader who cannot see the picture.
// Of more than a few dozen interfaces it tells the number.
func Describe(w model.Wiring) string { return describe(model.NewIndex(&w)) }

func describe(w *model.Index) string {
	const most = 40
	var parts []string
	for n, s := range w.Stacks {
		if n == most {
			parts = append(parts, fmt.Sprintf("And %d more stacks.", len(w.Stacks)-n))
			break
		}
		parts = append(parts, describeStack(s)+".")
	}
	for n, i := range w.Interfaces {
		if n == most {
			parts = append(parts, fmt.Sprintf("And %d more interfaces.", len(w.Interfaces)-n))
			break
		}
		parts = append(parts, describeInterface(w, i)+".")
	}
	return Clean(strings.Join(parts, " "))
}

func describeStack(s model.Stack) string {
	text := s.Name
	if sys := systemText(s); sys != "" {
		text += " (" + sys + ")"
	}
	if s.Forwards {
		text += ", routes between its interfaces"
	}
	return Clean(text) + inWords(s.Change)
}

func describeSegment(s model.Segment) string {
	if s.Kind == "bridge" {
		text := "The virtual LAN of the bridge " + Clean(s.Name)
		if b := behindText(s); b != "" {
			text += ", " + b
		}
		return text + inWords(s.Change)
	}
	_, rest := segmentLabel(&Metrics{}, s)
	return strings.TrimSpace("LAN "+rest) + inWords(s.Change)
}

// describeInterface tells an interface: "eth0: host end in the bridge br0, wire end on
// the LAN 198.18.0.0/24; 198.18.0.5/24".
func describeInterface(w *model.Index, i model.Interface) string {
	text := fmt.Sprintf("%s: host end %s, wire end %s", i.Name, describeEnd(w, i, i.HostEnd), describeEnd(w, i, i.WireEnd))
	for n, a := range i.TellingAddresses() {
		sep := ", "
		if n == 0 {
			sep = "; "
		}
		text += sep + a.Address.String()
		if note := addressNote(a); note != "" {
			text += " (" + note + ")"
		}
	}
	for _, l := range Roles(w, i.Roles) {
		text += "; " + l
	}
	if i.Managers != "" {
		text += "; managed by " + i.Managers
	}
	if len(i.Findings) > 0 {
		text += "; " + strings.Join(i.Findings, ", ")
	}
	return text + inWords(i.Change)
}

// describeEnd tells what an end of an interface is in.
func describeEnd(w *model.Index, self model.Interface, e model.End) string {
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
			return "in the bridge " + s.Name
		case s.Kind == "cable":
			return "in a cable" + otherEnd(w, self, e)
		default:
			return strings.TrimSpace("on the LAN " + s.Name)
		}
	case model.InInterface:
		_, name, _ := strings.Cut(e.ID, "/")
		return "in " + name
	case model.InTunnel:
		return "in a tunnel " + e.ID
	case inMany:
		return "in cables"
	default:
		return "dangles"
	}
	return "in " + e.ID
}

// otherEnd tells where a cable leads: " to eth1 of web".
func otherEnd(w *model.Index, self model.Interface, e model.End) string {
	for _, i := range w.WireEnds(e) {
		if i.ID != self.ID {
			if s := w.Stack(i.Stack); s != nil {
				return " to " + i.Name + " of " + s.Name
			}
		}
	}
	return ""
}

func inWords(c model.Change) string {
	if c == "" {
		return ""
	}
	return " [" + string(c) + "]"
}
