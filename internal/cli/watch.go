package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/child"
	"drawbridge/internal/draw"
	"drawbridge/internal/draw/story"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/spec"

	"github.com/spf13/cobra"
)

// watchOptions are the flags of watch.
type watchOptions struct {
	file          string
	uplink        string
	json, changes bool
	draw          bool
}

// The watcher's rhythm.
const (
	// lookEvery is how often it looks without a ring: not all that drifts rings (rules of the
	// old iptables, settings other than those for forwarding).
	lookEvery = 10 * time.Second
	// lookPause is the least time between two looks: neighbours come and go all the time.
	lookPause = 200 * time.Millisecond
	// busyPause is how long it waits for another drawbridge that is at work.
	busyPause = 300 * time.Millisecond
	// guardTime is within what a guard has brought back a change that was interrupted.
	guardTime = 10 * time.Second
)

func newWatchCommand(a *app) *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "watch [FILE]",
		Short: "Tell when this host is no longer as the file wants it, and mend it where the file says so",
		Long: `Watch this host, and tell in one line what somebody else changes of what the file wants:
a port taken out of its bridge, an address deleted, a tap that is gone, a rule of ours
altered; and who it was, as far as the kernel tells. A change is noticed by the kernel's
own events, then everything is read again and planned anew, as 'drawbridge plan' does.

With 'heal: true' in the file it is mended, by the same transaction as 'up': checked
before, undone when it fails. Who undoes a mend at once is not fought: each next mend
waits twice as long, and after 6 in a row it is left alone, and told, until somebody else
has brought it back.

It runs until it is ended. What 'drawbridge up' and 'down' do meanwhile is no drift.

Exit codes: 0 ended by Ctrl-C or a signal; 1 it cannot watch here; 2 bad usage or a bad
file.`,
		Example: `  drawbridge watch
  drawbridge watch lab.yaml --changes       # all that differs, not only the first of it
  drawbridge watch --draw                   # with a picture of what differs
  drawbridge watch --json | jq -r .event    # drift, mended, failed, left, as-wanted, trouble`,
		Args: fileArgument(&o.file),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.watchDrift(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.uplink, "uplink", "", "use the interface `IF` as the uplink of every bridged network")
	cmd.Flags().BoolVar(&o.json, "json", false, "tell each event as a JSON object in a line")
	cmd.Flags().BoolVar(&o.changes, "changes", false, "tell all that differs from what is wanted, a line each")
	cmd.Flags().BoolVar(&o.draw, "draw", false, "draw what differs from what is wanted")
	return cmd
}

// driftEvent is what a watcher tells.
type driftEvent struct {
	Time time.Time `json:"time"`
	// Event is watching, drift, mended, failed, left (given up), as-wanted, trouble (of a
	// service: no drift, and not ours to mend) or no-trouble.
	Event string `json:"event"`
	// Words are what differs from what is wanted, Steps what mends it.
	Words []string `json:"words,omitempty"`
	Steps []string `json:"steps,omitempty"`
	// By are the processes that the kernel's messages came from, by name.
	By []string `json:"by,omitempty"`
	// TookMS is from the ring to the event, in milliseconds; the kernel's messages of the
	// 100 ms before are one ring.
	TookMS int64  `json:"took_ms,omitempty"`
	Error  string `json:"error,omitempty"`
}

// drifting watches for drift.
type drifting struct {
	app      *app
	options  watchOptions
	want     spec.Desired
	session  *session
	by       func() []string
	patience map[string]*patience // by what is mended
	told     string               // the drift that was told last, "" for none
	troubles []string             // of services, as they were told last
	rang     time.Time
	// interrupted is since when a change is half done, zero for none.
	interrupted time.Time
	who         []string
}

func (a *app) watchDrift(ctx context.Context, o watchOptions) error {
	want, err := a.readFile(o.file, o.uplink)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if want.Heal {
		if err := s.kernel.CheckRights(); err != nil {
			return fmt.Errorf("heal: true: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rings, by, err := s.kernel.WatchBy(ctx)
	if err != nil {
		return err
	}
	ends, err := child.Watch(ctx, s.childFolders()...)
	if err != nil { // its user has too many of them
		fmt.Fprintf(a.err, "note: %v: machines and servers are looked at every %s\n", err, lookEvery)
	}
	w := &drifting{app: a, options: o, want: want, session: s, by: by, patience: map[string]*patience{}}
	w.tell(driftEvent{Event: "watching"})
	return w.run(ctx, rings, ends)
}

// run looks whenever the kernel rings, or a process of ours (ends) has come or gone.
func (w *drifting) run(ctx context.Context, rings, ends <-chan struct{}) error {
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case _, open := <-rings:
			if !open {
				return nil
			}
		case _, open := <-ends:
			if !open {
				return nil
			}
		}
		if w.rang.IsZero() {
			w.rang = time.Now()
		}
		w.note(w.by())
		var err error
		if wait, err = w.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if wait == 0 {
			w.rang, w.who, wait = time.Time{}, nil, lookEvery
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(lookPause):
			}
		}
	}
}

