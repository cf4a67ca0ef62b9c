package trace

import (
	"fmt"
	"slices"
	"strings"
)

// Sighting is how often a packet that was sent, and its answer, passed an interface.
type Sighting struct{ Packet, Answer int }

// Sent is what became of a packet that was sent by the way that was traced.
type Sent struct {
	// Agrees tells whether it had the lot that the trace tells: "yes", "no", or "unknown" where the
	// trace itself cannot tell, or a datagram's silence says nothing.
	Agrees string `json:"agrees"`
	// Answered: an answer came back to the sender.
	Answered bool `json:"answered"`
	// Refused is what an ICMP error said of it.
	Refused string `json:"refused,omitempty"`
	// Elsewhere are interfaces that it passed and the trace does not have.
	Elsewhere []string `json:"elsewhere,omitempty"`
	Summary   string   `json:"summary"`
}

// The words of Hop.Seen.
const (
	Seen    = "seen"
	NotSeen = "not seen"
)

// Refused is what was said of a packet that was sent: by an ICMP error, or by the sender's own
// kernel.
type Refused struct {
	Says string
	// TooLong for a link, and not to be sent in fragments.
	TooLong bool
}

// Confirm compares a trace with where a packet that was sent was seen, by the wiring's ids of the
// interfaces that were watched; names are what a reader calls those.
func (t *Trace) Confirm(at map[string]Sighting, names map[string]string, refused Refused) {
	s := &Sent{Agrees: "yes", Refused: refused.Says}
	t.Sent = s
	cross := slices.IndexFunc(t.Hops, func(h Hop) bool { return h.Result == Dies })
	var first, last, missed *Hop
	waiting := false
	passed, onWay := map[string]Sighting{}, map[string]bool{}
	for i := range t.Hops {
		h := &t.Hops[i]
		is, watched := at[h.Interface]
		if h.Interface == "" || !watched {
			continue
		}
		onWay[h.Interface] = true
		n := passed[h.Interface]
		if h.Answer {
			n.Answer++
		} else {
			n.Packet++
		}
		passed[h.Interface] = n
		h.Seen = NotSeen
		if h.Answer && is.Answer >= n.Answer || !h.Answer && is.Packet >= n.Packet {
			h.Seen = Seen
			last = h
		} else if cross < 0 || i < cross {
			if t.waits(i, cross) {
				waiting = true
			} else if missed == nil {
				missed = h
			}
		}
		if first == nil {
			first = h
		}
	}
	for id, is := range at {
		if !onWay[id] && is.Packet > 0 {
			s.Elsewhere = append(s.Elsewhere, names[id])
		}
	}
	slices.Sort(s.Elsewhere)
	s.Answered = first != nil && at[first.Interface].Answer > 0
	s.judge(t, cross, missed)
	if refused.TooLong && cross < 0 { // as the trace has told: or the sender is told so
		s.Agrees, s.Summary = "unknown", "It was sent as one that may not be fragmented; in fragments it may arrive."
	}
	if waiting && s.Agrees == "yes" {
		s.Summary += " (It waits for a neighbour to say its MAC: the question dies there as well.)"
	}
	s.tell(last)
}

// waits tells whether what was to pass a hop still waits for a neighbour to say its MAC: the question
// for it goes by the same hops, and dies with them at the cross.
func (t *Trace) waits(hop, cross int) bool {
	for i := cross - 1; i >= 0; i-- {
		if t.Hops[i].Stack != "" {
			return t.Hops[i].asks && i < hop && t.Hops[cross].Stack == ""
		}
	}
	return false
}

// judge tells whether what was seen is what the trace says.
func (s *Sent) judge(t *Trace, cross int, missed *Hop) {
	disagree := func(format string, args ...any) {
		s.Agrees, s.Summary = "no", "That is not what the trace says: "+fmt.Sprintf(format, args...)
	}
	silent := t.Protocol == "udp" && (missed == nil || missed.Answer) // who gets a datagram need not answer
	switch {
	case missed != nil && !silent && missed.Answer:
		disagree("its answer passes %s.", missed.Name)
	case missed != nil && !silent:
		disagree("it passes %s.", missed.Name)
	case cross >= 0 && !t.Hops[cross].Answer && s.Answered:
		disagree("it dies at %s, and it was answered.", t.Hops[cross].Name)
	case cross >= 0:
		s.Summary = "That is what the trace says."
	case t.Result == May:
		s.Agrees, s.Summary = "unknown", "The trace itself cannot tell: it depends on what is not known."
	case !s.Answered && t.Protocol == "udp":
		s.Agrees, s.Summary = "unknown", "Who gets a datagram need not answer it: that nothing came back says nothing."
	case !s.Answered:
		disagree("it is answered.")
	default:
		s.Summary = "That is what the trace says."
	}
}

// tell tells what was seen, before the judgement.
func (s *Sent) tell(last *Hop) {
	text := "A marked packet was sent, and nowhere seen."
	if last != nil {
		what := "it"
		if last.Answer {
			what = "its answer"
		}
		text = fmt.Sprintf("A marked packet was sent, and %s was last seen at %s.", what, last.Name)
	}
	if s.Answered {
		text = "A marked packet was sent, and its answer came back."
	}
	if s.Refused != "" {
		text += " " + s.Refused + "."
	}
	if len(s.Elsewhere) > 0 {
		text += " It was also seen at " + strings.Join(s.Elsewhere, ", ") + "."
	}
	s.Summary = text + " " + s.Summary
}
