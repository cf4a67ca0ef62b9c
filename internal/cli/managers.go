package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"drawbridge/internal/kernel"
	"drawbridge/internal/manager"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// managers finds who else sees to the links of the namespace.
func (s *session) managers(ctx context.Context, ns *model.Namespace) (manager.Found, error) {
	return s.managerSystem().Find(ctx, ns)
}

func (s *session) managerSystem() manager.System {
	return manager.System{
		Root: os.DirFS("/"), Inside: s.kernel.Inside, Named: s.named, Dial: manager.DialUnix,
		Sockets: s.kernel.Sockets, Holders: s.kernel.SocketHolders,
	}
}

// hands do for managers what they do not do themselves.
func (s *session) hands() manager.Hands {
	return manager.Hands{Show: s.kernel.Show, Rewrite: hostFiles().Rewrite, Shield: kernel.Shield, Run: s.runQuietly}
}

// tellManager carries out what a manager is told. One that does not answer has it in its
// file, and reads that when it starts anew: it is told of, and stops nothing.
func (a *app) tellManager(ctx context.Context, s *session, op model.Operation) error {
	err := manager.Tell(ctx, s.managerSystem(), "/", op, s.hands())
	var unheard *manager.Unheard
	if errors.As(err, &unheard) {
		fmt.Fprintln(a.err, "note:", err)
		return nil
	}
	return err
}

// tellManagers writes them down in what was observed.
func (s *session) tellManagers(ctx context.Context, ns *model.Namespace) error {
	found, err := s.managers(ctx, ns)
	found.Tell(ns)
	if owned, oerr := s.store.Owned(); oerr == nil {
		owned.TellBeside(ns)
	}
	return err
}

// giveBack gives managers the links back that 'down' left alone for as long as files were
// there that would have brought the network back.
func (a *app) giveBack(s *session) error {
	own, err := s.store.Owned()
	if err != nil || len(own.Beside) == 0 {
		return err
	}
	ctx := context.Background()
	now, err := s.snapshot(ctx, false)
	if err != nil {
		return err
	}
	p, err := plan.GiveBack(now, own, plan.Options{})
	if err != nil || len(p.Steps) == 0 {
		return err
	}
	return failureCode(a.transaction(s, true).Run(ctx, p))
}
