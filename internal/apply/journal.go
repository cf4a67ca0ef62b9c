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
	"syscall"

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
	f    file
	Header
	begun  int                // steps 0..begun-1 may have been carried out
	made   map[int]model.Made // the links that each step made
	commit bool
}

// file is what journals and notes are written to.
type file interface {
	io.WriteCloser
	Sync() error
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
func (s *Store) createJournal(p plan.Plan, owned plan.Owned) (*Journal, error) {
	path := s.journalPath()
	j := &Journal{path: path, Header: newHeader(s.Identity, p, owned), made: map[int]model.Made{}}
	tmp := path + ".new"
	f, err := s.create(tmp)
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

// ErrForeignJournal says that a journal is about another boot or another namespace: what
// it would undo is gone with that.
var ErrForeignJournal = errors.New("journal is not for this kernel and namespace")

// DamagedJournal is a journal of this boot and namespace, maybe, that nothing can be undone
// by. It is never passed over: the host may be half changed.
type DamagedJournal struct {
	Path string
	Err  error
}

func (e *DamagedJournal) Error() string {
	return fmt.Sprintf("the undo journal of an interrupted change cannot be used: %s: %v\n"+
		"  hint: see that this host's network is as you want it, then: drawbridge recover --as-is", e.Path, e.Err)
}

func (e *DamagedJournal) Unwrap() error { return e.Err }

// errOtherVersion: what another version began, that version can undo.
var errOtherVersion = errors.New("it was written by another version of this program, whose 'recover' can undo it")

// openJournal reads a journal that a crash left behind. fs.ErrNotExist: there is none.
func openJournal(path string, id Identity) (*Journal, error) {
	f, err := openOwn(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, &DamagedJournal{path, err}
	}
	j := &Journal{path: path, f: f, made: map[int]model.Made{}}
	switch err := j.read(f, id); {
	case errors.Is(err, ErrForeignJournal):
		f.Close()
		return nil, fmt.Errorf("undo journal %s: %w", path, err)
	case err != nil:
		f.Close()
		return nil, &DamagedJournal{path, err}
	}
	return j, nil
}

// openOwn opens a file that this user made: what somebody else put in its place would be
// carried out with this user's rights.
func openOwn(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errors.New("it is a symbolic link")
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err = errors.Join(err, checkOwn(info)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkOwn tells why a file or folder may be somebody else's work.
func checkOwn(info fs.FileInfo) error {
	if info == nil {
		return nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d, not to %d", st.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to it (mode %04o)", info.Mode().Perm())
	default:
		return nil
	}
}

func (j *Journal) read(from io.Reader, id Identity) error {
	r := bufio.NewReader(from)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return errors.New("it is cut off in its first line")
	}
	var stamp struct {
		Version int `json:"version"`
		Identity
	}
	if err := json.Unmarshal(line, &stamp); err != nil {
		return fmt.Errorf("it is not a journal: %w", err)
	}
	switch {
	case stamp.Identity != id:
		return ErrForeignJournal
	case stamp.Version != journalVersion:
		return errOtherVersion
	}
	if err := json.Unmarshal(line, &j.Header); err != nil {
		return err
	}
	for i, st := range j.Steps {
		if len(st.Do) != 1 {
			return fmt.Errorf("its step %d is %d operations, not one", i, len(st.Do))
		}
	}
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // the end; a cut-off line was not yet acted upon
		}
		if err != nil {
			return err
		}
		if err := j.readEntry(line); err != nil {
			return err
		}
	}
}

func (j *Journal) readEntry(line []byte) error {
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	for _, step := range []*int{e.Begin, e.Done, e.Refused} {
		if step != nil && (*step < 0 || *step >= len(j.Steps)) {
			return fmt.Errorf("it tells of step %d, and has %d", *step, len(j.Steps))
		}
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
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
