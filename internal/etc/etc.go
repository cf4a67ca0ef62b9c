// Package etc writes files of ours among files of others, and takes exactly those away.
//
// In: [persist.File]s. Every file appears whole or not at all, all of them or none: what
// was there is in a journal on disk before the first is written. The journal also tells
// ours from others': what somebody else wrote is never written over, and one of ours that
// somebody has changed since is kept, and told.
package etc

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"drawbridge/internal/persist"
)

// Folder is a file system with a journal.
type Folder struct {
	// Root is what absolute paths are below: "/" but in tests.
	Root string
	// Journal is the journal's absolute path, below Root.
	Journal string
}

// DefaultJournal outlives a reboot, as the files do.
const DefaultJournal = "/var/lib/drawbridge/persist.json"

// Written is what the journal tells of the files that were written.
type Written struct {
	Version int    `json:"version"`
	Manager string `json:"manager"`
	// Files of ours, as they were written.
	Files []Entry `json:"files"`
	// Dirs that were made for them, the outer first.
	Dirs []string `json:"dirs,omitempty"`
	// Note is the caller's: what the files were made of.
	Note json.RawMessage `json:"note,omitempty"`
	// Pending is what was there before a write that has not ended.
	Pending []before `json:"pending,omitempty"`
}

// Entry is one file of ours.
type Entry struct {
	Path string `json:"path"`
	Sum  string `json:"sha256"` // of the content, or of a link's target
}

type before struct {
	Entry          // as it will be; Sum "" for one that is taken away
	There bool     `json:"there,omitempty"`
	Was   []byte   `json:"was,omitempty"`
	Mode  fsMode   `json:"mode,omitempty"`
	Link  string   `json:"link,omitempty"`
	Made  []string `json:"made,omitempty"` // folders
}

type fsMode = fs.FileMode

const version = 1

// What becomes of a file when it is written.
const (
	New     = "new"
	Same    = "same"
	Changed = "changed" // ours, of an earlier write
	Edited  = "edited"  // ours, and somebody has changed it since
	Foreign = "foreign" // somebody else's, under a name of ours
	Gone    = "gone"    // ours, and no longer wanted
)

// Change is what a write does to one file.
type Change struct {
	persist.File
	State string `json:"state"`
	// Now is what is there, "" for nothing.
	Now string `json:"now,omitempty"`
}

// wanted is false for a file that is there and is not needed any more.
func (c Change) wanted() bool { return c.Content != "" || c.Link != "" }

func (f Folder) at(path string) string { return filepath.Join(f.Root, path) }

// Read reads the journal; without one nothing of ours is there. What a write left
// unfinished is brought back first where that is possible.
func (f Folder) Read() (Written, error) {
	w := Written{Version: version}
	data, err := os.ReadFile(f.at(f.Journal))
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &w)
	}
	var note bytes.Buffer
	if err == nil && len(w.Note) > 0 && json.Compact(&note, w.Note) == nil {
		w.Note = note.Bytes()
	}
	if err == nil && w.Version != version {
		err = errors.New("it was written by another version of this program")
	}
	if err != nil {
		return w, fmt.Errorf("journal of the files: %s: %w\n  hint: see which files have 'drawbridge' in their names below /etc; then take the journal away", f.Journal, err)
	}
	return w, nil
}

// Recover brings back what an interrupted write has left half done.
func (f Folder) Recover() (bool, error) {
	w, err := f.Read()
	if err != nil || len(w.Pending) == 0 {
		return false, err
	}
	if err := f.restore(w.Pending); err != nil {
		return true, err
	}
	w.Pending = nil
	return true, f.save(w)
}

