package qemu

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge/internal/model"
)

// bzImage is the beginning of an x86 kernel of a release.
func bzImage(release string) []byte {
	b := make([]byte, 0x800)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x400)
	copy(b[0x600:], release+" (builder@host) #1 SMP")
	return b
}

func TestRelease(t *testing.T) {
	for _, c := range []struct {
		path string
		head []byte
		want string
	}{
		{"/boot/vmlinuz", bzImage("6.1.0-9-cloud-amd64"), "6.1.0-9-cloud-amd64"},
		{"/boot/vmlinuz-6.1.0-9-arm64", append([]byte("\x1f\x8b"), make([]byte, 100)...), "6.1.0-9-arm64"},
		{"/srv/Image", append(append(make([]byte, 56), "ARM\x64"...), make([]byte, 100)...), "unknown"},
		{"/bin/notes", []byte("to do"), ""},
		{"/bin/empty", nil, ""},
	} {
		got, err := parseRelease(c.path, c.head)
		if got != c.want || (err == nil) == (c.want == "") {
			t.Errorf("%s: %q, %v", c.path, got, err)
		}
	}
	bad := bzImage("x")
	binary.LittleEndian.PutUint16(bad[0x20e:], 0xffff) // its version lies outside
	if got, err := parseRelease("/boot/vmlinuz", bad); err == nil {
		t.Errorf("a version outside of the file: %q", got)
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add(bzImage("6.1.0"))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if release, err := parseRelease("/boot/vmlinuz-6", head); err == nil && (release == "" || strings.ContainsAny(release, " \x00")) {
			t.Errorf("release %q", release)
		}
	})
}

func TestFindKernel(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	boot := filepath.Join(dir, "boot")
	p := platformNamed(t, "")
	if _, err := findKernel(p, "", boot); !errors.Is(err, model.ErrNotFound) || !strings.Contains(err.Error(), "docs/qemu.md") {
		t.Errorf("none: %v", err)
	}
	for _, release := range []string{"6.1.0-10-amd64", "6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64"} {
		write("boot/vmlinuz-"+release, bzImage(release))
	}
	write("boot/vmlinuz-0-rescue-cloud", bzImage("0"))
	const newest = "6.1.0-10-cloud-amd64"
	k, err := findKernel(p, "", boot)
	if err != nil || k.release != newest || k.modules != nil {
		t.Errorf("without modules: %+v, %v", k, err)
	}
	modules := "lib/modules/" + newest + "/"
	write(modules+"modules.dep", []byte("a/virtio_pci.ko: b/virtio.ko\nb/virtio.ko:\nc/virtio_net.ko: b/virtio.ko\n"))
	if k, err = findKernel(p, "", boot); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), "virtio_console") {
		t.Errorf("a module lacks: %+v, %v", k, err)
	}
	write(modules+"modules.builtin", []byte("kernel/drivers/char/virtio_console.ko\n"))
	if k, err = findKernel(p, "", boot); err != nil || len(k.modules) != 3 || filepath.Base(k.modules[0]) != "virtio.ko" {
		t.Errorf("%+v, %v", k, err)
	}
	write("notes", []byte("to do"))
	if _, err := findKernel(p, filepath.Join(dir, "notes")); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("no kernel: %v", err)
	}
	if _, err := findKernel(p, filepath.Join(dir, "nothing")); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("no file: %v", err)
	}
}
