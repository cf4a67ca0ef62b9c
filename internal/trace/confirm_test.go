package trace_test

import (
	"strings"
	"testing"

	"drawbridge/internal/trace"
)

// What was seen of a packet that was sent, next to what the trace says.
func TestConfirm(t *testing.T) {
	nic := func(id string, answer bool, r trace.Result) trace.Hop {
		return trace.Hop{Interface: id, Name: id, Answer: answer, In: true, Result: r}
	}
	host := func(answer bool, r trace.Result) trace.Hop {
		return trace.Hop{Stack: "host", Name: "host", Answer: answer, Result: r}
	}
	const pass, may, dies = trace.Pass, trace.May, trace.Dies
	whole := []trace.Hop{host(false, pass), nic("a", false, pass), host(false, pass), nic("b", false, pass), nic("b", true, pass), host(true, pass), nic("a", true, pass)}
	dead := []trace.Hop{host(false, pass), nic("a", false, pass), host(false, dies)}
	deadBack := []trace.Hop{host(false, pass), nic("a", false, pass), nic("b", false, pass), nic("b", true, pass), host(true, dies)}
	hairpin := []trace.Hop{nic("a", false, pass), nic("br", false, pass), host(false, pass), nic("br", false, pass), nic("b", false, pass)}
	type at = map[string]trace.Sighting
	for _, c := range []struct {
		name     string
		hops     []trace.Hop
		result   trace.Result
		protocol string
		at       at
		refused  trace.Refused
		agrees   string
		summary  string
		seen     string // of each hop with an interface: s, n
	}{
		{"as told", whole, pass, "icmp", at{"a": {1, 1}, "b": {1, 1}}, trace.Refused{}, "yes", "its answer came back. That is what the trace says.", "ssss"},
		{"lost on the way", whole, pass, "icmp", at{"a": {1, 0}, "b": {0, 0}}, trace.Refused{}, "no", "last seen at a. That is not what the trace says: it passes b.", "snnn"},
		{"no answer", whole, pass, "icmp", at{"a": {1, 0}, "b": {1, 0}}, trace.Refused{}, "no", "last seen at b. That is not what the trace says: its answer passes b.", "ssnn"},
		{"no answer to a datagram", whole, pass, "udp", at{"a": {1, 0}, "b": {1, 0}}, trace.Refused{}, "unknown", "says nothing", "ssnn"},
		{"a datagram that is lost", whole, pass, "udp", at{"a": {1, 0}, "b": {0, 0}}, trace.Refused{}, "no", "it passes b", "snnn"},
		{"dies as told", dead, dies, "icmp", at{"a": {1, 0}, "b": {0, 0}}, trace.Refused{}, "yes", "last seen at a. That is what the trace says.", "s"},
		{"lives after all", dead, dies, "icmp", at{"a": {1, 1}, "b": {1, 1}}, trace.Refused{}, "no", "it dies at host, and it was answered", "s"},
		{"dies before", dead, dies, "icmp", at{"a": {0, 0}}, trace.Refused{}, "no", "nowhere seen. That is not what the trace says: it passes a.", "n"},
		{"the answer dies as told", deadBack, dies, "tcp", at{"a": {1, 0}, "b": {1, 1}}, trace.Refused{}, "yes", "its answer was last seen at b. That is what the trace says.", "sss"},
		{"not told", whole, may, "icmp", at{"a": {1, 1}, "b": {1, 1}}, trace.Refused{}, "unknown", "cannot tell", "ssss"},
		{"twice by one", hairpin, pass, "udp", at{"a": {1, 0}, "br": {2, 0}, "b": {1, 0}}, trace.Refused{}, "unknown", "", "ssss"},
		{"once only", hairpin, pass, "udp", at{"a": {1, 0}, "br": {1, 0}, "b": {0, 0}}, trace.Refused{}, "no", "it passes br", "ssnn"},
		{"elsewhere, refused", dead, dies, "icmp", at{"a": {1, 0}, "c": {1, 0}}, trace.Refused{Says: "b says: no"}, "yes", "b says: no. It was also seen at C.", "s"},
		{"too long", whole, pass, "icmp", at{"a": {0, 0}, "b": {0, 0}}, trace.Refused{Says: "x", TooLong: true}, "unknown", "fragments", "nnnn"},
	} {
		tr := &trace.Trace{Protocol: c.protocol, Hops: append([]trace.Hop(nil), c.hops...), Result: c.result}
		tr.Confirm(c.at, map[string]string{"a": "A", "b": "B", "c": "C"}, c.refused)
		seen := ""
		for _, h := range tr.Hops {
			if h.Seen != "" {
				seen += h.Seen[:1]
			}
		}
		if tr.Sent.Agrees != c.agrees || !strings.Contains(tr.Sent.Summary, c.summary) || seen != c.seen {
			t.Errorf("%s: %q %q %q, want %q %q %q", c.name, tr.Sent.Agrees, tr.Sent.Summary, seen, c.agrees, c.summary, c.seen)
		}
	}
}
