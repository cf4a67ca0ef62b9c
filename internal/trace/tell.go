package trace

import (
	"fmt"
	"strings"
)

// Tell tells a trace in lines: a numbered hop each, what decided there below it, and a
// cross where the packet dies. Wrap breaks a text to the width that it is given.
func Tell(t *Trace, width int, wrap func(text string, width int) []string) []string {
	out := []string{t.Heading()}
	way := ""
	for _, h := range t.Hops {
		if now := map[bool]string{false: "there", true: "back"}[h.Answer]; now != way {
			way = now
			out = append(out, "", map[string]string{"there": "The way there:", "back": "The answer:"}[way])
		}
		out = append(out, fmt.Sprintf("%3d %s %s", h.Number, sign(h.Result), h.Place()))
		for _, d := range h.Decisions {
			lead := "      "
			if d.Result != Pass {
				lead = "    " + sign(d.Result) + " "
			}
			for i, line := range wrap(fmt.Sprintf("%s: %s", d.By, d.Text), width-6) {
				if i > 0 {
					lead = "        "
				}
				out = append(out, lead+line)
			}
			if d.Mend != "" {
				for _, line := range wrap("to mend it: "+d.Mend, width-8) {
					out = append(out, "        "+line)
				}
			}
		}
	}
	out = append(out, "")
	out = append(out, wrap(t.Summary, width)...)
	if t.Sent != nil {
		out = append(out, wrap(t.Sent.Summary, width)...)
	}
	if len(t.Unknown) > 0 {
		out = append(out, wrap("Not known: "+strings.Join(t.Unknown, "; ")+".", width)...)
	}
	return out
}

// Heading tells what was sent, from where to where.
func (t *Trace) Heading() string {
	port := ""
	if t.Port != 0 {
		port = fmt.Sprintf(" port %d", t.Port)
	}
	return fmt.Sprintf("%s from %s to %s%s, %d bytes", strings.ToUpper(t.Protocol), endText(t.From), endText(t.To), port, t.Size)
}

// Place is what a reader calls the hop, and whether a packet that was sent was seen there.
func (h *Hop) Place() string {
	if h.Seen == "" {
		return h.Name
	}
	return h.Name + " · " + h.Seen
}

// Outcome is the summary, and what became of a packet that was sent.
func (t *Trace) Outcome() string {
	if t.Sent == nil {
		return t.Summary
	}
	return t.Summary + " " + t.Sent.Summary
}

func endText(e Endpoint) string {
	if e.Address.IsValid() && e.Name != e.Address.String() {
		return fmt.Sprintf("%s (%s)", e.Name, e.Address)
	}
	return e.Name
}

// sign stands before a hop: a cross where the packet dies.
func sign(r Result) string {
	switch r {
	case Dies:
		return "✗"
	case May:
		return "?"
	}
	return "·"
}