// note remembers who rang.
func (w *drifting) note(names []string) {
	for _, n := range names {
		if n != "drawbridge" && !slices.Contains(w.who, n) {
			w.who = append(w.who, n)
		}
	}
}

// look reads everything and plans. It returns after what time to look again at the
// latest, 0 where nothing presses.
func (w *drifting) look(ctx context.Context) (again time.Duration, err error) {
	p, words, err := w.compare(ctx)
	w.trouble(p.Before)
	var refused *plan.Refusal
	switch {
	case errors.Is(err, apply.ErrLocked):
		return busyPause, nil
	case errors.Is(err, errInterrupted):
		if w.interrupted.IsZero() {
			w.interrupted = time.Now()
		}
		if time.Since(w.interrupted) > guardTime {
			w.drift(driftEvent{Words: []string{"A change was interrupted, and could not be undone: drawbridge recover."}}, "interrupted", nil)
		}
		return busyPause, nil
	case errors.As(err, &refused), isExit(err):
		w.drift(driftEvent{Words: []string{strings.Join(strings.Fields(err.Error()), " ")}}, "refused "+err.Error(), nil)
		return 0, nil
	case err != nil:
		return 0, err
	case len(p.Steps) == 0:
		if w.told != "" {
			w.tell(driftEvent{Event: "as-wanted"})
		}
		w.told = ""
		for _, p := range w.patience {
			p.peace()
		}
		return 0, nil
	}
	var steps []string
	for _, st := range p.Steps {
		steps = append(steps, st.Title)
	}
	w.drift(driftEvent{Words: words, Steps: steps}, strings.Join(steps, "\n"), &p)
	if !w.want.Heal {
		return 0, nil
	}
	return w.mend(ctx, steps, subject(p))
}

// holders are the managers that have what a plan must take from them: a link's own
// messages do not tell who asked for them.
func holders(p plan.Plan) []string {
	var out []string
	for _, st := range p.Steps {
		op, plug := st.Do.(model.SetMaster)
		if !plug {
			continue
		}
		l := p.Before.Here().Link(op.Link)
		if l == nil {
			continue
		}
		for _, m := range l.Managers {
			if m.Acts && !m.Told && !slices.Contains(out, m.Name) {
				out = append(out, m.Name)
			}
		}
	}
	return out
}

