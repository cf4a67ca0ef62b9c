package machine

import (
	"errors"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	crash := errors.New("exit status 1")
	for _, c := range []struct {
		policy string
		end    error
		again  bool
	}{{"", crash, false}, {"no", crash, false}, {"on-failure", nil, false}, {"on-failure", crash, true}, {"always", nil, true}, {"always", crash, true}} {
		var b backoff
		if _, again := b.next(c.policy, c.end, 0); again != c.again {
			t.Errorf("%s after %v: %v", c.policy, c.end, again)
		}
	}
	var b backoff
	var waits []time.Duration
	for {
		wait, again := b.next("always", crash, time.Second)
		if !again {
			break
		}
		waits = append(waits, wait)
	}
	if len(waits) != maxEnds-1 || waits[0] != time.Second || waits[3] != 8*time.Second || waits[len(waits)-1] != time.Minute {
		t.Errorf("waited %v", waits)
	}
	// A minute of life, and what was before is forgotten.
	if wait, again := b.next("always", crash, 2*time.Minute); !again || wait != time.Second {
		t.Errorf("after a good life: %v %v", wait, again)
	}
}