// Look tells what a write of these files would do. Files of ours that are not among them
// are gone then.
func (f Folder) Look(files []persist.File) ([]Change, error) {
	w, err := f.Read()
	if err != nil {
		return nil, err
	}
	var out []Change
	for _, file := range files {
		c := Change{File: file}
		now, sum, err := f.sum(file.Path)
		switch ours := w.entry(file.Path); {
		case errors.Is(err, fs.ErrNotExist):
			c.State = New
		case err != nil:
			return nil, err
		case ours == nil && sum != sumOf(file):
			c.State = Foreign
		case ours == nil || sum == sumOf(file):
			c.State = Same
		case sum != ours.Sum:
			c.State = Edited
		default:
			c.State = Changed
		}
		c.Now = now
		out = append(out, c)
	}
	for _, e := range w.Files {
		if slices.ContainsFunc(files, func(x persist.File) bool { return x.Path == e.Path }) {
			continue
		}
		now, sum, err := f.sum(e.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := Change{File: persist.File{Path: e.Path, Why: "no longer needed"}, State: Gone, Now: now}
		if sum != e.Sum {
			c.State, c.Why = Edited, "no longer needed; it was changed since it was written"
		}
		out = append(out, c)
	}
	return out, nil
}

// Refused is why files are not written.
type Refused struct {
	Path, Reason, Hint string
}

func (r *Refused) Error() string { return r.Path + ": " + r.Reason + "\n  hint: " + r.Hint }

// Request is a write.
type Request struct {
	Manager string
	Files   []persist.File
	// Note is kept with the files.
	Note any
	// Overwrite those that somebody has edited; they are kept beside the journal then.
	Overwrite bool
}

// Write writes all of the files, or none.
func (f Folder) Write(r Request) ([]Change, error) {
	changes, after, err := f.begin(r)
	if err != nil || after == nil {
		return changes, err
	}
	for _, c := range changes {
		if err := f.carryOut(c); err != nil {
			if _, rerr := f.Recover(); rerr != nil {
				return nil, fmt.Errorf("%w\n  and what was there could not be brought back: %w\n  hint: 'drawbridge persist show' tries again", err, rerr)
			}
			return nil, err
		}
	}
	return changes, f.save(*after)
}

// Rewrite gives files of ours other contents, by their paths: all of them or none. Those that
// somebody has changed are refused.
func (f Folder) Rewrite(contents map[string]string) error {
	w, err := f.Read()
	if err != nil || len(contents) == 0 {
		return err
	}
	r := Request{Manager: w.Manager, Note: w.Note}
	for _, e := range w.Files {
		info, err := os.Lstat(f.at(e.Path))
		if err != nil {
			return err
		}
		if _, sum, err := f.sum(e.Path); err != nil || sum != e.Sum {
			return cmp.Or[error](err, &Refused{e.Path, "was changed by hand since drawbridge wrote it", "'drawbridge persist write --overwrite' writes it anew"})
		}
		file := persist.File{Path: e.Path, Mode: info.Mode().Perm()}
		if info.Mode()&fs.ModeSymlink != 0 {
			file.Link, err = os.Readlink(f.at(e.Path))
		} else if file.Content = contents[e.Path]; file.Content == "" {
			file.Content, _, err = f.sum(e.Path)
		}
		if err != nil {
			return err
		}
		r.Files = append(r.Files, file)
		delete(contents, e.Path)
	}
	for path := range contents {
		return &Refused{path, "is not one of the files that drawbridge wrote", "drawbridge persist write"}
	}
	_, err = f.Write(r)
	return err
}

// begin checks a write and notes what is there before it; after is the journal at its end,
// nil where nothing is to be done.
func (f Folder) begin(r Request) (changes []Change, after *Written, err error) {
	if changes, err = f.Look(r.Files); err != nil {
		return nil, nil, err
	}
	if err := f.check(changes, r.Overwrite); err != nil {
		return nil, nil, err
	}
	w, err := f.Read()
	if err != nil {
		return nil, nil, err
	}
	note, err := json.Marshal(r.Note)
	if err != nil {
		return nil, nil, err
	}
	after = &Written{Version: version, Manager: r.Manager, Dirs: slices.Clone(w.Dirs), Note: note}
	for _, c := range changes {
		if c.wanted() {
			after.Files = append(after.Files, Entry{c.Path, sumOf(c.File)})
		}
		if c.State == Same {
			continue
		}
		b, err := f.before(c)
		if err != nil {
			return nil, nil, err
		}
		for _, d := range b.Made {
			if !slices.Contains(after.Dirs, d) {
				after.Dirs = append(after.Dirs, d)
			}
		}
		w.Pending = append(w.Pending, b)
	}
	if len(w.Pending) == 0 && bytes.Equal(w.Note, note) {
		return changes, nil, nil
	}
	return changes, after, f.save(w)
}

// Check refuses what Write would refuse.
func (f Folder) Check(files []persist.File) error {
	changes, err := f.Look(files)
	if err != nil {
		return err
	}
	return f.check(changes, false)
}

func (f Folder) check(changes []Change, overwrite bool) error {
	var errs []error
	for _, c := range changes {
		switch {
		case c.State == Foreign:
			errs = append(errs, &Refused{c.Path, "is there already, and was not written by drawbridge", "move it away: files of others are never written over"})
		case c.State == Edited && !overwrite && c.wanted():
			errs = append(errs, &Refused{c.Path, "was changed by hand since drawbridge wrote it", "'drawbridge persist show' tells the difference; --overwrite writes it anew, and keeps the changed one in " + filepath.Dir(f.Journal)})
		}
		if err := f.plainFolders(c.Path); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// plainFolders refuses a path that leads elsewhere: behind a link is another tool's place.
func (f Folder) plainFolders(path string) error {
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Lstat(f.at(dir))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(f.at(dir))
			return &Refused{dir, "is a symbolic link to " + to + ", where another program keeps its files", "have that program write the files that 'drawbridge persist show' prints"}
		case !info.IsDir():
			return &Refused{dir, "is not a folder", "move it away"}
		}
	}
	return nil
}

// before is what there is before a change, and which folders it will make.
func (f Folder) before(c Change) (before, error) {
	b := before{Entry: Entry{Path: c.Path}}
	if c.State != Gone {
		b.Sum = sumOf(c.File)
	}
	for dir := filepath.Dir(c.Path); dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(f.at(dir)); errors.Is(err, fs.ErrNotExist) {
			b.Made = slices.Insert(b.Made, 0, dir)
		}
	}
	info, err := os.Lstat(f.at(c.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	b.There, b.Mode = true, info.Mode().Perm()
	if info.Mode()&fs.ModeSymlink != 0 {
		b.Link, err = os.Readlink(f.at(c.Path))
		return b, err
	}
	b.Was, err = os.ReadFile(f.at(c.Path))
	return b, err
}

func (f Folder) carryOut(c Change) error {
	switch c.State {
	case Same:
		return nil
	case Gone:
		return f.remove(c.Path)
	case Edited:
		if !c.wanted() {
			return nil // no longer needed, and no longer ours
		}
		kept := filepath.Join(filepath.Dir(f.Journal), "edited-"+strings.ReplaceAll(strings.Trim(c.Path, "/"), "/", "-"))
		if err := f.put(kept, []byte(c.Now), 0o600); err != nil {
			return err
		}
	}
	if c.Link != "" {
		return f.putLink(c.Path, c.Link)
	}
	return f.put(c.Path, []byte(c.Content), c.Mode)
}

// restore brings back what was there, newest first. What is neither that nor what we would
// have written is somebody else's by now.
func (f Folder) restore(pending []before) error {
	var errs []error
	for _, b := range slices.Backward(pending) {
		_, sum, err := f.sum(b.Path)
		gone := errors.Is(err, fs.ErrNotExist)
		switch {
		case err != nil && !gone:
			errs = append(errs, err)
		case !b.There && (gone || sum != b.Sum), b.There && !gone && sum != b.Sum:
		case !b.There:
			errs = append(errs, f.remove(b.Path))
		case b.Link != "":
			errs = append(errs, f.putLink(b.Path, b.Link))
		default:
			errs = append(errs, f.put(b.Path, b.Was, b.Mode))
		}
		for _, d := range slices.Backward(b.Made) {
			_ = os.Remove(f.at(d)) // only if it is empty
		}
	}
	return errors.Join(errs...)
}

// Removed tells what became of the files of ours.
type Removed struct {
	Removed []string `json:"removed"`
	// Kept were changed by somebody since.
	Kept []string `json:"kept,omitempty"`
	// Missing had been taken away already.
	Missing []string `json:"missing,omitempty"`
}

// Remove takes the files of ours away, and the folders that were made for them if nothing
// else is in them; then the journal.
func (f Folder) Remove() (Removed, error) {
	out := Removed{Removed: []string{}}
	w, err := f.Read()
	if err != nil {
		return out, err
	}
	for _, e := range w.Files {
		_, sum, err := f.sum(e.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			out.Missing = append(out.Missing, e.Path)
		case err != nil:
			return out, err
		case sum != e.Sum:
			out.Kept = append(out.Kept, e.Path)
		default:
			if err := f.remove(e.Path); err != nil {
				return out, err
			}
			out.Removed = append(out.Removed, e.Path)
		}
	}
	for _, d := range slices.Backward(w.Dirs) {
		_ = os.Remove(f.at(d)) // only if it is empty
	}
	if err := os.Remove(f.at(f.Journal)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	return out, nil
}

func (w Written) entry(path string) *Entry {
	for i := range w.Files {
		if w.Files[i].Path == path {
			return &w.Files[i]
		}
	}
	return nil
}

// sum reads what is at a path, and its sum.
func (f Folder) sum(path string) (string, string, error) {
	info, err := os.Lstat(f.at(path))
	if err != nil {
		if errors.Is(err, syscall.ENOTDIR) {
			err = fs.ErrNotExist
		}
		return "", "", err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(f.at(path))
		return "-> " + to, sumText("-> " + to), err
	case !info.Mode().IsRegular():
		return "", "", &Refused{path, "is not a regular file", "move it away"}
	}
	data, err := os.ReadFile(f.at(path))
	return string(data), sumText(string(data)), err
}

func sumOf(f persist.File) string {
	if f.Link != "" {
		return sumText("-> " + f.Link)
	}
	return sumText(f.Content)
}

func sumText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