// subject is what a plan mends: the links that it plugs in again, else whatever it
// touches. Somebody who takes one back does not always leave it in the same state.
func subject(p plan.Plan) string {
	var plugged, all []string
	for _, st := range p.Steps {
		all = append(all, st.Do.Object())
		if op, plug := st.Do.(model.SetMaster); plug {
			plugged = append(plugged, op.Link)
		}
	}
	if len(plugged) > 0 {
		all = plugged
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// trouble tells what services of ours cannot do just now, whenever that changes: a silent
// DHCP server of the LAN, an address that somebody else has. No mend of ours helps there.
func (w *drifting) trouble(now model.Snapshot) {
	if len(now.Namespaces) == 0 {
		return // nothing was read
	}
	var words []string
	for _, s := range now.Services {
		for _, t := range s.Troubles {
			words = append(words, fmt.Sprintf("network %s: %s", s.Network, t))
		}
	}
	if slices.Equal(words, w.troubles) {
		return
	}
	w.troubles = words
	if len(words) == 0 {
		w.tell(driftEvent{Event: "no-trouble"})
		return
	}
	w.tell(driftEvent{Event: "trouble", Words: words})
}

// errInterrupted: a change is half done. A guard is about to bring it back, or could not.
var errInterrupted = errors.New("a change was interrupted")

// compare plans from what is to what is wanted, while nobody else is at work here.
func (w *drifting) compare(ctx context.Context) (plan.Plan, []string, error) {
	s := w.session
	if err := s.store.Lock(); err != nil {
		return plan.Plan{}, nil, err
	}
	defer s.store.Unlock()
	if interrupted, err := s.store.Interrupted(); err != nil || interrupted {
		if _, waits := s.store.Answer("left"); waits == nil {
			return plan.Plan{}, nil, apply.ErrLocked // for somebody to confirm it
		}
		return plan.Plan{}, nil, errors.Join(err, errInterrupted)
	}
	w.interrupted = time.Time{}
	p, err := s.plan(ctx, w.want, looks{unasked: true})
	if err != nil || len(p.Steps) == 0 {
		return p, nil, err
	}
	after, err := p.After()
	if err != nil {
		return p, nil, err
	}
	return p, story.Changes(after, p.Before), nil
}

// drift tells of one that was not told yet.
func (w *drifting) drift(e driftEvent, key string, p *plan.Plan) {
	if w.told == key {
		return
	}
	w.told = key
	if p != nil && len(w.who) == 0 {
		w.who = holders(*p)
	}
	e.Event, e.By = "drift", w.who
	w.tell(e)
	if p != nil && w.options.draw {
		if err := w.picture(*p); err != nil {
			fmt.Fprintln(w.app.err, "drawbridge:", err)
		}
	}
}

// mend brings the host back to what is wanted, unless somebody undoes that again and again.
func (w *drifting) mend(ctx context.Context, steps []string, key string) (again time.Duration, err error) {
	p := w.patience[key]
	if p == nil {
		p = &patience{}
		w.patience[key] = p
	}
	wait, may := p.next(time.Now())
	if !may {
		if p.giveUp() {
			w.tell(driftEvent{Event: "left", Steps: steps, By: w.who, Error: p.failed})
		}
		return 0, nil
	}
	select {
	case <-ctx.Done():
		return 0, nil
	case <-time.After(wait):
	}
	p.failed = ""
	var said bytes.Buffer
	quiet := *w.app
	quiet.out, quiet.err = io.Discard, &said
	err = quiet.change(ctx, w.want, upOptions{file: w.options.file, uplink: w.options.uplink, yes: true, json: true})
	p.done(time.Now())
	switch {
	case ctx.Err() != nil:
		return 0, nil //nolint:nilerr // it is ended: what became of the mend, its own undo has told
	case errors.Is(err, apply.ErrLocked):
		return busyPause, nil
	case err != nil:
		p.failed = err.Error()
		var failure *apply.Failure
		if errors.As(err, &failure) && len(failure.Left) > 0 {
			// Somebody was at work all the while. The next mend begins with what is there now;
			// the journal of this one would only stand in its way, and in everybody's.
			_ = quiet.recover(true)
		}
		w.tell(driftEvent{Event: "failed", Steps: steps, Error: err.Error()})
		return firstWait, nil
	}
	w.told = ""
	w.tell(driftEvent{Event: "mended", Steps: steps})
	return 0, nil
}

// isExit tells whether an error is one that a plan ends with: the host is not ready for it.
func isExit(err error) bool {
	var e *exitError
	return errors.As(err, &e)
}

func (w *drifting) tell(e driftEvent) {
	e.Time = time.Now()
	if !w.rang.IsZero() {
		e.TookMS = e.Time.Sub(w.rang).Milliseconds()
	}
	if w.options.json {
		e.Time = e.Time.UTC()
		_ = json.NewEncoder(w.app.out).Encode(e) // who has gone away is told nothing
		return
	}
	fmt.Fprintln(w.app.out, e.Time.Format(time.TimeOnly), e.line())
	if w.options.changes {
		for _, word := range e.Words {
			fmt.Fprintln(w.app.out, "        ", draw.Clean(word))
		}
	}
}

// line is the event in words.
func (e driftEvent) line() string {
	by := ""
	if len(e.By) > 0 {
		by = " (by " + draw.Clean(strings.Join(e.By, ", ")) + ")"
	}
	switch e.Event {
	case "watching":
		return "watching"
	case "drift":
		words := e.Words
		if len(words) == 0 {
			words = []string{"Not as wanted; this mends it: " + strings.Join(e.Steps, "; ") + "."}
		}
		more := ""
		if n := len(words) - 1; n > 0 {
			more = fmt.Sprintf(" And %d more.", n)
		}
		return "drift: " + draw.Clean(words[0]) + more + by
	case "trouble":
		more := ""
		if n := len(e.Words) - 1; n > 0 {
			more = fmt.Sprintf(". And %d more.", n)
		}
		return "trouble: " + draw.Clean(e.Words[0]) + more
	case "no-trouble":
		return "no trouble any more"
	case "mended":
		return fmt.Sprintf("mended in %d ms: %s", e.TookMS, strings.Join(e.Steps, "; "))
	case "failed":
		return "not mended: " + strings.Join(strings.Fields(e.Error), " ")
	case "left":
		if e.Error != "" {
			return fmt.Sprintf("left alone: it could not be mended, the last of %d times for this: %s", mostMends, strings.Join(strings.Fields(e.Error), " "))
		}
		return fmt.Sprintf("left alone: it was mended %d times in a row, and undone each time%s; 'drawbridge up' mends it", mostMends, by)
	default:
		return "as wanted again"
	}
}

// picture draws what is, with the changes from what is wanted.
func (w *drifting) picture(p plan.Plan) error {
	after, err := p.After()
	if err != nil {
		return err
	}
	f, err := findFormat("terminal", "")
	if err != nil {
		return err
	}
	data, err := f.render(picture{snap: p.Before, frame: comparing(&after, p.Before), width: 80, colour: wantsColour(w.app.out)})
	if err != nil {
		return err
	}
	_, err = w.app.out.Write(data)
	return err
}
