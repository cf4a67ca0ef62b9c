package etc_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge/internal/etc"
	"drawbridge/internal/persist"
)

const journal = "/var/lib/drawbridge/persist.json"

func folder(t *testing.T, files map[string]string) etc.Folder {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		put(t, root, path, text)
	}
	return etc.Folder{Root: root, Journal: journal}
}

func put(t *testing.T, root, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tree is all that is below etc: paths, modes and contents.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Join(root, "etc"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(strings.TrimPrefix(path, root) + " " + info.Mode().String())
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			b.WriteString(" -> " + to)
		case !d.IsDir():
			data, _ := os.ReadFile(path)
			b.WriteString("\n" + string(data))
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func ours() []persist.File {
	return []persist.File{
		{Path: "/etc/systemd/network/05-drawbridge-br0.netdev", Mode: 0o644, Content: "[NetDev]\n"},
		{Path: "/etc/systemd/system/x.wants/u.service", Link: "../u.service"},
		{Path: "/etc/systemd/system/u.service", Mode: 0o600, Content: "[Unit]\n"},
	}
}

func states(changes []etc.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.State)
	}
	return strings.Join(out, " ")
}

// What was written is taken away again, and /etc is as it was, byte for byte.
func TestWriteAndRemove(t *testing.T) {
	f := folder(t, map[string]string{"/etc/systemd/network/10-mine.network": "[Match]\r\nName=eth0\r\n"})
	before := tree(t, f.Root)
	changes, err := f.Write(etc.Request{Manager: "networkd", Files: ours()})
	if err != nil || states(changes) != "new new new" {
		t.Fatal(states(changes), err)
	}
	after := tree(t, f.Root)
	for _, want := range []string{"05-drawbridge-br0.netdev -rw-r--r--\n[NetDev]", "u.service -rw-------\n[Unit]", "-> ../u.service"} {
		if !strings.Contains(after, want) {
			t.Errorf("%q is missing in\n%s", want, after)
		}
	}
	if changes, err = f.Write(etc.Request{Manager: "networkd", Files: ours()}); err != nil || states(changes) != "same same same" {
		t.Error("again:", states(changes), err)
	}
	less := ours()[:1]
	less[0].Content = "[NetDev]\nName=br0\n"
	if changes, err = f.Write(etc.Request{Manager: "networkd", Files: less}); err != nil || states(changes) != "changed gone gone" {
		t.Error("less:", states(changes), err)
	}
	removed, err := f.Remove()
	if err != nil || len(removed.Removed) != 1 || len(removed.Kept)+len(removed.Missing) != 0 {
		t.Error(removed, err)
	}
	if got := tree(t, f.Root); got != before {
		t.Errorf("after remove:\n%s\nbefore:\n%s", got, before)
	}
	if _, err := os.Stat(filepath.Join(f.Root, journal)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the journal is still there")
	}
}

func TestAnothersFileIsNeverWrittenOver(t *testing.T) {
	f := folder(t, map[string]string{"/etc/systemd/system/u.service": "theirs\r\n"})
	before := tree(t, f.Root)
	_, err := f.Write(etc.Request{Manager: "networkd", Files: ours(), Overwrite: true})
	var refused *etc.Refused
	if !errors.As(err, &refused) || refused.Path != "/etc/systemd/system/u.service" {
		t.Errorf("it says %v", err)
	}
	if got := tree(t, f.Root); got != before {
		t.Errorf("and yet it wrote:\n%s", got)
	}
}

