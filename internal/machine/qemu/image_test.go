package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// qcow2 is a header as qemu-img writes one.
func qcow2(version uint32, features uint64, backing string) []byte {
	b := make([]byte, 112+len(backing))
	copy(b, "QFI\xfb")
	binary.BigEndian.PutUint32(b[4:], version)
	if backing != "" {
		binary.BigEndian.PutUint64(b[8:], 112)
		binary.BigEndian.PutUint32(b[16:], uint32(len(backing)))
	}
	binary.BigEndian.PutUint64(b[72:], features)
	copy(b[112:], backing)
	return b
}

func TestReadImage(t *testing.T) {
	long := qcow2(3, 0, "x")
	binary.BigEndian.PutUint32(long[16:], 5000)
	cut := qcow2(3, 0, "/srv/base.img")[:115]
	for _, c := range []struct {
		what string
		b    []byte
		want image
		ok   bool
	}{
		{"raw", []byte("anything"), image{format: "raw"}, true},
		{"empty", nil, image{format: "raw"}, true},
		{"qcow2", qcow2(3, 0, ""), image{format: "qcow2"}, true},
		{"of version 2", qcow2(2, 4, ""), image{format: "qcow2"}, true},
		{"an overlay", qcow2(3, 0, "/srv/base.img"), image{format: "qcow2", backing: "/srv/base.img"}, true},
		{"with its data elsewhere", qcow2(3, 4, ""), image{format: "qcow2", data: true}, true},
		{"a name too long", long, image{}, false},
		{"cut short", cut, image{}, false},
	} {
		got, err := readImage(bytes.NewReader(c.b))
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%s: %+v, %v", c.what, got, err)
		}
	}
}

func FuzzReadImage(f *testing.F) {
	f.Add(qcow2(3, 0, "/srv/base.img"))
	f.Add(qcow2(2, 0, ""))
	f.Add([]byte("QFI\xfb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := readImage(bytes.NewReader(b))
		if err == nil && img.format != "raw" && img.format != "qcow2" {
			t.Errorf("format %q", img.format)
		}
	})
}

func TestRootDisk(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	raw := write("raw.img", []byte("boot"))
	over := write("over.qcow2", qcow2(3, 0, raw))
	kept := filepath.Join(dir, "kept")
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	write("kept/mine.qcow2", qcow2(3, 0, raw))
	write("kept/other.qcow2", qcow2(3, 0, "/srv/other.img"))
	for _, c := range []struct {
		what, name, root, writes string
		want                     disk
		kind                     error
		says                     string
	}{
		{"thrown away", "db", raw, "discard", disk{id: "root", path: raw, format: "raw", discard: true}, nil, ""},
		{"read-only", "db", over, "none", disk{id: "root", path: over, format: "qcow2", readOnly: true}, nil, ""},
		{"through", "db", raw, "through", disk{id: "root", path: raw, format: "raw"}, nil, ""},
		{"kept", "mine", raw, "keep", disk{id: "root", path: kept + "/mine.qcow2", format: "qcow2"}, nil, ""},
		{"through an overlay", "db", over, "through", disk{}, model.ErrInvalid, "built on another file"},
		{"another's overlay", "other", raw, "keep", disk{}, model.ErrInvalid, "/srv/other.img"},
		{"no such image", "db", dir + "/none.img", "discard", disk{}, model.ErrNotFound, "none.img"},
		{"a folder", "db", dir, "discard", disk{}, model.ErrInvalid, "folder"},
		{"an empty file", "db", write("empty.img", nil), "discard", disk{}, model.ErrInvalid, "empty"},
	} {
		d, _, err := rootDisk(model.MachineConfig{Name: c.name, Root: c.root, Writes: c.writes}, kept, procs.User{Name: "this user"})
		switch {
		case c.kind == nil && (err != nil || d != c.want):
			t.Errorf("%s: %+v, %v", c.what, d, err)
		case c.kind != nil && (!errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// TestImageInUse: with the locks that a QEMU takes.
func TestImageInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, []byte("boot"), 0o644); err != nil {
		t.Fatal(err)
	}
	hold := func(at int64) (release func()) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
			t.Fatal(err)
		}
		return func() { f.Close() }
	}
	for _, c := range []struct {
		at          int64
		read, write bool // may be
	}{{lockWriting, false, false}, {lockAlone, true, false}, {100, true, true}} {
		release := hold(c.at)
		for write, may := range map[bool]bool{false: c.read, true: c.write} {
			err := notInUse(path, write)
			if (err == nil) != may || err != nil && !errors.Is(err, model.ErrBusy) {
				t.Errorf("byte %d held, write %v: %v", c.at, write, err)
			}
		}
		release()
	}
}
