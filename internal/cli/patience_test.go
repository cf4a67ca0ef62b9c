package cli

import (
	"testing"
	"time"
)

// TestPatience: what is undone now and then is mended at once each time; what is undone at
// once is mended later and later, and then left alone, until there was peace.
func TestPatience(t *testing.T) {
	var p patience
	now := time.Unix(1e9, 0)
	for i := range 40 {
		wait, mend := p.next(now)
		if wait != 0 || !mend {
			t.Fatalf("theft %d of a slow thief: wait %s, mend %v", i, wait, mend)
		}
		p.done(now)
		now = now.Add(time.Minute)
	}
	var waits []time.Duration
	for {
		wait, mend := p.next(now)
		if !mend {
			break
		}
		waits = append(waits, wait)
		now = now.Add(wait)
		p.done(now)
		now = now.Add(50 * time.Millisecond) // undone at once
	}
	if len(waits) != mostMends || waits[0] != 0 || waits[1] != firstWait || waits[2] != 2*firstWait {
		t.Errorf("a fight: %v", waits)
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] < waits[i-1] || waits[i] > longestWait {
			t.Errorf("a fight: %v", waits)
		}
	}
	if _, mend := p.next(now.Add(time.Second)); mend {
		t.Error("what is given up is mended")
	}
	if !p.giveUp() || p.giveUp() {
		t.Error("it is given up once")
	}
	if _, mend := p.next(now.Add(10 * time.Minute)); mend {
		t.Error("what is given up is mended later, and fought for again")
	}
	p.peace()
	if wait, mend := p.next(now.Add(10 * time.Minute)); !mend || wait != 0 {
		t.Errorf("after peace: wait %s, mend %v", wait, mend)
	}
}

func TestDriftLines(t *testing.T) {
	for _, c := range []struct {
		event driftEvent
		want  string
	}{
		{driftEvent{Event: "drift", Words: []string{"tap0 is gone.", "x"}, By: []string{"ip", "evil\x1b[31m"}}, "drift: tap0 is gone. And 1 more. (by ip, evil\ufffd[31m)"},
		{driftEvent{Event: "drift", Steps: []string{"Plug tap0 into br0"}}, "drift: Not as wanted; this mends it: Plug tap0 into br0."},
		{driftEvent{Event: "mended", Steps: []string{"A", "B"}, TookMS: 140}, "mended in 140 ms: A; B"},
		{driftEvent{Event: "left", By: []string{"ip"}}, "left alone: it was mended 6 times in a row, and undone each time (by ip); 'drawbridge up' mends it"},
		{driftEvent{Event: "left", Error: "no\n way"}, "left alone: it could not be mended, the last of 6 times for this: no way"},
		{driftEvent{Event: "failed", Error: "no\n  way"}, "not mended: no way"},
		{driftEvent{Event: "as-wanted"}, "as wanted again"},
		{driftEvent{Event: "trouble", Words: []string{"network lan: no \x1banswer", "x"}}, "trouble: network lan: no \ufffdanswer. And 1 more."},
		{driftEvent{Event: "no-trouble"}, "no trouble any more"},
	} {
		if got := c.event.line(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
