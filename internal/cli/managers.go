package cli

import (
	"context"
	"os"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
)

// managers finds who else sees to the links of the namespace.
func (s *session) managers(ctx context.Context, ns *model.Namespace) (manager.Found, error) {
	system := manager.System{
		Root: os.DirFS("/"), Inside: s.kernel.Inside, Named: s.named, Dial: manager.DialUnix,
		Sockets: s.kernel.Sockets, Holders: s.kernel.SocketHolders,
	}
	return system.Find(ctx, ns)
}

// tellManagers writes them down in what was observed.
func (s *session) tellManagers(ctx context.Context, ns *model.Namespace) error {
	found, err := s.managers(ctx, ns)
	found.Tell(ns)
	return err
}
