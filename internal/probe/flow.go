package probe

import (
	"context"
	"fmt"
	"time"

	"drawbridge/internal/model"
)

// How connections are watched. A segment that was lost in the change is sent again after
// at least 200 ms (TCP_RTO_MIN, include/net/tcp.h), then after 400 and 800.
const (
	flowTime  = 4 * time.Second
	flowEvery = 100 * time.Millisecond
	// suspicious retransmissions in a row without an acknowledgement: one is the price of
	// one lost segment, and says nothing.
	suspicious = 2
)

// chooseFlows notes the established connections by the host's addresses that move.
func (s *Set) chooseFlows(ctx context.Context, ns *model.Namespace) error {
	s.flows = nil
	if s.Sockets == nil || len(s.Moves) == 0 {
		return nil
	}
	sockets, err := s.Sockets(ctx)
	if err != nil {
		return err
	}
	for _, f := range sockets {
		if f.TCP == nil || !s.moving(f, ns) {
			continue
		}
		if f.TCP.Retransmits > 0 {
			s.report(Result{flowName(f), NotRequired, "failed before the change: " + unacknowledged(f)})
			continue
		}
		s.flows = append(s.flows, f)
	}
	return nil
}

// moving tells whether a connection's own address moves. One that is bound to the link
// cannot follow: that is told beforehand, and not asked for afterwards.
func (s *Set) moving(f model.Socket, ns *model.Namespace) bool {
	for _, m := range s.Moves {
		if !m.Host || f.Bound != "" {
			continue
		}
		for _, a := range ns.AddressesOf(m.From) {
			if a.Prefix.Addr() == f.Local.Addr() {
				return true
			}
		}
	}
	return false
}

// judgeFlows watches the connections that were chosen until each has shown that it gets
// through, or that there is nothing to see, or the time is over.
func (s *Set) judgeFlows(ctx context.Context) ([]Result, error) {
	if len(s.flows) == 0 {
		return nil, nil
	}
	var mark map[uint64]model.Socket
	for end := time.Now().Add(flowTime); ; sleep(ctx, flowEvery) {
		sockets, err := s.Sockets(ctx)
		if err != nil {
			return nil, err
		}
		now := byCookie(sockets)
		if mark == nil {
			mark = now // what is idle now may have something to say a moment later
			continue
		}
		over := !time.Now().Before(end) || ctx.Err() != nil
		results, waiting := make([]Result, 0, len(s.flows)), 0
		for _, before := range s.flows {
			r, done := judgeFlow(before, mark, now, over)
			results = append(results, r)
			if !done {
				waiting++
			}
		}
		if waiting == 0 {
			return s.weigh(results), nil
		}
	}
}

func byCookie(sockets []model.Socket) map[uint64]model.Socket {
	out := map[uint64]model.Socket{}
	for _, f := range sockets {
		out[f.Cookie] = f
	}
	return out
}

// judgeFlow compares a connection with what it was before the change, and when it was
// first looked at after it. done is false where more time may tell more.
func judgeFlow(before model.Socket, mark, now map[uint64]model.Socket, over bool) (r Result, done bool) {
	r.Probe = flowName(before)
	f, here := now[before.Cookie]
	first, was := mark[before.Cookie]
	switch {
	case !here || !was || f.TCP == nil || first.TCP == nil:
		r.Verdict, r.Saw = NotJudged, "closed meanwhile"
	case f.TCP.Acknowledged > first.TCP.Acknowledged, f.TCP.Received > first.TCP.Received:
		r.Verdict = Passed
	case f.Queued == 0:
		r.Verdict, r.Saw = NotJudged, "idle"
	case f.TCP.Unacknowledged == 0: // the peer's window is shut, or the own stack refuses
		r.Verdict, r.Saw = NotJudged, fmt.Sprintf("%d bytes wait, none is on its way", f.Queued)
	case !over:
		return r, false
	case f.TCP.Retransmits >= suspicious && f.TCP.TotalRetransmits > before.TCP.TotalRetransmits:
		r.Verdict, r.Saw = Failed, unacknowledged(f)
	default:
		r.Verdict, r.Saw = NotJudged, "too slow to tell: "+unacknowledged(f)
	}
	return r, true
}

// weigh forgives a few of many: of hundreds of peers one may go away at any moment, for
// reasons of its own. A login is never forgiven.
func (s *Set) weigh(results []Result) []Result {
	judged, failed := 0, 0
	for _, r := range results {
		if r.Verdict == Failed {
			failed++
		}
		if r.Verdict != NotJudged {
			judged++
		}
	}
	if failed*10 > judged {
		return results
	}
	for i, f := range s.flows {
		if results[i].Verdict == Failed && (s.Login == nil || !s.Login(f)) {
			results[i].Verdict = NotJudged
			results[i].Saw += fmt.Sprintf("; %d others got through", judged-failed)
		}
	}
	return results
}

func flowName(f model.Socket) string { return "TCP " + f.Flow() }

func unacknowledged(f model.Socket) string {
	return fmt.Sprintf("%d bytes unacknowledged after %d retransmissions", f.Queued, f.TCP.Retransmits)
}
