package apply

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// journalVersion rises when an older version could not undo what a journal holds.
const journalVersion = 1

// Identity ties what is stored to the kernel state that it is about: another boot or
// another namespace makes it worthless.
type Identity struct {
	BootID    string `json:"boot_id"`
	Namespace uint64 `json:"namespace"` // kernel.Cookie of the network namespace
}

// Header is the first line of a journal: everything that an undo needs.
type Header struct {
	Version int `json:"version"`
	Identity
	PID    int            `json:"pid"`
	Before model.Snapshot `json:"before"`
	// OwnedBefore is brought back by a rollback, OwnedAfter is in force after a commit.
	OwnedBefore plan.Owned    `json:"owned_before"`
	OwnedAfter  plan.Owned    `json:"owned_after"`
	Steps       []JournalStep `json:"steps"`
}

// JournalStep is a step as the journal knows it.
type JournalStep struct {
	Title string           `json:"title"`
	Do    model.Operations `json:"do"` // one
	Undo  model.Operations `json:"undo,omitempty"`
}

// entry is a later line: a step begun, a step done, one that was refused, or the end.
type entry struct {
	Begin   *int       `json:"begin,omitempty"`
	Done    *int       `json:"done,omitempty"`
	Made    model.Made `json:"made,omitempty"` // by the step that is done
	Refused *int       `json:"refused,omitempty"`
	Commit  bool       `json:"commit,omitempty"`
}

// Journal is the undo journal of one transaction: lines of JSON, each on disk before
// what it announces is done. A line that is cut off was not yet acted upon.
type Journal struct {
	path string
	f    *os.File
	Header
	begun  int                // steps 0..begun-1 may have been carried out
	made   map[int]model.Made // the links that each step made
	commit bool
}

func newHeader(id Identity, p plan.Plan, owned plan.Owned) Header {
	h := Header{Version: journalVersion, Identity: id, PID: os.Getpid(), Before: p.Before, OwnedBefore: owned, OwnedAfter: p.Owned}
	for _, st := range p.Steps {
		h.Steps = append(h.Steps, JournalStep{st.Title, model.Operations{st.Do}, st.Undo})
	}
	return h
}

// createJournal writes the header and makes it durable. It appears under its name
// only when it is whole.
func createJournal(path string, id Identity, p plan.Plan, owned plan.Owned) (*Journal, error) {
	j := &Journal{path: path, Header: newHeader(id, p, owned), made: map[int]model.Made{}}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("undo journal: %w", err)
	}
	j.f = f
	if err := errors.Join(j.write(j.Header), os.Rename(tmp, path), syncDir(filepath.Dir(path))); err != nil {
		f.Close()
		os.Remove(tmp)
		return nil, err
	}
	return j, nil
}

func (j *Journal) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("undo journal: %w", err)
	}
	if _, err := j.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("undo journal: %w", err)
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("undo journal: %w", err)
	}
	return nil
}

func (j *Journal) begin(step int) error {
	if err := j.write(entry{Begin: &step}); err != nil {
		return err
	}
	j.begun = step + 1
	return nil
}

func (j *Journal) done(step int, made model.Made) error {
	j.made[step] = made
	return j.write(entry{Done: &step, Made: made})
}

// refused notes that a step came to nothing because its name is taken: what bears that
// name is a stranger's, and no undo may touch it.
func (j *Journal) refused(step int, cause error) error {
	if !errors.Is(cause, model.ErrExists) || len(model.MadeBy(j.Steps[step].Do[0])) == 0 {
		return nil
	}
	j.begun = step
	return j.write(entry{Refused: &step})
}

// madeLinks are the indexes of the links that the journal's steps made, by name.
func (j *Journal) madeLinks() model.Made {
	out := model.Made{}
	for _, made := range j.made {
		maps.Copy(out, made)
	}
	return out
}

// commitTo puts what is owned now in force and takes the journal away: nothing is to
// be undone any more.
func (j *Journal) commitTo(s *Store) error {
	if err := s.SaveOwned(j.OwnedAfter.WithIndexes(j.madeLinks())); err != nil {
		return err
	}
	if err := j.write(entry{Commit: true}); err != nil {
		return err
	}
	return j.discard()
}

func (j *Journal) discard() error {
	j.f.Close()
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("undo journal: %w", err)
	}
	return nil
}

// ErrForeignJournal says that a journal is about another boot, another namespace or
// comes from another version: its undo is not for this kernel.
var ErrForeignJournal = errors.New("journal is not for this kernel and namespace")

// openJournal reads a journal that a crash left behind. fs.ErrNotExist: there is none.
func openJournal(path string, id Identity) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	j := &Journal{path: path, f: f, made: map[int]model.Made{}}
	if err := j.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("undo journal %s: %w", path, err)
	}
	if j.Version != journalVersion || j.Identity != id {
		f.Close()
		return nil, fmt.Errorf("undo journal %s: %w", path, ErrForeignJournal)
	}
	return j, nil
}

func (j *Journal) read() error {
	r := bufio.NewReader(j.f)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("cut off in its first line: nothing was done under it: %w", err)
	}
	if err := json.Unmarshal(line, &j.Header); err != nil {
		return err
	}
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // the end; a cut-off line was not yet acted upon
		}
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		switch {
		case e.Begin != nil:
			j.begun = max(j.begun, *e.Begin+1)
		case e.Done != nil:
			j.made[*e.Done] = e.Made
		case e.Refused != nil:
			j.begun = *e.Refused
		case e.Commit:
			j.commit = true
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
