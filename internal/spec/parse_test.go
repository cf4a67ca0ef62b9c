package spec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file below testdata, or writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); -update accepts it:\n%s", path, diff)
	}
}

// files are the cases: a new one is a file, and -update.
func files(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(list) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	return list
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParse(t *testing.T) {
	for _, file := range files(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data := read(t, file)
			want, found := Parse("drawbridge.yaml", data)
			checkDiagnostics(t, data, found)
			out := found.Text(true)
			if !found.HasErrors() {
				text, err := json.MarshalIndent(want, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				out += string(text) + "\n"
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", []byte(out))
		})
	}
}

// checkDiagnostics holds for every file there is.
func checkDiagnostics(t *testing.T, data []byte, found Diagnostics) {
	t.Helper()
	lines := splitLines(data)
	for i, d := range found {
		if d.Line < 1 || d.Line > len(lines) {
			t.Fatalf("line %d of %d: %v", d.Line, len(lines), d)
		}
		if most := utf8.RuneCountInString(lines[d.Line-1]) + 1; d.Column < 1 || d.Column > most {
			t.Fatalf("column %d of %d: %v", d.Column, most, d)
		}
		if d.Message == "" || d.Severity != Error && d.Severity != Warning || d.Code == "" {
			t.Fatalf("half a diagnostic: %+v", d)
		}
		if i > 0 && d.Pos.before(found[i-1].Pos) {
			t.Fatalf("not in order: %v after %v", d, found[i-1])
		}
		for _, r := range d.String() + d.Excerpt() {
			if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Fatalf("a control character %U in %q", r, d.String()+d.Excerpt())
			}
		}
	}
}

// TestTenMistakes: one run tells all of them.
func TestTenMistakes(t *testing.T) {
	_, found := Parse("drawbridge.yaml", read(t, "testdata/ten-mistakes.yaml"))
	if len(found) < 10 {
		t.Errorf("%d findings, want ten and more:\n%s", len(found), found.Text(false))
	}
	if err := found.Err(); err == nil || strings.Count(err.Error(), "drawbridge.yaml:") != len(found) {
		t.Errorf("Err tells other findings than there are: %v", err)
	}
}

func TestExampleIsGood(t *testing.T) {
	want, found := Parse("example", Example())
	if len(found) > 0 {
		t.Fatal(found.Text(true))
	}
	if len(want.Networks) != 2 || len(want.Machines) != 2 || len(want.Taps) != 1 {
		t.Errorf("the example shows %d networks, %d machines, %d taps", len(want.Networks), len(want.Machines), len(want.Taps))
	}
}

// TestLimits: what nobody writes by hand is refused, and soon.
func TestLimits(t *testing.T) {
	laughs := "x-0: &a0 {eth1: {network: lan}}\n"
	for i := 1; i < 12; i++ {
		prev := "*a" + string(rune('a'+i-2))
		if i == 1 {
			prev = "*a0"
		}
		laughs += "x-" + string(rune('a'+i-1)) + ": &a" + string(rune('a'+i-1)) + " [" + strings.Repeat(prev+", ", 9) + prev + "]\n"
	}
	many := "x-m: &m {nics: {" + manyNICs(400) + "}}\nmachines:\n"
	for i := range 400 {
		many += "  m" + strings.Repeat("x", i%20) + string(rune('a'+i/20)) + ": *m\n"
	}
	for name, data := range map[string]string{
		"big":      strings.Repeat("#\n", maxBytes),
		"deep":     strings.Repeat("[", 100_000),
		"deep map": "networks: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000),
		"merges":   laughs + "networks: {<<: *ak}\n",
		"aliases":  many,
		"mistakes": "machines: {" + strings.Repeat("'!': 1, ", 5000) + "}",
	} {
		_, found := Parse(name, []byte(data))
		checkDiagnostics(t, []byte(data), found)
		if !found.HasErrors() {
			t.Errorf("%s: taken", name)
		}
		if len(found) > maxDiagnostics+1 {
			t.Errorf("%s: %d findings", name, len(found))
		}
	}
}

func manyNICs(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("e" + strings.Repeat("y", i%12) + string(rune('A'+i/12)) + ": {}, ")
	}
	return b.String()
}

func TestDefaultTap(t *testing.T) {
	seen := map[string]string{}
	for _, machine := range []string{"web", "web-1", "web-eth1", "a", "a-b", "a-b-c", "a-machine-with-a-long-name", "a-machine-with-a-long-game"} {
		for _, nic := range []string{"eth1", "eth2", "b-c", "c", "b", "fifteen-bytes-x"} {
			tap := DefaultTap(machine, nic)
			if problem, _ := checkLinkName(tap); problem != "" {
				t.Errorf("%s %s: %s", machine, nic, problem)
			}
			if other := seen[tap]; other != "" {
				t.Errorf("%s is of %s and of %s %s", tap, other, machine, nic)
			}
			seen[tap] = machine + " " + nic
		}
	}
	if got := DefaultTap("web", "eth1"); got != "web-eth1" {
		t.Errorf("DefaultTap(web, eth1) = %s", got)
	}
}

func FuzzParse(f *testing.F) {
	list, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range list {
		f.Add(read(f, file))
	}
	f.Add(Example())
	f.Fuzz(func(t *testing.T, data []byte) {
		want, found := Parse("fuzz", data)
		checkDiagnostics(t, data, found)
		if found.HasErrors() {
			return
		}
		checkDesired(t, want)
	})
}

// checkDesired: what a plan may rely on.
func checkDesired(t *testing.T, want Desired) {
	t.Helper()
	links := map[string]bool{}
	once := func(name string) {
		if problem, _ := checkLinkName(name); problem != "" {
			t.Errorf("a link %q: %s", name, problem)
		}
		if links[name] {
			t.Errorf("two links %q", name)
		}
		links[name] = true
	}
	for _, n := range want.Networks {
		once(n.Bridge)
		if n.Mode != Bridged && n.Mode != HostOnly && n.Mode != NAT || (n.NAT != nil) != (n.Mode == NAT) || (n.Uplink != "") != (n.Mode == Bridged) || (len(n.Host.Addresses) > 0) != (n.Host.Mode == HostList) {
			t.Errorf("network %+v", n)
		}
		if n.Uplink != "" && n.Uplink != Auto {
			once(n.Uplink)
		}
	}
	for _, tap := range want.Taps {
		once(tap.Name)
		if tap.Network != "" && want.Network(tap.Network) == nil {
			t.Errorf("tap %+v", tap)
		}
	}
	for _, m := range want.Machines {
		for _, n := range m.NICs {
			once(n.Tap)
			if n.Network != "" && want.Network(n.Network) == nil || n.DHCP && len(n.Addresses) > 0 || n.Network == "" && n.DHCP {
				t.Errorf("machine %s: NIC %+v", m.Name, n)
			}
		}
	}
}