func TestAFileOfOursThatSomebodyChanged(t *testing.T) {
	f := folder(t, nil)
	if _, err := f.Write(etc.Request{Manager: "networkd", Files: ours()}); err != nil {
		t.Fatal(err)
	}
	path := ours()[0].Path
	put(t, f.Root, path, "[NetDev]\r\n") // by an editor that writes CRLF
	newer := ours()
	newer[2].Content = "[Unit]\nAfter=x\n"
	before := tree(t, f.Root)
	var refused *etc.Refused
	if _, err := f.Write(etc.Request{Manager: "networkd", Files: newer}); !errors.As(err, &refused) || refused.Path != path {
		t.Errorf("it says %v", err)
	}
	if got := tree(t, f.Root); got != before {
		t.Errorf("and yet it wrote:\n%s", got)
	}
	if _, err := f.Write(etc.Request{Manager: "networkd", Files: newer, Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(f.Root, "var/lib/drawbridge/edited-etc-systemd-network-05-drawbridge-br0.netdev"))
	if err != nil || string(kept) != "[NetDev]\r\n" {
		t.Errorf("the changed one is kept as %q, %v", kept, err)
	}
	put(t, f.Root, path, "changed again\n")
	if err := os.Remove(filepath.Join(f.Root, newer[2].Path)); err != nil {
		t.Fatal(err)
	}
	removed, err := f.Remove()
	if err != nil || len(removed.Kept) != 1 || len(removed.Missing) != 1 || len(removed.Removed) != 1 {
		t.Errorf("%+v, %v", removed, err)
	}
	if data, _ := os.ReadFile(filepath.Join(f.Root, path)); string(data) != "changed again\n" {
		t.Errorf("it is %q", data)
	}
}

func TestALinkedFolderIsAnothersPlace(t *testing.T) {
	f := folder(t, map[string]string{"/etc/static/x": ""})
	if err := os.MkdirAll(filepath.Join(f.Root, "etc/systemd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../static", filepath.Join(f.Root, "etc/systemd/network")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, f.Root)
	if _, err := f.Write(etc.Request{Manager: "networkd", Files: ours()}); err == nil || !strings.Contains(err.Error(), "symbolic link to ../static") {
		t.Errorf("it says %v", err)
	}
	if got := tree(t, f.Root); got != before {
		t.Errorf("and yet it wrote:\n%s", got)
	}
}

// A write that fails half way takes back what it did; one that is killed is taken back by
// the next command.
func TestAllOrNone(t *testing.T) {
	f := folder(t, map[string]string{"/etc/keep": "me"})
	if _, err := f.Write(etc.Request{Manager: "networkd", Files: ours()[:1]}); err != nil {
		t.Fatal(err)
	}
	before := tree(t, f.Root)
	files := ours()
	files[0].Content = "newer\n"
	// The last one's name is too long for any file system: the others are written by then.
	files = append(files, persist.File{Path: "/etc/" + strings.Repeat("x", 300), Mode: 0o644, Content: "x"})
	if _, err := f.Write(etc.Request{Manager: "networkd", Files: files}); err == nil {
		t.Fatal("it succeeded")
	}
	if got := tree(t, f.Root); got != before {
		t.Errorf("half of it stays:\n%s\nbefore:\n%s", got, before)
	}
	w, err := f.Read()
	if err != nil || len(w.Pending) != 0 || len(w.Files) != 1 {
		t.Errorf("the journal says %+v, %v", w, err)
	}
}

func TestKilledHalfWay(t *testing.T) {
	f := folder(t, map[string]string{"/etc/keep": "me"})
	if _, err := f.Write(etc.Request{Manager: "networkd", Files: ours()[:1]}); err != nil {
		t.Fatal(err)
	}
	before := tree(t, f.Root)
	old, err := os.ReadFile(filepath.Join(f.Root, journal))
	if err != nil {
		t.Fatal(err)
	}
	files := ours()
	files[0].Content = "newer\n"
	if err := f.Begin("networkd", files); err != nil {
		t.Fatal(err)
	}
	for _, x := range files[:2] { // as far as it came
		_ = os.Remove(filepath.Join(f.Root, x.Path))
		if x.Link == "" {
			put(t, f.Root, x.Path, x.Content)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(f.Root, x.Path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(x.Link, filepath.Join(f.Root, x.Path)); err != nil {
			t.Fatal(err)
		}
	}
	if done, err := f.Recover(); !done || err != nil {
		t.Fatal(done, err)
	}
	if got := tree(t, f.Root); got != before {
		t.Errorf("half of it stays:\n%s\nbefore:\n%s", got, before)
	}
	if now, _ := os.ReadFile(filepath.Join(f.Root, journal)); string(now) != string(old) {
		t.Errorf("the journal says %s", now)
	}
}

func TestADamagedJournalIsTold(t *testing.T) {
	f := folder(t, map[string]string{journal: "{"})
	for what, err := range map[string]error{
		"write": func() error {
			_, err := f.Write(etc.Request{Manager: "networkd", Files: ours(), Overwrite: true})
			return err
		}(),
		"remove": func() error { _, err := f.Remove(); return err }(),
		"look":   func() error { _, err := f.Look(ours()); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), journal) || !strings.Contains(err.Error(), "hint:") {
			t.Errorf("%s says %v", what, err)
		}
	}
}

// What a manager has made of a file (a uuid, say) is written into it, with the journal: it is
// ours still. One that somebody has changed, or that is not ours, is refused.
func TestRewrite(t *testing.T) {
	f := folder(t, nil)
	const one, two = "/etc/a/one", "/etc/a/two"
	files := []persist.File{{Path: one, Mode: 0o600, Content: "1"}, {Path: two, Mode: 0o644, Content: "2"}}
	if _, err := f.Write(etc.Request{Manager: "m", Files: files, Note: map[string]string{"note": "kept"}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Rewrite(map[string]string{one: "other"}); err != nil {
		t.Fatal(err)
	}
	files[0].Content = "other"
	changes, err := f.Look(files)
	if err != nil || changes[0].State != etc.Same || changes[1].State != etc.Same {
		t.Errorf("%+v, %v", changes, err)
	}
	w, err := f.Read()
	if err != nil || w.Manager != "m" || string(w.Note) != `{"note":"kept"}` || len(w.Files) != 2 {
		t.Errorf("%+v, %v", w, err)
	}
	if info, err := os.Stat(filepath.Join(f.Root, one)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	var refused *etc.Refused
	if err := f.Rewrite(map[string]string{"/etc/passwd": "x"}); !errors.As(err, &refused) {
		t.Errorf("a file of others: %v", err)
	}
	put(t, f.Root, two, "mine")
	if err := f.Rewrite(map[string]string{one: "again"}); !errors.As(err, &refused) || refused.Path != two {
		t.Errorf("beside an edited one: %v", err)
	}
	if data, _ := os.ReadFile(filepath.Join(f.Root, one)); string(data) != "other" {
		t.Errorf("it wrote %q all the same", data)
	}
}
