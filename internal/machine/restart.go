package machine

import (
	"errors"
	"fmt"
	"time"
)

// When a machine that ended by itself is started again: model.MachineConfig.Restart.
const (
	restartOnFailure = "on-failure"
	restartAlways    = "always"
)

// The bounds of starting again.
const (
	firstPause = time.Second
	longPause  = time.Minute
	// A machine that has lived so long has started well: what it ends of is another thing.
	steadyLife = time.Minute
	maxEnds    = 10 // in a row, each before steadyLife
)

// backoff decides whether and when a machine that has ended is started again.
type backoff struct{ ends int }

// next is how long to wait; not again where it is to stay ended.
func (b *backoff) next(policy string, end error, lived time.Duration) (wait time.Duration, again bool) {
	if policy != restartAlways && (policy != restartOnFailure || end == nil) {
		return 0, false
	}
	if lived >= steadyLife {
		b.ends = 0
	}
	b.ends++
	if b.ends >= maxEnds {
		return 0, false
	}
	return min(firstPause<<(b.ends-1), longPause), true
}

// errGaveUp ends a machine that ends again and again.
var errGaveUp = errors.New("it was not started again any more")

// live looks after the machine until it ends for good: asked to, or by itself.
func (s *shim) live() error {
	var b backoff
	began := time.Now()
	for {
		asked := s.await()
		end, err := s.over(asked)
		if asked {
			return s.finish(true, end, err)
		}
		policy := s.config.Machine.Restart
		wait, again := b.next(policy, end, time.Since(began))
		if !again {
			if b.ends >= maxEnds {
				end = errors.Join(end, fmt.Errorf("%w, after %d ends in a row", errGaveUp, b.ends))
			}
			return s.finish(false, end, err)
		}
		s.ended(end, wait)
		select {
		case <-s.stop:
			return s.finish(true, end, err)
		case <-time.After(wait):
		}
		began = time.Now()
		s.setState(stateStarting)
		if err := errors.Join(err, sweepVMM(s.dir), s.run()); err != nil {
			// One that cannot even start has ended, too: live sees it so.
			s.console.say("drawbridge: " + err.Error())
		}
	}
}

// await waits until the machine has ended, or shall; one that did not start has ended.
func (s *shim) await() (asked bool) {
	if s.vm == nil {
		select {
		case <-s.stop:
			return true
		default:
			return false
		}
	}
	select {
	case <-s.stop:
		return true
	case <-s.vm.Done():
		return false
	}
}

// over ends what is left of a run, and gives back what it had of the host.
func (s *shim) over(asked bool) (end, err error) {
	s.change.Lock() // a plug that is under way ends first
	defer s.change.Unlock()
	if s.vm == nil {
		return s.failed, nil
	}
	if asked {
		s.shutDown()
	}
	end = s.vm.Err()
	if !asked {
		s.setState(stateRestarting) // or over for good, in a moment
	}
	return end, s.release()
}

// ended notes an end after which the machine is started again.
func (s *shim) ended(end error, wait time.Duration) {
	word := fmt.Sprintf("drawbridge: %s; it is started again in %v", howEnded(end), wait)
	s.mu.Lock()
	s.restarts++
	s.lastEnd = howEnded(end)
	s.mu.Unlock()
	s.setState(stateRestarting)
	s.console.say(word)
}

// finish leaves nothing over, or word of an end that nobody asked for.
func (s *shim) finish(asked bool, end, err error) error {
	s.change.Lock()
	if asked {
		err = errors.Join(err, s.forget())
	} else {
		err = errors.Join(err, s.leaveWord(end), sweep(s.dir))
	}
	s.console.close()
	s.result = err
	_ = s.listen.Close()
	close(s.finished)
	s.change.Unlock()
	s.calls.Wait()
	return err
}
