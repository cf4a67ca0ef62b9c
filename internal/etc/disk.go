package etc

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// put writes a file whole: beside its place first, on disk, and then under its name.
func (f Folder) put(path string, content []byte, mode fs.FileMode) error {
	if err := f.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	// A leading dot: no manager reads it, should it stay behind.
	tmp := filepath.Join(filepath.Dir(f.at(path)), "."+filepath.Base(path)+".drawbridge-new")
	_ = os.Remove(tmp) // of a run that was killed
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return withHint(path, err)
	}
	_, err = file.Write(content)
	// The process's umask is not the file's business.
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(tmp, f.at(path))
	}
	if err != nil {
		_ = os.Remove(tmp)
		return withHint(path, err)
	}
	return syncFolder(filepath.Dir(f.at(path)))
}

func (f Folder) putLink(path, to string) error {
	if err := f.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(f.at(path)), "."+filepath.Base(path)+".drawbridge-new")
	_ = os.Remove(tmp)
	if err := os.Symlink(to, tmp); err != nil {
		return withHint(path, err)
	}
	if err := os.Rename(tmp, f.at(path)); err != nil {
		_ = os.Remove(tmp)
		return withHint(path, err)
	}
	return syncFolder(filepath.Dir(f.at(path)))
}

func (f Folder) makeFolder(dir string) error {
	if err := os.MkdirAll(f.at(dir), 0o755); err != nil { //nolint:gosec // what managers read, everybody may
		return withHint(dir, err)
	}
	return nil
}

func (f Folder) remove(path string) error {
	if err := os.Remove(f.at(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return withHint(path, err)
	}
	return syncFolder(filepath.Dir(f.at(path)))
}

// save writes the journal.
func (f Folder) save(w Written) error {
	if len(w.Files)+len(w.Pending) == 0 {
		if err := os.Remove(f.at(f.Journal)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return withHint(f.Journal, err)
		}
		return nil
	}
	data, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return err
	}
	return f.put(f.Journal, append(data, '\n'), 0o600)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems have no such thing
		return err
	}
	return nil
}

// withHint says what to do about the errors that a person meets.
func withHint(path string, err error) error {
	var hint string
	switch {
	case errors.Is(err, syscall.EROFS):
		hint = "this system's /etc is not to be written to: put what 'drawbridge persist show' prints where its configuration is made"
	case errors.Is(err, fs.ErrPermission):
		hint = "as root: sudo drawbridge persist ..."
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = "make room on the disk"
	default:
		return err
	}
	return &failed{path, err, hint}
}

type failed struct {
	path string
	err  error
	hint string
}

func (e *failed) Error() string { return e.path + ": " + e.err.Error() + "\n  hint: " + e.hint }
func (e *failed) Unwrap() error { return e.err }
