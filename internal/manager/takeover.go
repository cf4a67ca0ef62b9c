package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/model"
)

// Hands do what this package does not: everything that changes more than files in /run.
type Hands struct {
	// Show has the kernel tell of a link once more, that has not changed.
	Show func(link string) error
	// Rewrite gives files of ours other contents, by their absolute paths.
	Rewrite func(contents map[string]string) error
	// Shield keeps a process from writing a sysctl, below /proc/sys/net, until restore is
	// called.
	Shield func(pid int, setting string) (restore func() error, err error)
	// Run runs a manager's own command.
	Run func(ctx context.Context, args ...string) error
}

// Refused is that a manager has not taken links over.
type Refused struct {
	Manager, Reason string
}

func (e *Refused) Error() string {
	return fmt.Sprintf("%s has not taken it over: %s", e.Manager, e.Reason)
}

const (
	// takeOverTime bounds all that a manager does to take links over: a DHCP client asks
	// within it for the lease that it gets again.
	takeOverTime = 20 * time.Second
	// lookAgain is the pause between two questions.
	lookAgain = 50 * time.Millisecond
)

// TakeOver carries out a [model.TakeOver]: the manager reads the files of ours that are
// below root, and finds all as they say. An error is that it has not, or not wholly: the
// operation's inverse has it let go again.
func TakeOver(ctx context.Context, s System, root string, op model.TakeOver, h Hands) error {
	ctx, cancel := context.WithTimeout(ctx, takeOverTime)
	defer cancel()
	var err error
	switch op.Manager {
	case Networkd:
		err = s.networkdTakes(ctx, root, op, h)
	case NetworkManager:
		err = s.networkManagerTakes(ctx, root, op, h)
	case Ifupdown:
		err = s.ifupdownNotes(root, op.Links())
	default:
		return fmt.Errorf("%s: %w: it takes nothing over", op.Manager, model.ErrInvalid)
	}
	var refused *Refused
	switch {
	case err == nil || errors.As(err, &refused):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return &Refused{op.Manager, fmt.Sprintf("no answer within %v", takeOverTime)}
	default:
		return &Refused{op.Manager, err.Error()}
	}
}

// connect is a bus with the manager on it.
func (s System) connect(ctx context.Context, name string) (*bus, error) {
	b, err := s.bus(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.await(name); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// drop takes links out of the file that tells a manager to leave them alone.
func drop(root, name string, links []string) error {
	_, err := rewrite(filepath.Join(root, model.BesideFile(name)), name, func(have []string) []string {
		return slices.DeleteFunc(have, func(l string) bool { return slices.Contains(links, l) })
	})
	return err
}

// ours are the files of ours in folders, by name: those that match a pattern in which the
// link's name stands.
func (s System) ours(link string, dirs []string, patterns ...string) (out []string) {
	for _, dir := range dirs {
		for _, name := range s.list(dir) {
			if slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(strings.ReplaceAll(p, "LINK", link), name); return ok }) {
				out = append(out, path.Join(dir, name))
			}
		}
	}
	return out
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
