package initrd

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestInitrdRoundTrip(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	i := Initrd{Init: write("drawbridge", "the program"), Config: []byte("{}"), Modules: []string{write("crc.ko", "crc"), write("ipv6.ko", "six")}}
	var b bytes.Buffer
	if err := i.Write(&b); err != nil {
		t.Fatal(err)
	}
	got := readCPIO(t, b.Bytes())
	for name, want := range map[string]entry{
		"dev": {0o040755, 0, 0, ""}, "dev/console": {0o020600, 5, 1, ""}, "modules": {0o040755, 0, 0, ""},
		"drawbridge.json": {0o100600, 0, 0, "{}"}, "modules/00-crc.ko": {0o100600, 0, 0, "crc"},
		"modules/01-ipv6.ko": {0o100600, 0, 0, "six"}, "init": {0o100755, 0, 0, "the program"},
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
}

type entry struct {
	mode, major, minor int64
	text               string
}

// readCPIO reads the new ASCII format as its specification has it.
func readCPIO(t *testing.T, b []byte) map[string]entry {
	t.Helper()
	out := map[string]entry{}
	for at := 0; ; {
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d: %q", at, b[at:at+6])
		}
		field := func(n int) int64 {
			v, err := strconv.ParseInt(string(b[at+6+8*n:at+14+8*n]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		begin, size := at+110, int(field(6))
		name := string(b[begin : begin+int(field(11))-1])
		data := (begin + int(field(11)) + 3) &^ 3
		if name == "TRAILER!!!" {
			return out
		}
		out[name] = entry{field(1), field(9), field(10), string(b[data : data+size])}
		at = (data + size + 3) &^ 3
	}
}

func TestModulesInOrderOfLoading(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadModules(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without modules.dep: %v", err)
	}
	write("modules.dep", "a/x.ko: b/ipv6.ko\nb/ipv6.ko: c/two.ko c/one.ko\nc/one.ko:\nc/two.ko: c/one.ko\nd/virtio-net.ko.xz: c/one.ko\n")
	write("modules.builtin", "kernel/virtio_pci.ko\n")
	m, err := ReadModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, missing := m.InOrder("ipv6", "virtio_net", "virtio_pci", "nothing")
	want := []string{"c/one.ko", "c/two.ko", "b/ipv6.ko", "d/virtio-net.ko.xz"}
	for i := range want {
		want[i] = filepath.Join(dir, want[i])
	}
	if !slices.Equal(files, want) || !slices.Equal(missing, []string{"nothing"}) {
		t.Errorf("got %v, missing %v", files, missing)
	}
}
