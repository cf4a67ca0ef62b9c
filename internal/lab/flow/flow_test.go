package flow

import (
	"testing"
	"time"
)

const msec = time.Millisecond

// sentEvery is n probes, one a millisecond.
func sentEvery(n int) (sent []time.Duration) {
	for i := range n {
		sent = append(sent, time.Duration(i)*msec)
	}
	return sent
}

func TestFill(t *testing.T) {
	at := func(pairs ...int) (as []answer) {
		for i := 0; i < len(pairs); i += 2 {
			as = append(as, answer{uint64(pairs[i]), time.Duration(pairs[i+1]) * msec})
		}
		return as
	}
	for _, tc := range []struct {
		name            string
		sent            []time.Duration
		answers         []answer
		lost            int
		gap, gapAt, own float64
	}{
		{"all is well", sentEvery(4), at(0, 0, 1, 1, 2, 2, 3, 3), 0, 1, 0, 1},
		{"two lost in the middle", sentEvery(6), at(0, 0, 1, 1, 4, 4, 5, 5), 2, 3, 1, 1},
		{"never came back", sentEvery(10), at(0, 0, 1, 1), 8, 8, 1, 1},
		{"never answered", sentEvery(5), nil, 5, 4, 0, 1},
		{"late is not lost", sentEvery(4), at(0, 0, 3, 3, 1, 50, 2, 50), 0, 47, 3, 1},
		{"duplicates and strangers", sentEvery(3), at(0, 0, 0, 0, 1, 1, 99, 1, 2, 2), 0, 1, 0, 1},
		{"the sender paused", []time.Duration{0, 30 * msec}, at(0, 0, 1, 30), 0, 30, 0, 30},
		{"nothing sent", nil, nil, 0, 0, 0, 0},
	} {
		r := Result{Network: "udp"}
		r.fill(tc.sent, tc.answers, lastOf(tc.sent))
		if r.Sent != len(tc.sent) || r.Lost != tc.lost || r.LongestGapMS != tc.gap || r.GapAtMS != tc.gapAt || r.SenderPauseMS != tc.own {
			t.Errorf("%s: %+v", tc.name, r)
		}
	}
}

func TestStalledTCPIsSilentUntilItsEnd(t *testing.T) {
	r := Result{Network: "tcp"}
	r.fill(sentEvery(3), []answer{{0, 0}, {1, msec}}, 900*msec)
	if r.Lost != 1 || r.LongestGapMS != 899 || r.SenderPauseMS != 0 {
		t.Errorf("%+v", r)
	}
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]float64{1234567: 1.23, msec: 1, 0: 0, 999: 0} {
		if got := ms(d); got != want {
			t.Errorf("%v: %v, want %v", d, got, want)
		}
	}
}
