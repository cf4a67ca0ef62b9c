package fence

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dependencies are what docs/dependencies.md lists: by module, where it is used.
func dependencies(t *testing.T) map[string]string {
	t.Helper()
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (program|tests) \\| (.+) \\|$")
	out := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		if len(strings.Fields(m[3])) < 3 {
			t.Errorf("docs/dependencies.md: %s without a reason", m[1])
		}
		out[m[1]] = m[2]
	}
	return out
}

// forTests are the folders that nothing but tests imports.
var forTests = []string{"internal/testnet", "internal/testbrowser", "internal/testwiring"}

// TestDependenciesAreReviewed: a module comes in with a line in docs/dependencies.md
// that says why, and goes out with it.
func TestDependenciesAreReviewed(t *testing.T) {
	modules := required(t)
	used := map[string]string{}
	for _, s := range sources(t) {
		for _, path := range s.imports() {
			if isStandard(path) || strings.HasPrefix(path, module+"/") {
				continue
			}
			m := moduleOf(path, modules)
			if m == "" {
				t.Errorf("%s imports %s, which no module of go.mod has", s.path, path)
				continue
			}
			if !s.test && !slices.Contains(forTests, s.dir) {
				used[m] = "program"
			} else if used[m] == "" {
				used[m] = "tests"
			}
		}
	}
	listed := dependencies(t)
	for _, m := range slices.Sorted(maps.Keys(used)) {
		switch listed[m] {
		case used[m]:
		case "":
			t.Errorf("%s (%s) is not in docs/dependencies.md: add its line, with the reason", m, used[m])
		default:
			t.Errorf("docs/dependencies.md says %s is for %s; it is for %s", m, listed[m], used[m])
		}
	}
	for _, m := range slices.Sorted(maps.Keys(listed)) {
		if used[m] == "" {
			t.Errorf("%s is in docs/dependencies.md, and nothing imports it", m)
		}
	}
}

// required are the modules of go.mod.
func required(t *testing.T) []string {
	t.Helper()
	row := regexp.MustCompile(`(?m)^(?:require|\t)\s*([^\s()]+\.[^\s()]+) v`)
	var out []string
	for _, m := range row.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		out = append(out, m[1])
	}
	return out
}

func moduleOf(path string, modules []string) string {
	best := ""
	for _, m := range modules {
		if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}
