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
	owned, err := s.State.Owned()
	if err != nil || len(owned.Brokered()) == 0 {
		return err
	}
	here, err := s.Host.ObserveLinks(ctx)
	if err != nil {
		return err
	}
	if len(ends(owned, &here, processLives))+len(heard(owned, &here)) == 0 {
		return nil
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
	for _, e := range over {
		if err := e.carryOut(ctx, host, owned.Secures(e.tap.Name)); err != nil {
			return told, owned, err
		}
		owned = owned.Without(e.tap.Name)
		told = append(told, e.String())
	}
	first := heard(owned, &here)
	for _, p := range first {
		if _, err := host.Do(ctx, model.SecurePorts{Ports: []model.PortSecurity{p}}); err != nil {
			return told, owned, err
		}
		owned = owned.Securing(p).Amended(p.Link, func(a *plan.AddedTap) { a.MAC, a.Secure = p.MACs[0], nil })
		told = append(told, fmt.Sprintf("%s: its VM has the MAC address %s: secured", p.Link, p.MACs[0]))
	}
	if len(over)+len(first) == 0 {
		return nil, owned, nil
	}
	return told, owned, state.SaveOwned(owned)
}

// carryOut takes away what is left of a tap. A descriptor that is still open somewhere
// leads to nothing then.
func (e end) carryOut(ctx context.Context, host Host, secured bool) error {
	var op model.Operation
	switch {
	case e.there:
		op = model.DeleteLink{Name: e.tap.Name, Index: e.tap.Index, Kind: model.TapKind}
	case secured: // a kernel may keep the rules for whatever gets the name next
		op = model.FreePorts{Links: []string{e.tap.Name}}
	default:
		return nil
	}
	_, err := host.Do(ctx, op)
	if errors.Is(err, model.ErrNotFound) || errors.Is(err, model.ErrNotOurs) {
		return nil
	}
	return err
}

// heard lists the ports that are to be secured once the VM's MAC address is known, and
// behind which the bridge has heard one: a bridge helper is not told which it is. The
// first one that the VM sends from is its own.
func heard(owned plan.Owned, here *model.Namespace) []model.PortSecurity {
	var out []model.PortSecurity
	for _, t := range owned.Brokered() {
		if t.Added.Secure == nil {
			continue
		}
		for _, e := range here.FDB {
			if e.Link == t.Name && e.Master != "" && e.State == "" && e.MAC.Unicast() {
				p := *t.Added.Secure
				p.Link, p.MACs = t.Name, []model.MAC{e.MAC}
				out = append(out, p)
				break
			}
		}
	}
	return out
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
