package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"drawbridge/internal/model"
)

// Verdict is what became of a probe.
type Verdict string

// The verdicts.
const (
	Passed      Verdict = "passed"
	Failed      Verdict = "failed"
	NotRequired Verdict = "not required" // it failed before the change already
	NotJudged   Verdict = "not judged"   // nothing was to be seen: an idle connection
)

// Result is a probe with its verdict.
type Result struct {
	Probe   string  `json:"probe"` // "gateway 198.18.0.1"
	Verdict Verdict `json:"verdict"`
	// Saw is what was seen, "" for a probe that passed.
	Saw string `json:"saw,omitempty"`
}

// How long things may take. A bridge's port forwards within milliseconds and duplicate
// address detection is over within two seconds; what does not answer in judgeTime does
// not answer.
const (
	chooseTime = 3 * time.Second
	judgeTime  = 6 * time.Second
	pause      = 250 * time.Millisecond
)

// Set is the probes of one change: those that answer beforehand are required afterwards.
// The fields are set before Choose, and not changed after.
type Set struct {
	// Moves are the changes of the host's own way to a LAN. Gateways, name servers and
	// connections that the host reaches by Move.From are asked where Move.Host is set.
	Moves []model.Move
	// Inside runs a function on a thread inside the namespace; nil: here.
	Inside func(func() error) error
	// Sockets lists the sockets of the namespace; nil: connections are not judged.
	Sockets func(context.Context) ([]model.Socket, error)
	// Login tells the connections that each must survive; nil: none is one.
	Login func(model.Socket) bool
	// Servers are the name servers, as resolv.conf has them.
	Servers []netip.Addr
	// Own are the user's own probes.
	Own []Own
	// Report is told every result that is known; may be nil.
	Report func(Result)

	chosen []question
	flows  []model.Socket
}

// question is something that has an answer while the host can be reached.
type question interface {
	name() string
	// patience is how long one ask may take.
	patience() time.Duration
	ask(ctx context.Context, ns *model.Namespace) error
}

// Choose asks every question once. Those without an answer are reported, and not
// required afterwards.
func (s *Set) Choose(ctx context.Context, before model.Snapshot) error {
	questions := s.questions(before.Here())
	errs := make([]error, len(questions))
	var all sync.WaitGroup
	for i, q := range questions {
		all.Go(func() { errs[i] = s.ask(ctx, q, before.Here()) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	s.chosen = nil
	for i, q := range questions {
		if errs[i] == nil {
			s.chosen = append(s.chosen, q)
		} else {
			s.report(Result{q.name(), NotRequired, "failed before the change: " + errs[i].Error()})
		}
	}
	return s.chooseFlows(ctx, before.Here())
}

// ask asks one question inside the namespace.
func (s *Set) ask(ctx context.Context, q question, ns *model.Namespace) error {
	ctx, cancel := context.WithTimeout(ctx, q.patience())
	defer cancel()
	return q.ask(ctx, ns)
}

// Judge asks what was chosen until it answers, for some seconds. The error names every
// probe that failed, with what was seen.
func (s *Set) Judge(ctx context.Context, after model.Snapshot) error {
	results := make([]Result, len(s.chosen))
	var all sync.WaitGroup
	for i, q := range s.chosen {
		all.Go(func() { results[i] = s.judge(ctx, q, after.Here()) })
	}
	var flows []Result
	var err error
	all.Go(func() { flows, err = s.judgeFlows(ctx) })
	all.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted while the probes were judged")
	}
	if err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	var failed []string
	for _, r := range slices.Concat(results, flows) {
		s.report(r)
		if r.Verdict == Failed {
			failed = append(failed, r.Probe+": "+r.Saw)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("a probe that passed before the change fails after it:\n    %s", strings.Join(failed, "\n    "))
	}
	return nil
}

func (s *Set) judge(ctx context.Context, q question, ns *model.Namespace) Result {
	end := time.Now().Add(max(judgeTime, q.patience()))
	for {
		err := s.ask(ctx, q, ns)
		if err == nil {
			return Result{Probe: q.name(), Verdict: Passed}
		}
		if ctx.Err() != nil || time.Now().Add(pause).After(end) {
			return Result{q.name(), Failed, err.Error()}
		}
		sleep(ctx, pause)
	}
}

// questions lists what is worth asking, each once.
func (s *Set) questions(ns *model.Namespace) []question {
	var out []question
	seen := map[string]bool{}
	add := func(q question) {
		if !seen[q.name()] {
			seen[q.name()] = true
			out = append(out, q)
		}
	}
	for _, m := range s.Moves {
		if !m.Host {
			continue // the host leaves this LAN because it was told to
		}
		for _, r := range ns.RoutesOf(m.From) {
			for _, hop := range r.NextHops {
				if hop.Link == m.From && hop.Gateway.IsValid() {
					add(gateway{s, hop.Gateway.WithZone(""), []string{m.From, m.To}})
				}
			}
		}
		for _, server := range s.Servers {
			if way, ok := ns.WayTo(server); ok && way.Link == m.From && !server.IsLoopback() {
				add(nameServer{s, server})
			}
		}
	}
	for _, own := range s.Own {
		add(ownProbe{s, own})
	}
	return out
}

func (s *Set) report(r Result) {
	if s.Report != nil {
		s.Report(r)
	}
}

// inside runs fn where sockets belong to the namespace.
func (s *Set) inside(fn func() error) error {
	if s.Inside == nil {
		return fn()
	}
	return s.Inside(fn)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
