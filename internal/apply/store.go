package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"drawbridge/internal/plan"
)

// Store is the folder in which a namespace's journal and ownership are kept. It is
// kernel state's companion: below /run, gone after a reboot like the state itself.
type Store struct {
	Dir string
	Identity
	lock *os.File
}

// ErrLocked says that another process is at work in this namespace.
var ErrLocked = errors.New("another drawbridge is at work here")

// Lock keeps every other process from changing this namespace until Unlock. It fails
// with [ErrLocked], and says who holds it.
func (s *Store) Lock() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := lockSoon(f); err != nil {
		holder, _ := os.ReadFile(f.Name())
		f.Close()
		return fmt.Errorf("%w (process %s)", ErrLocked, strings.TrimSpace(string(holder)))
	}
	s.lock = f
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid()) // for the words of the next one only
	}
	return nil
}

// lockSoon has patience with a guard that is about to end, and with a keeper that is
// noting a renewal.
func lockSoon(f *os.File) (err error) {
	for range 50 {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// Unlock lets the next one work.
func (s *Store) Unlock() {
	if s.lock != nil {
		s.lock.Close()
		s.lock = nil
	}
}

func (s *Store) journalPath() string { return filepath.Join(s.Dir, "journal") }
func (s *Store) ownedPath() string   { return filepath.Join(s.Dir, "owned.json") }

func (s *Store) newJournal(p plan.Plan) (*Journal, error) {
	owned, err := s.Owned()
	if err != nil {
		return nil, err
	}
	return createJournal(s.journalPath(), s.Identity, p, owned)
}

func (s *Store) openJournal() (*Journal, error) {
	return openJournal(s.journalPath(), s.Identity)
}

func (s *Store) dropJournal() error { return os.Remove(s.journalPath()) }

// Interrupted tells whether a crash left an open journal of this kernel and namespace.
func (s *Store) Interrupted() bool {
	j, err := s.openJournal()
	if err != nil {
		return false
	}
	j.f.Close()
	return !j.commit
}

type ownedFile struct {
	Version int `json:"version"`
	Identity
	Owned plan.Owned `json:"owned"`
}

// Owned is what earlier runs own; nothing after a reboot or in a new namespace.
func (s *Store) Owned() (plan.Owned, error) {
	data, err := os.ReadFile(s.ownedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return plan.Owned{}, nil
	}
	if err != nil {
		return plan.Owned{}, fmt.Errorf("what is owned: %w", err)
	}
	var f ownedFile
	if err := json.Unmarshal(data, &f); err != nil {
		return plan.Owned{}, fmt.Errorf("what is owned: %s: %w", s.ownedPath(), err)
	}
	if f.Version != journalVersion || f.Identity != s.Identity {
		return plan.Owned{}, nil
	}
	return f.Owned, nil
}

// SaveOwned replaces what is owned. Under the lock.
func (s *Store) SaveOwned(o plan.Owned) error {
	if o.Empty() {
		err := os.Remove(s.ownedPath())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	data, err := json.MarshalIndent(ownedFile{journalVersion, s.Identity, o}, "", "  ")
	if err != nil {
		return fmt.Errorf("what is owned: %w", err)
	}
	return writeFile(s.ownedPath(), data)
}

// writeFile replaces a file as a whole and makes it durable.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(tmp)
		return err
	}
	return errors.Join(os.Rename(tmp, path), syncDir(filepath.Dir(path)))
}
