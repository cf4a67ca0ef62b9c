package dot_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"drawbridge/internal/draw/dot"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
)

var hostile = []string{"eth0", `"];evil`, `a\`, `\N\G`, "&lt;&quot;", "<b>x</b>", "a\nb", "]]>", "🦊", "x\u202ey", "ＷＩＤＥ", "}{"}

// TestGraphviz lets dot itself read the graph, and looks that each name is one label.
func TestGraphviz(t *testing.T) {
	if _, err := exec.LookPath("dot"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("graphviz is not installed")
		}
		t.Skip("graphviz is not installed")
	}
	for _, name := range hostile {
		w := model.Wire(walkthrough.States()[6].Snapshot)
		w.Interfaces[0].Name = name
		cmd := exec.Command("dot", "-Tjson")
		cmd.Stdin = strings.NewReader(string(dot.Render(name, w)))
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%q: dot: %v", name, err)
			continue
		}
		var g struct {
			Objects []struct {
				Name string `json:"name"`
			} `json:"objects"`
		}
		if err := json.Unmarshal(out, &g); err != nil {
			t.Fatal(err)
		}
		for _, o := range g.Objects {
			if n := strings.TrimPrefix(o.Name, "cluster_"); strings.Trim(n, "sied0123456789") != "" {
				t.Errorf("%q made the object %q", name, o.Name)
			}
		}
	}
}

// FuzzName looks that a quoted string ends only where it is meant to: with the names
// taken out, the graph is always the same.
func FuzzName(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		skeleton := func(name string) string {
			w := model.Wire(walkthrough.States()[6].Snapshot)
			w.Interfaces[0].Name, w.Stacks[0].Name = name, name
			return outside(string(dot.Render(name+"x", w)))
		}
		if got, want := skeleton(name), skeleton("eth0"); got != want {
			t.Errorf("%q changed the graph:\n%s", name, got)
		}
	})
}

// outside is what is not in quotes.
func outside(s string) string {
	var b strings.Builder
	quoted := false
	for n := 0; n < len(s); n++ {
		switch {
		case s[n] == '"':
			quoted = !quoted
		case quoted && s[n] == '\\':
			n++
		case !quoted:
			b.WriteByte(s[n])
		}
	}
	return b.String()
}
