package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/keeper"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/preflight"
)

// groupsKernel is the namespace's kernel, with what only a process can hold, memberships
// of multicast groups, and with the network managers beside us.
type groupsKernel struct {
	*kernel.Kernel
	a *app
	s *session
}

func (a *app) withGroups(s *session) apply.Kernel { return groupsKernel{s.kernel, a, s} }

// Do carries an operation out.
func (k groupsKernel) Do(ctx context.Context, op model.Operation) (model.Made, error) {
	switch op := op.(type) {
	case model.JoinGroups:
		if !k.s.hasLink(op.To) {
			return nil, fmt.Errorf("%s %s: %w", op.Op(), op.To, model.ErrNotFound)
		}
		return nil, k.a.startGroup(k.s, keeper.Groups{Uplink: op.From, Link: op.To, Groups: op.Groups})
	case model.LeaveGroups:
		return nil, keeper.Folder(k.s.store.Dir).StopGroups(op.From)
	case model.TakeOver:
		return nil, k.a.takeOver(ctx, k.s, op)
	case model.LeaveAlone, model.ManageAgain:
		return nil, k.a.tellManager(ctx, k.s, op)
	case model.OpenPassage:
		if op.Passage.Zone != "" {
			return nil, k.s.managerSystem().PutIntoZone(ctx, op.Passage)
		}
	case model.ClosePassage:
		if op.Passage.Zone != "" {
			return nil, k.s.managerSystem().TakeOutOfZone(ctx, op.Passage)
		}
	}
	return k.Kernel.Do(ctx, op)
}

func (s *session) hasLink(name string) bool {
	_, err := s.kernel.Index(name)
	return err == nil
}

func (a *app) startGroup(s *session, g keeper.Groups) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return keeper.Folder(s.store.Dir).StartGroups(g, self, append(a.keeperArguments(g.Uplink), "--groups")...)
}

// startGroups starts what has died since, and forgets what has lost its bridge.
func (a *app) startGroups(s *session) error {
	folder := keeper.Folder(s.store.Dir)
	groups, err := folder.ListGroups()
	for _, g := range groups {
		switch {
		case g.Alive:
		case !s.hasLink(g.Link):
			err = errors.Join(err, folder.StopGroups(g.Uplink))
		default:
			g.PID = 0
			if e := a.startGroup(s, g); e != nil {
				err = errors.Join(err, fmt.Errorf("%s is not heard on %s: %w", listOf(g.Groups), g.Link, e))
			}
		}
	}
	return err
}

// keepGroups is the life of the process that hears an uplink's multicast groups on its
// bridge: until it is told to end, or the bridge is gone.
func (a *app) keepGroups(uplink string) error {
	ctx, stop := a.outlive("multicast groups of " + uplink)
	defer stop()
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	folder := keeper.Folder(s.store.Dir)
	g, err := folder.ReadGroups(uplink)
	if err != nil {
		return err
	}
	index, err := s.kernel.Index(g.Link)
	if err != nil {
		return err
	}
	joined, err := s.kernel.JoinGroups(g.Link, g.Groups)
	if err != nil {
		return err
	}
	defer joined.Close()
	if err := folder.HoldGroups(g); errors.Is(err, fs.ErrNotExist) {
		return nil // taken back meanwhile
	} else if err != nil {
		return err
	}
	go endWith(ctx, s.anchor(), stop)
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now, err := s.kernel.Index(g.Link); err != nil || now != index {
			return nil // deleted by somebody, and the memberships with it
		}
	}
}

// joined are the multicast groups that programs have joined here, by link.
func (s *session) joined() (out map[string][]netip.Addr) {
	_ = s.kernel.Inside(func() error { // what cannot be read is nothing that could be seen to
		out = preflight.Joined(preflight.System{Root: os.DirFS("/")}.Memberships())
		return nil
	})
	return out
}

func listOf(groups []netip.Addr) string {
	words := make([]string, len(groups))
	for i, g := range groups {
		words[i] = g.String()
	}
	return strings.Join(words, ", ")
}

func groupsWords(g keeper.Groups) string {
	if !g.Alive {
		return fmt.Sprintf("multicast %s of %s, nobody hears it: run drawbridge up", listOf(g.Groups), g.Uplink)
	}
	return fmt.Sprintf("multicast %s of %s, heard by process %d", listOf(g.Groups), g.Uplink, g.PID)
}
