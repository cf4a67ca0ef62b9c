package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
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

// tellManager carries out what a manager is told. One that does not answer has it in its
// file, and reads that when it starts anew: it is told of, and stops nothing.
func (a *app) tellManager(ctx context.Context, s *session, op model.Operation) error {
	err := manager.Tell(ctx, s.managerSystem(), "/", op)
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
	return err
}
