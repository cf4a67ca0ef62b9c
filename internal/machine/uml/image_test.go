package uml

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/model"
)

// disk is an image in the making.
type disk []byte

func (d disk) put(at int, what string) disk { copy(d[at:], what); return d }

func (d disk) mbr(parts ...int) disk {
	d.put(510, "\x55\xaa")
	for i, begin := range parts {
		d[446+16*i+4] = 0x83
		binary.LittleEndian.PutUint32(d[446+16*i+8:], uint32(begin))
	}
	return d
}

func (d disk) gpt(parts ...int) disk {
	d.mbr().put(512, "EFI PART")
	binary.LittleEndian.PutUint64(d[512+72:], 2)
	binary.LittleEndian.PutUint32(d[512+80:], 128)
	binary.LittleEndian.PutUint32(d[512+84:], 128)
	for i, begin := range parts {
		d.put(1024+128*i, "type of the part")
		binary.LittleEndian.PutUint64(d[1024+128*i+32:], uint64(begin))
	}
	return d
}

func TestInspect(t *testing.T) {
	empty := func() disk { return make(disk, 256<<10) }
	const ext = "\x53\xef"
	for _, c := range []struct {
		what string
		disk disk
		want string // device and file system
		says string // or the refusal
	}{
		{"ext4", empty().put(1080, ext), "/dev/ubda ext4", ""},
		{"xfs", empty().put(0, "XFSB"), "/dev/ubda xfs", ""},
		{"btrfs", empty().put(65600, "_BHRfS_M"), "/dev/ubda btrfs", ""},
		{"squashfs", empty().put(0, "hsqs"), "/dev/ubda squashfs", ""},
		{"an MBR", empty().mbr(64, 128).put(128*512+1080, ext), "/dev/ubda2 ext4", ""},
		{"a GPT with a boot partition", empty().gpt(64, 128).put(64*512+82, "FAT32").put(128*512+1080, ext), "/dev/ubda2 ext4", ""},
		{"boot partitions only", empty().gpt(64).put(64*512+82, "FAT32"), "", "none of its 1 partitions"},
		{"zeros", empty(), "", "mkfs.ext4"},
		{"a table that leads nowhere", empty().mbr(1 << 30), "", "none of its 1 partitions"},
		{"qcow2", empty().put(0, "QFI\xfb"), "", "qemu-img convert"},
		{"gzip", empty().put(0, "\x1f\x8b"), "", "gunzip"},
		{"an overlay", empty().put(0, "OOOM"), "", "COW overlay"},
		{"nothing", disk("short"), "", "no disk image"},
	} {
		got, err := inspect(bytes.NewReader(c.disk), int64(len(c.disk)))
		switch {
		case c.want != "" && (err != nil || got.device()+" "+got.fs != c.want):
			t.Errorf("%s: got %s %s, %v", c.what, got.device(), got.fs, err)
		case c.want == "" && (!errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte(make(disk, 4096).mbr(2)))
	f.Add([]byte(make(disk, 8192).gpt(4)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = inspect(bytes.NewReader(b), int64(len(b)))
		_, _ = readCOW(bytes.NewReader(b))
	})
}

// TestMakeCOW: what is made is read as what a UML makes, takes no room, and is left alone
// where it is there.
func TestMakeCOW(t *testing.T) {
	dir := t.TempDir()
	image, path := filepath.Join(dir, "image"), filepath.Join(dir, "cow")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 20<<20), os.Chtimes(image, time.Time{}, time.Unix(1234567890, 0))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := makeCOW(path, image); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := readCOW(f)
	if want := (cow{3, 1234567890, 20 << 20, image}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	// 8192 for the header, 5120 for the bitmap of 40960 sectors, and both in pages.
	if st, err := f.Stat(); err != nil || st.Size() != 8192+8192+20<<20 || st.Sys().(*syscall.Stat_t).Blocks*512 > 64<<10 {
		t.Errorf("its size: %+v, %v", st, err)
	}
}

func TestReadCOW(t *testing.T) {
	b := make([]byte, 8192)
	copy(b, "OOOM\x00\x00\x00\x03")
	binary.BigEndian.PutUint32(b[8:], 1234567890)
	binary.BigEndian.PutUint64(b[12:], 20<<20)
	copy(b[32:], "/srv/debian.img")
	got, err := readCOW(bytes.NewReader(b))
	if want := (cow{3, 1234567890, 20 << 20, "/srv/debian.img"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	b[7] = 2
	if _, err := readCOW(bytes.NewReader(b)); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("an old version: %v", err)
	}
	if _, err := readCOW(strings.NewReader("OOOM")); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("cut off: %v", err)
	}
}
