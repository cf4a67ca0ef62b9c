package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Watch looks after the taps that were given away until ctx ends: whenever the bell
// rings, and each second where a tap's life is a process's.
func (s *Server) Watch(ctx context.Context, bell <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-bell:
			if !ok {
				bell = nil // the second hand is left
			}
		case <-tick.C:
		}
		if err := s.look(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errBusy) {
			s.Log("looking after the taps: %v", oneLine(err))
		}
	}
}

// errBusy says that somebody else is at work here; the next look comes soon.
var errBusy = errors.New("busy")

func (s *Server) look(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	due, err := Left(ctx, s.Host, s.State)
	if err != nil || len(due) == 0 {
		return err
	}
	end, err := s.State.Begin(ctx)
	if err != nil {
		return errors.Join(errBusy, err)
	}
	defer end()
	_, err = s.reap(ctx)
	return err
}

func (s *Server) reap(ctx context.Context) (plan.Owned, error) {
	told, owned, err := Reap(ctx, s.Host, s.State)
	for _, line := range told {
		s.Log("%s", line)
	}
	return owned, err
}

// end is a tap of the broker's whose time is over.
type end struct {
	tap plan.OwnedLink
	why string
	// there: the tap has outlived its holder, and is to be deleted.
	there bool
}

func (e end) String() string {
	what := fmt.Sprintf("%s of %s", e.tap.Name, e.tap.Added.Holder.Who())
	if e.there {
		return fmt.Sprintf("%s: %s: deleted", what, e.why)
	}
	return fmt.Sprintf("%s: %s", what, e.why)
}

// Left tells which of the broker's taps are over, without touching anything.
func Left(ctx context.Context, host Host, state State) ([]string, error) {
	owned, err := state.Owned()
	if err != nil || len(owned.Brokered()) == 0 {
		return nil, err
	}
	here, err := host.ObserveLinks(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range ends(owned, &here, processLives) {
		out = append(out, fmt.Sprintf("%s of %s: %s", e.tap.Name, e.tap.Added.Holder.Who(), e.why))
	}
	return out, nil
}

// Reap forgets the taps that ended with their holders, and deletes those that outlived
// them. It returns what it did, in words, and what is owned then. Between Begin and its end.
func Reap(ctx context.Context, host Host, state State) (told []string, owned plan.Owned, err error) {
	owned, err = state.Owned()
	if err != nil || len(owned.Brokered()) == 0 {
		return nil, owned, err
	}
	here, err := host.ObserveLinks(ctx)
	if err != nil {
		return nil, owned, err
	}
	over := ends(owned, &here, processLives)
	if len(over) == 0 {
		return nil, owned, nil
	}
	for _, e := range over {
		if e.there {
			// A descriptor that is still open somewhere leads to nothing then.
			if _, err := host.Do(ctx, model.DeleteLink{Name: e.tap.Name, Index: e.tap.Index, Kind: model.TapKind}); err != nil && !errors.Is(err, model.ErrNotFound) && !errors.Is(err, model.ErrNotOurs) {
				return told, owned, err
			}
		}
		owned = owned.Without(e.tap.Name)
		told = append(told, e.String())
	}
	return told, owned, state.SaveOwned(owned)
}

// ends lists the taps whose time is over, and why.
func ends(owned plan.Owned, here *model.Namespace, lives func(*plan.TapHolder) bool) []end {
	var out []end
	for _, t := range owned.Brokered() {
		l, h := here.Link(t.Name), t.Added.Holder
		switch {
		case l == nil || t.Index != 0 && l.Index != t.Index:
			out = append(out, end{t, "given back", false})
		case l.Tap == nil:
			out = append(out, end{t, "is something else now", false})
		case h.Named && !lives(h):
			out = append(out, end{t, fmt.Sprintf("its process %d has ended", h.PID), true})
		case !h.Named && l.Tap.Persistent:
			// Anybody who has the descriptor may do that; the tap would never end.
			out = append(out, end{t, "its holder made it persistent", true})
		case t.Added.PortMAC != "" && l.MAC != t.Added.PortMAC:
			// With the gateway's address the bridge would keep the gateway's frames to itself.
			out = append(out, end{t, fmt.Sprintf("its holder gave it the MAC address %s", l.MAC), true})
		}
	}
	return out
}

// oneLine is an error as a line of the log: without its hint, which is for who asked.
func oneLine(err error) string {
	words, _, _ := strings.Cut(err.Error(), "\n  hint:")
	return strings.ReplaceAll(words, "\n", "; ")
}
