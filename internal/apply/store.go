package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
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
	// Kept tells what is ours where nothing is noted of it: what files of ours made at this
	// boot. nil: nothing.
	Kept func() (plan.Owned, error)
	lock *os.File
	// disk stands between the store and its files; nil but in tests.
	disk func(file) file
}

// ErrLocked says that another process is at work in this namespace.
var ErrLocked = errors.New("another drawbridge is at work here")

// Lock keeps every other process from changing this namespace until Unlock. It fails
// with [ErrLocked], and says who holds it.
func (s *Store) Lock() error {
	for {
		f, err := s.openLock()
		if err != nil {
			return fmt.Errorf("state folder: %w", err)
		}
		if err := lockSoon(f); err != nil {
			holder, _ := os.ReadFile(f.Name())
			f.Close()
			return fmt.Errorf("%w (process %s)", ErrLocked, strings.TrimSpace(string(holder)))
		}
		if !inForce(f) { // it was swept away before it was locked
			f.Close()
			continue
		}
		s.lock = f
		if err := f.Truncate(0); err == nil {
			_, _ = fmt.Fprintln(f, os.Getpid()) // for the words of the next one only
		}
		return nil
	}
}

// openLock opens the lock's file, and makes it and its folder where they are not.
func (s *Store) openLock() (*os.File, error) {
	for {
		if err := s.makeDir(); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(s.lockPath(), os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) { // the folder was swept away in between
			continue
		}
		return f, err
	}
}

// inForce tells whether an open file is still the one under its name.
func inForce(f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(opened, named)
}

// makeDir makes the state folder. One that somebody else has made there before, as anybody
// may in /tmp, is not used.
func (s *Store) makeDir() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(s.Dir), s.Dir} {
		info, err := os.Lstat(dir)
		if err == nil && !info.IsDir() {
			err = errors.New("it is not a folder")
		}
		if err = errors.Join(err, checkOwn(info)); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
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

// Unlock lets the next one work. A folder that has nothing in it but the lock goes with it.
func (s *Store) Unlock() {
	if s.lock != nil {
		s.lock.Close()
		s.lock = nil
		s.sweep()
	}
}

// sweep removes the state folder when nothing is kept in it and nobody holds its lock, not
// even a guard that has inherited it: one that was just released has it for a moment.
func (s *Store) sweep() {
	f, err := os.OpenFile(s.lockPath(), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	for range 20 {
		if !s.empty() {
			return
		}
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Who had it meanwhile has kept something, maybe.
	if err != nil || !inForce(f) || !s.empty() {
		return
	}
	if os.Remove(s.lockPath()) == nil {
		_ = os.Remove(s.Dir) // not empty again: somebody else is at work in it
	}
}

// empty tells whether there is nothing in the folder but the lock.
func (s *Store) empty() bool {
	kept, err := os.ReadDir(s.Dir)
	return err == nil && len(kept) == 1
}

func (s *Store) lockPath() string    { return filepath.Join(s.Dir, "lock") }
func (s *Store) journalPath() string { return filepath.Join(s.Dir, "journal") }
func (s *Store) ownedPath() string   { return filepath.Join(s.Dir, "owned.json") }

func (s *Store) newJournal(p plan.Plan) (*Journal, error) {
	owned, err := s.Owned()
	if err != nil {
		return nil, err
	}
	return s.createJournal(p, owned)
}

func (s *Store) openJournal() (*Journal, error) {
	return openJournal(s.journalPath(), s.Identity)
}

func (s *Store) dropJournal() error { return os.Remove(s.journalPath()) }

// Interrupted tells whether a crash left an open journal of this kernel and namespace; a
// [*DamagedJournal] is one that nothing can be undone by.
func (s *Store) Interrupted() (bool, error) {
	j, err := s.openJournal()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrForeignJournal):
		return false, nil
	case err != nil:
		return true, err
	}
	j.f.Close()
	return !j.commit, nil
}

// DropJournal gives up what a crash left behind, as it is. It tells whether there was
// anything.
func (s *Store) DropJournal() (bool, error) {
	err := s.dropJournal()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

type ownedFile struct {
	Version int `json:"version"`
	Identity
	Owned plan.Owned `json:"owned"`
}

// Owned is what earlier runs own; after a reboot or in a new namespace, what was kept.
func (s *Store) Owned() (plan.Owned, error) {
	file, err := openOwn(s.ownedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return s.kept()
	}
	if err != nil {
		return plan.Owned{}, s.damagedOwned(err)
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return plan.Owned{}, s.damagedOwned(err)
	}
	var f ownedFile
	if err := json.Unmarshal(data, &f); err != nil {
		return plan.Owned{}, s.damagedOwned(err)
	}
	switch {
	case f.Identity != s.Identity:
		return s.kept() // a reboot has taken the rest
	case f.Version != journalVersion:
		return plan.Owned{}, s.damagedOwned(errors.New("it was written by another version of this program, whose 'down' can undo it"))
	}
	return f.Owned, nil
}

func (s *Store) kept() (plan.Owned, error) {
	if s.Kept == nil {
		return plan.Owned{}, nil
	}
	return s.Kept()
}

func (s *Store) damagedOwned(err error) error {
	return fmt.Errorf("the note of what is ours here cannot be used: %s: %w\n"+
		"  hint: without it everything here is a stranger's, and 'down' has nothing to undo: remove that file if you want it so", s.ownedPath(), err)
}

// restoreOwned writes what is owned where it is not what is noted: a full disk is no reason
// for a rollback to fail.
func (s *Store) restoreOwned(o plan.Owned) error {
	if now, err := s.Owned(); err == nil && reflect.DeepEqual(now, o) {
		return nil
	}
	return s.SaveOwned(o)
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
	return s.writeFile(s.ownedPath(), data)
}

// create opens a new file for writing.
func (s *Store) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if s.disk != nil {
		return s.disk(f), nil
	}
	return f, nil
}

// writeFile replaces a file as a whole and makes it durable.
func (s *Store) writeFile(path string, data []byte) error {
	tmp := path + ".new"
	f, err := s.create(tmp)
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
