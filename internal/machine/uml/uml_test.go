package uml

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

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
	got := strings.Join(arguments(m, &root{embedded: true}, []device{{name: "vec1", spec: "transport=tap,ifname=tap0", sep: ":"}}), " ")
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
	if dir, err := memoryDir(1<<20, procs.User{}); err != nil || dir != os.Getenv("TMPDIR") {
		t.Errorf("got %s, %v", dir, err)
	}
	if _, err := memoryDir(1<<60, procs.User{}); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("without room: %v", err)
	}
	if why := unfit("/nowhere", 0, procs.User{}); why == "" {
		t.Error("a folder that is not there is fit for a guest's memory")
	}
}
