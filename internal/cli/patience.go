package cli

import "time"

// What a watcher thinks of somebody who undoes its mends.
const (
	// fightWithin: who undoes a mend sooner than that does it because of the mend.
	fightWithin = 2 * time.Second
	firstWait   = 250 * time.Millisecond
	longestWait = 30 * time.Second
	mostMends   = 6 // in a row, within eight seconds; then it is left alone
)

// patience decides when something is mended, and when that is given up: two programs that
// undo each other are worse for a host than what either of them wants.
type patience struct {
	row    int // mends that were undone at once, one after another
	mended time.Time
	left   bool   // given up
	failed string // why the last mend failed, "" where it did not
}

// next is how long to wait before a mend, for what was noticed at now; false: leave it,
// and so for as long as nobody else has mended it.
func (p *patience) next(now time.Time) (wait time.Duration, mend bool) {
	if p.left {
		return 0, false
	}
	if p.mended.IsZero() || now.Sub(p.mended) > fightWithin+p.wait() {
		p.row = 0
	}
	if p.row >= mostMends {
		return 0, false
	}
	wait = p.wait()
	p.row++
	return wait, true
}

// wait doubles with each mend of a row but the first.
func (p *patience) wait() time.Duration {
	if p.row == 0 {
		return 0
	}
	return min(firstWait<<(p.row-1), longestWait)
}

// giveUp leaves it alone from now on. It tells whether that is new.
func (p *patience) giveUp() (first bool) {
	first = !p.left
	p.left = true
	return first
}

// peace notes that everything is as wanted: what was given up is mended again from now on.
func (p *patience) peace() {
	if p.left {
		*p = patience{}
	}
}

// done notes a mend, or a try that failed.
func (p *patience) done(now time.Time) { p.mended = now }
