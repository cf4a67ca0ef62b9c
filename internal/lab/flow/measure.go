package flow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// probeSize is a probe's payload in bytes: its number, and padding to that of a ping.
const probeSize = 56

// greeting is the number of probes that are not counted.
const greeting = ^uint64(0)

type probe struct{ seq uint64 }

func (p probe) bytes() []byte {
	b := make([]byte, probeSize)
	binary.BigEndian.PutUint64(b, p.seq)
	return b
}

// stream sends at the rate whether or not answers come, and matches those that do.
func stream(ctx context.Context, conn net.Conn, r *Result) {
	start := time.Now()
	answers := make(chan []answer, 1)
	go func() { answers <- collect(conn, start) }()
	sent := pace(ctx, start, func(seq uint64) error {
		_, err := conn.Write(probe{seq}.bytes())
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // refused, or no route just now: a probe that is lost
	})
	time.Sleep(stragglers)
	_ = conn.SetReadDeadline(time.Now()) // ends collect
	r.fill(sent, <-answers, lastOf(sent))
}

// pingPong sends the next probe when the last one was answered, at most at the rate.
// TCP repeats what is lost: it shows as a stall.
func pingPong(ctx context.Context, conn net.Conn, r *Result) error {
	start := time.Now()
	var answers []answer
	var broken error
	buf := make([]byte, probeSize)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now().Add(stragglers)) })
	defer stop()
	sent := pace(ctx, start, func(seq uint64) error {
		if _, broken = conn.Write(probe{seq}.bytes()); broken != nil {
			return broken
		}
		for {
			if _, broken = io.ReadFull(conn, buf); broken != nil {
				return broken
			}
			// An answer to a greeting that came late is not this probe's.
			if got := binary.BigEndian.Uint64(buf); got == seq {
				break
			}
		}
		answers = append(answers, answer{seq, time.Since(start)})
		return nil
	})
	r.fill(sent, answers, time.Since(start))
	if broken != nil {
		return fmt.Errorf("the connection broke: %w", broken)
	}
	return nil
}

// pace calls send at the rate until ctx ends or send fails, and returns when each was
// sent. It has a thread of its own that sleeps to absolute times: the runtime's timers
// round to milliseconds (netpoll_epoll.go). What was missed is not made up for.
func pace(ctx context.Context, start time.Time, send func(seq uint64) error) (sent []time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	next := now.Nano()
	for seq := uint64(0); ctx.Err() == nil; seq++ {
		sent = append(sent, time.Since(start))
		if send(seq) != nil {
			return sent
		}
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
		next = max(next+int64(interval), now.Nano())
		until := unix.NsecToTimespec(next)
		for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &until, nil) == unix.EINTR {
			continue
		}
	}
	return sent
}

// answer is when a probe's answer came, since the start.
type answer struct {
	seq uint64
	at  time.Duration
}

func collect(conn net.Conn, start time.Time) (answers []answer) {
	buf := make([]byte, 2*probeSize)
	for {
		n, err := conn.Read(buf)
		at := time.Since(start)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, net.ErrClosed):
			return answers
		case err != nil || n < probeSize:
			continue // an ICMP error: the probe counts as lost
		}
		if seq := binary.BigEndian.Uint64(buf); seq != greeting {
			answers = append(answers, answer{seq, at})
		}
	}
}

// fill reckons the result. sent holds when each probe was sent, by its number;
// answers are in the order of their coming; end is when the flow was over.
func (r *Result) fill(sent []time.Duration, answers []answer, end time.Duration) {
	r.Sent = len(sent)
	if len(sent) == 0 {
		return
	}
	r.Seconds = ms(end) / 1000
	answered := make([]bool, len(sent))
	var rtts []time.Duration
	count := 0
	last, longest, at := time.Duration(0), time.Duration(0), time.Duration(0)
	gap := func(until time.Duration) {
		if until-last > longest {
			longest, at = until-last, last
		}
	}
	for _, a := range answers {
		if a.seq >= uint64(len(sent)) || answered[a.seq] {
			continue // a duplicate, or not ours
		}
		answered[a.seq] = true
		count++
		rtts = append(rtts, a.at-sent[a.seq])
		gap(a.at)
		last = max(last, a.at)
	}
	gap(end) // a flow that never came back is silent until the end
	r.Lost = r.Sent - count
	r.LongestGapMS, r.GapAtMS = ms(longest), ms(at)
	var pause time.Duration
	for i := 1; i < len(sent); i++ {
		pause = max(pause, sent[i]-sent[i-1])
	}
	// With TCP the sender waits for the network: its pause is no excuse.
	if r.Network != "tcp" {
		r.SenderPauseMS = ms(pause)
	}
	if len(rtts) > 0 {
		slices.Sort(rtts)
		r.MedianRTTMS = ms(rtts[len(rtts)/2])
	}
}

func lastOf(sent []time.Duration) time.Duration {
	if len(sent) == 0 {
		return 0
	}
	return sent[len(sent)-1]
}

// ms is a duration in milliseconds with two places.
func ms(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond).Microseconds()) / 1000
}
