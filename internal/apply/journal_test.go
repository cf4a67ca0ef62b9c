package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/plan"
	"drawbridge/internal/spec"
)

// interruptedSite is a host in memory in the middle of a change whose process is gone, and
// the journal that it left.
func interruptedSite(t testing.TB) (m *memory, tx *Transaction, journal string) {
	t.Helper()
	m = newMemory()
	tx = &Transaction{Kernel: m, Machines: m.machines(), settle: time.Microsecond,
		Store: &Store{Dir: t.TempDir(), Identity: Identity{BootID: "boot", Namespace: 7}}}
	p, err := planOf(m, tx.Store, bridged())
	if err != nil {
		t.Fatal(err)
	}
	j, err := tx.Store.newJournal(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if err := j.begin(i); err != nil {
			t.Fatal(err)
		}
		made, err := tx.do(t.Context(), p.Steps[i].Do)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.done(i, made); err != nil {
			t.Fatal(err)
		}
	}
	j.f.Close()
	data, err := os.ReadFile(tx.Store.journalPath())
	if err != nil {
		t.Fatal(err)
	}
	return m, tx, string(data)
}

// What is in the journal's place is undone, dropped or refused; never passed over, and never
// undone in part.
func TestJournalsThatAreNotOurs(t *testing.T) {
	const (
		undone  = "undone"
		dropped = "dropped"
		refused = "refused"
	)
	_, _, whole := interruptedSite(t)
	lines := strings.SplitAfter(whole, "\n")
	for name, tc := range map[string]struct {
		content string
		put     func(t *testing.T, path string)
		id      Identity
		want    string
		says    string
	}{
		"whole":                    {content: whole, want: undone},
		"cut off in its last line": {content: whole[:len(whole)-5], want: undone},
		"cut off after its header": {content: lines[0], want: undone},
		"another boot":             {content: whole, id: Identity{"other", 7}, want: dropped},
		"another namespace":        {content: whole, id: Identity{"boot", 8}, want: dropped},
		"another boot and version": {content: strings.Replace(whole, `"version":1`, `"version":99,"later":{}`, 1), id: Identity{"other", 7}, want: dropped},
		"another version":          {content: strings.Replace(whole, `"version":1`, `"version":99,"later":{}`, 1), want: refused, says: "written by another version"},
		"an unknown operation":     {content: strings.Replace(whole, `"op":"create-bridge"`, `"op":"format-disk"`, 1), want: refused, says: `unknown operation "format-disk"`},
		"cut off in its header":    {content: whole[:100], want: refused, says: "cut off in its first line"},
		"empty":                    {content: "", want: refused, says: "cut off in its first line"},
		"not a journal":            {content: "hello\n", want: refused, says: "it is not a journal"},
		"rubbish in the middle":    {content: lines[0] + "hello\n" + lines[1], want: refused, says: "invalid character"},
		"a step that it has not":   {content: lines[0] + `{"begin":4711}` + "\n", want: refused, says: "it tells of step 4711"},
		"a step before the first":  {content: lines[0] + `{"begin":-1}` + "\n", want: refused, says: "it tells of step -1"},
		"a symbolic link": {put: func(t *testing.T, path string) {
			t.Helper()
			target := filepath.Join(t.TempDir(), "elsewhere")
			if err := errors.Join(os.WriteFile(target, []byte(whole), 0o600), os.Symlink(target, path)); err != nil {
				t.Fatal(err)
			}
		}, want: refused, says: "symbolic link"},
		"a pipe": {put: func(t *testing.T, path string) {
			t.Helper()
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: refused, says: "not a regular file"},
		"writable for others": {put: func(t *testing.T, path string) {
			t.Helper()
			if err := errors.Join(os.WriteFile(path, []byte(whole), 0o600), os.Chmod(path, 0o666)); err != nil {
				t.Fatal(err)
			}
		}, want: refused, says: "others may write to it"},
		"another user's": {put: func(t *testing.T, path string) {
			t.Helper()
			if os.Geteuid() != 0 {
				t.Skip("needs root to give a file away")
			}
			if err := errors.Join(os.WriteFile(path, []byte(whole), 0o600), os.Chown(path, 65534, 65534)); err != nil {
				t.Fatal(err)
			}
		}, want: refused, says: "belongs to user 65534"},
	} {
		t.Run(name, func(t *testing.T) {
			m, tx, _ := interruptedSite(t)
			halfway := m.Snapshot()
			path := tx.Store.journalPath()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if tc.put != nil {
				tc.put(t, path)
			} else if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if tc.id != (Identity{}) {
				tx.Store.Identity = tc.id
			}
			is, ierr := tx.Store.Interrupted()
			if is != (tc.want != dropped) || (ierr != nil) != (tc.want == refused) {
				t.Errorf("interrupted: %v %v", is, ierr)
			}
			steps, err := tx.Recover()
			_, serr := os.Lstat(path)
			switch tc.want {
			case undone: // six steps, or as many as it tells of
				if err != nil || serr == nil || len(steps) == 6 && !same(pageHost(), m.Snapshot()) {
					t.Errorf("undone %v, error %v, journal %v", steps, err, serr)
				}
			case dropped:
				if err != nil || len(steps) != 0 || serr == nil || !same(halfway, m.Snapshot()) {
					t.Errorf("undone %v, error %v, journal %v", steps, err, serr)
				}
			case refused:
				var damaged *DamagedJournal
				if !errors.As(err, &damaged) || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "hint:") || serr != nil || !same(halfway, m.Snapshot()) {
					t.Errorf("undone %v, error %v, journal %v", steps, err, serr)
				}
				if was, err := tx.Store.DropJournal(); err != nil || !was {
					t.Errorf("given up: %v %v", was, err)
				}
				if is, err := tx.Store.Interrupted(); is || err != nil {
					t.Errorf("interrupted after it was given up: %v %v", is, err)
				}
			}
		})
	}
}

