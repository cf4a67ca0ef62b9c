package uml

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"drawbridge/internal/model"
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
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "6.1"), 0o755); err != nil {
		t.Fatal(err)
	}
	dep := "a/x.ko: b/ipv6.ko\nb/ipv6.ko: c/two.ko c/one.ko\nc/one.ko:\n"
	if err := os.WriteFile(filepath.Join(root, "6.1", "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := findModules(root, "6.1", "ipv6.ko")
	want := []string{root + "/6.1/c/one.ko", root + "/6.1/c/two.ko", root + "/6.1/b/ipv6.ko"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := findModules(root, "5.0", "ipv6.ko"); err != nil || got != nil {
		t.Errorf("a release without modules: %v, %v", got, err)
	}
}

func TestDevices(t *testing.T) {
	tap := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0"}
	veth := tap
	veth.Transport = model.TransportVeth
	vector, legacy := Kernel{Vector: true, Legacy: true}, Kernel{Legacy: true}
	for _, c := range []struct {
		kernel Kernel
		nic    model.NICConfig
		want   string
	}{
		{vector, tap, "vec1:transport=tap,ifname=tap0,depth=128,gro=1,mac=02:11:22:33:44:55"},
		{legacy, tap, "eth1=tuntap,tap0,02:11:22:33:44:55"},
		{vector, veth, "vec1:transport=raw,ifname=tap0-vm,depth=128,gro=1,mac=02:11:22:33:44:55"},
		{legacy, veth, ""},
		{Kernel{}, tap, ""},
	} {
		d, err := newDevice(c.kernel, 1, c.nic)
		if (err != nil) != (c.want == "") || err == nil && d.argument() != c.want {
			t.Errorf("%+v: got %q, %v, want %q", c.kernel, d.argument(), err, c.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken []int
		want  int
	}{{"eth1", nil, 1}, {"eth1", []int{1}, 0}, {"lan", []int{0, 1}, 2}, {"eth99", nil, 0}} {
		if got, err := unitFor(c.name, c.taken); err != nil || got != c.want {
			t.Errorf("%s with %v taken: %d, %v", c.name, c.taken, got, err)
		}
	}
	var taken []int
	for n := range maxUnits {
		taken = append(taken, n)
	}
	if _, err := unitFor("eth1", taken); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("one too many: %v", err)
	}
}

func TestArguments(t *testing.T) {
	m := model.MachineConfig{Memory: 64 << 20, Args: []string{"loglevel=7"}}
	got := strings.Join(arguments(m, []device{{"vec1", "transport=tap,ifname=tap0", ":"}}), " ")
	for _, want := range []string{"mem=65536K", "initrd=initrd", "con0=fd:0,fd:1", "ssl0=fd:3,fd:3", "vec1:transport=tap,ifname=tap0", "loglevel=7"} {
		if !slices.Contains(strings.Fields(got), want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
}

func TestLeastMemory(t *testing.T) {
	if got := leastMemory(18_000_000); got != 80<<20 {
		t.Errorf("got %d MiB", got>>20)
	}
}

func TestParseConfig(t *testing.T) {
	k := parseConfig("CONFIG_UML=y\nCONFIG_UML_NET_VECTOR=y\n# CONFIG_UML_NET_TUNTAP is not set\nCONFIG_IPV6=m\n")
	if !k.Vector || k.Legacy || !k.IPv6Module {
		t.Errorf("got %+v", k)
	}
}

func TestMemoryDir(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if dir, err := memoryDir(1 << 20); err != nil || dir != os.Getenv("TMPDIR") {
		t.Errorf("got %s, %v", dir, err)
	}
	if _, err := memoryDir(1 << 60); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("without room: %v", err)
	}
	if why := unfit("/nowhere", 0); why == "" {
		t.Error("a folder that is not there is fit for a guest's memory")
	}
}
