package draw

import (
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// Fact is one thing that is known of an interface: "MAC", "02:11:22:33:44:55".
type Fact struct{ Name, Value string }

// Facts are all facts of an interface in words, for details beside a picture and for
// those who cannot see it. Names and values are clean (see [Clean]).
func Facts(w *model.Index, i model.Interface) []Fact {
	var out []Fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, Fact{name, Clean(value)})
		}
	}
	add("kind", string(i.Kind))
	if i.Detail != string(i.Kind) {
		add("detail", i.Detail)
	}
	if s := w.Stack(i.Stack); s != nil {
		add("of", s.Name)
	}
	add("state", stateWords(i))
	add("host end", describeEnd(w, i, i.HostEnd))
	add("wire end", describeEnd(w, i, i.WireEnd))
	for _, a := range i.Addresses {
		text := a.Address.String() + " (" + string(a.Origin)
		if a.Status != "ok" && a.Status != "" {
			text += ", " + a.Status
		}
		add("address", text+")"+inWords(a.Change))
	}
	for _, r := range roleFacts(w, i.Roles) {
		add(r.Name, r.Value)
	}
	add("MAC", string(i.MAC))
	if i.MTU > 0 {
		add("MTU", strconv.Itoa(i.MTU))
	}
	add("owner", i.Owner)
	add("port security", i.Security)
	add("managed by", i.Managers)
	add("found", strings.Join(i.Findings, ", "))
	add("VLANs", vlanText(i.VLANs))
	add("change", string(i.Change))
	return out
}

func stateWords(i model.Interface) string {
	if i.Declared {
		return "declared, not yet a device"
	}
	words := []string{"down"}
	if i.Up {
		words[0] = "up"
	}
	if i.Up && !i.Carrier {
		words = append(words, "no carrier")
	}
	if i.Standby {
		words = append(words, "standby")
	}
	if i.HolderUnknown {
		words = append(words, "holder unknown")
	}
	return strings.Join(words, ", ")
}

// Mark is the sign of a change, with a space after it: "+ ", "− ", "~ ", or "".
func Mark(c model.Change) string {
	if c == "" {
		return ""
	}
	return mark(c) + " "
}

// SegmentName is what a reader calls a segment: "LAN 198.18.0.0/24", "bridge br0".
func SegmentName(s model.Segment) string {
	switch s.Kind {
	case "bridge":
		return Clean("bridge " + s.Name)
	case "cable":
		return "cable"
	}
	return Clean(strings.TrimSpace("LAN " + s.Name))
}

// StackName is what a reader calls a stack: "web (UML)".
func StackName(s model.Stack) string {
	if sys := systemText(s); sys != "" {
		return Clean(s.Name + " (" + sys + ")")
	}
	return Clean(s.Name)
}