// What is not ours is not taken for what we own.
func TestNotesThatAreNotOurs(t *testing.T) {
	m, tx := site(t)
	if err := tx.Run(t.Context(), planFor(t, m, tx.Store, bridged())); err != nil {
		t.Fatal(err)
	}
	path := tx.Store.ownedPath()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"cut off": string(whole[:50]), "empty": "", "another version's": strings.Replace(string(whole), `"version": 1`, `"version": 9`, 1)} {
		if put(content); true {
			if o, err := tx.Store.Owned(); err == nil || !o.Empty() || !strings.Contains(err.Error(), "hint:") {
				t.Errorf("%s: %+v %v", name, o, err)
			}
		}
	}
	put(string(whole))
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Store.Owned(); err == nil {
		t.Error("one that others may write to is taken")
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}

	// After a reboot nothing is ours, and `down` has nothing to do.
	rebooted := &Store{Dir: tx.Store.Dir, Identity: Identity{BootID: "the next", Namespace: 7}}
	o, err := rebooted.Owned()
	if err != nil || !o.Empty() {
		t.Fatalf("%+v %v", o, err)
	}
	p, err := plan.Diff(pageHost(), spec.Desired{}, o, plan.Options{Seed: "seed"})
	if err != nil || len(p.Steps) != 0 {
		t.Errorf("down after a reboot: %v %v", p.Steps, err)
	}
}

// A state folder that somebody else has made there before, as anybody may in /tmp.
func TestAStrangersStateFolder(t *testing.T) {
	base := t.TempDir()
	for name, prepare := range map[string]func(dir string) error{
		"writable for others": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"a symbolic link":     func(dir string) error { return os.Symlink(t.TempDir(), dir) },
		"a file":              func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
	} {
		dir := filepath.Join(base, name)
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		s := &Store{Dir: dir}
		if err := s.Lock(); err == nil {
			s.Unlock()
			t.Errorf("%s: taken", name)
		}
	}
}

// Whatever is in the journal's place: no panic, and the host is not altered by what is
// refused.
func FuzzJournal(f *testing.F) {
	_, _, whole := interruptedSite(f)
	f.Add([]byte(whole))
	f.Add([]byte(whole[:len(whole)/2]))
	f.Add([]byte("hello\n"))
	f.Add([]byte(strings.Replace(whole, `"begin":0`, `"begin":3`, 1)))
	f.Add([]byte(strings.Replace(whole, `"steps":[`, `"steps":[null,`, 1)))
	f.Add([]byte(`{"version":1,"boot_id":"boot","namespace":7,"steps":[{"do":[{"op":"set-up","do":{}}],"undo":[{"op":"delete-link","do":null}]}]}` + "\n{\"begin\":0}\n{\"refused\":0}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, tx := site(t)
		if err := os.WriteFile(tx.Store.journalPath(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		before := m.Snapshot()
		_, err := tx.Recover()
		var damaged *DamagedJournal
		if errors.As(err, &damaged) && !same(before, m.Snapshot()) {
			t.Errorf("refused (%v), and the host is altered", err)
		}
	})
}
