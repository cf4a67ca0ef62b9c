package cli

import (
	"strings"
	"testing"
)

func TestProgressOfManyMachines(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var b strings.Builder
		used := int64(90 << 20)
		p := &progress{w: &b, terminal: terminal, used: func() int64 { return used }}
		for i, name := range []string{"", "web1", "web2"} {
			p.machines(i, 2, name)
		}
		if !strings.Contains(b.String(), "2 in 0.0 s; the machines here use 90 MiB\n") {
			t.Errorf("terminal %v: no summary in %q", terminal, b.String())
		}
		if lines := strings.Count(b.String(), "\n"); terminal && lines != 1 || !terminal && lines != 3 {
			t.Errorf("terminal %v: %d lines: %q", terminal, lines, b.String())
		}
		// What fails in the middle begins a line of its own; nothing is used by none.
		b.Reset()
		p.machines(1, 2, "web1")
		p.finish()
		p.finish()
		if got := b.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
			t.Errorf("terminal %v: %q", terminal, got)
		}
		used = 0
		b.Reset()
		p.machines(2, 2, "web2")
		if strings.Contains(b.String(), "MiB") {
			t.Errorf("terminal %v: %q", terminal, b.String())
		}
	}
}
