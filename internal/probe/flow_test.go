package probe

import (
	"net/netip"
	"testing"

	"drawbridge/internal/model"
)

func flow(queued, unacked, total uint32, retransmits uint8, acked uint64) model.Socket {
	return model.Socket{Cookie: 1, State: "established", Local: netip.MustParseAddrPort("198.18.0.5:22"), Remote: netip.MustParseAddrPort("198.18.0.9:5000"), Queued: queued,
		TCP: &model.TCPInfo{Unacknowledged: unacked, TotalRetransmits: total, Retransmits: retransmits, Acknowledged: acked}}
}

func TestJudgeFlow(t *testing.T) {
	before := flow(0, 0, 3, 0, 100)
	for name, c := range map[string]struct {
		first, now *model.Socket
		over       bool
		verdict    Verdict
		done       bool
	}{
		"idle":                              {new(flow(0, 0, 3, 0, 100)), new(flow(0, 0, 3, 0, 100)), false, NotJudged, true},
		"acknowledged":                      {new(flow(10, 1, 3, 0, 100)), new(flow(10, 1, 4, 0, 110)), false, Passed, true},
		"acknowledged before it was looked": {new(flow(10, 1, 3, 0, 110)), new(flow(10, 1, 3, 0, 110)), false, "", false},
		"on its way":                        {new(flow(10, 1, 3, 0, 100)), new(flow(10, 1, 3, 0, 100)), false, "", false},
		"sent again":                        {new(flow(10, 1, 3, 0, 100)), new(flow(10, 1, 6, 3, 100)), false, "", false},
		"sent again, and no time left":      {new(flow(10, 1, 3, 0, 100)), new(flow(10, 1, 6, 3, 100)), true, Failed, true},
		"sent again once":                   {new(flow(10, 1, 3, 0, 100)), new(flow(10, 1, 4, 1, 100)), true, NotJudged, true},
		"slow":                              {new(flow(10, 1, 3, 0, 100)), new(flow(10, 1, 3, 0, 100)), true, NotJudged, true},
		"window shut":                       {new(flow(10, 0, 3, 0, 100)), new(flow(10, 0, 3, 0, 100)), false, NotJudged, true},
		"closed":                            {new(flow(10, 1, 3, 0, 100)), nil, false, NotJudged, true},
	} {
		sockets := func(s *model.Socket) map[uint64]model.Socket {
			if s == nil {
				return nil
			}
			return byCookie([]model.Socket{*s})
		}
		r, done := judgeFlow(before, sockets(c.first), sockets(c.now), c.over)
		if r.Verdict != c.verdict || done != c.done {
			t.Errorf("%s: %v done %v", name, r, done)
		}
	}
}

// TestWeigh: one of many peers may go away for reasons of its own; a login may not.
func TestWeigh(t *testing.T) {
	many := func(n, failed int) (s Set, results []Result) {
		for i := range n {
			r := Result{Verdict: Passed}
			if i < failed {
				r.Verdict = Failed
			}
			s.flows, results = append(s.flows, flow(0, 0, 0, 0, 0)), append(results, r)
		}
		return s, results
	}
	for _, c := range []struct {
		flows, failed int
		login         bool
		left          int
	}{{1, 1, false, 1}, {9, 1, false, 1}, {10, 1, false, 0}, {10, 2, false, 2}, {100, 10, false, 0}, {10, 1, true, 1}} {
		s, results := many(c.flows, c.failed)
		s.Login = func(model.Socket) bool { return c.login }
		left := 0
		for _, r := range s.weigh(results) {
			if r.Verdict == Failed {
				left++
			}
		}
		if left != c.left {
			t.Errorf("%+v: %d failed", c, left)
		}
	}
}

func TestVantage(t *testing.T) {
	ns := model.Namespace{
		Links: []model.Link{{Name: "eth0", Master: "br0", Port: &model.BridgePort{}}, {Name: "br0"}},
		Addresses: []model.Address{
			{Link: "eth0", Prefix: netip.MustParsePrefix("198.18.0.5/24")}, // still there, and misplaced
			{Link: "br0", Prefix: netip.MustParsePrefix("198.19.0.5/24")},
			{Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.5/24")},
			{Link: "br0", Prefix: netip.MustParsePrefix("2001:db8::5/64")},
			{Link: "br0", Prefix: netip.MustParsePrefix("fe80::5/64")},
		},
	}
	for target, want := range map[string]string{"198.18.0.1": "198.18.0.5", "fe80::1": "fe80::5", "2001:db8::1": "2001:db8::5", "2001:db8:1::1": "2001:db8::5"} {
		link, source := vantage(&ns, []string{"eth0", "br0"}, netip.MustParseAddr(target))
		if link != "br0" || source.String() != want {
			t.Errorf("%s is asked from %s on %s", target, source, link)
		}
	}
	if link, _ := vantage(&ns, []string{"eth0"}, netip.MustParseAddr("198.18.0.1")); link != "" {
		t.Errorf("a port is asked on: %s", link)
	}
}

func FuzzSwitchFrame(f *testing.F) {
	f.Add([]byte{0x01, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 39, 0x42, 0x42, 3, 0, 0, 2})
	f.Add([]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc, 2, 7, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _ := parseSwitchFrame(b)
		for _, r := range h.Detail {
			if r < ' ' {
				t.Errorf("a control character for the terminal: %q", h.Detail)
			}
		}
		isDNSAnswer(b, 1)
		isEchoReply(b, 0, 1)
		Servers(b)
	})
}
