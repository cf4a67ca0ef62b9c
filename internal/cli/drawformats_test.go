package cli

import (
	"strings"
	"testing"
)

// TestFormats looks that each format is found by its name and by each of its endings,
// that no two share one, and that what nobody has is an error with a hint.
func TestFormats(t *testing.T) {
	seen := map[string]string{}
	for _, f := range drawFormats {
		if got, err := findFormat(f.name, "x.svg"); err != nil || got.name != f.name {
			t.Errorf("--format %s is %q, %v", f.name, got.name, err)
		}
		for _, e := range f.endings {
			if other := seen[e]; other != "" {
				t.Errorf("%s and %s have the ending .%s", other, f.name, e)
			}
			seen[e] = f.name
			if got, err := findFormat("", "a.b/X."+strings.ToUpper(e)); err != nil || got.name != f.name {
				t.Errorf(".%s is %q, %v", e, got.name, err)
			}
		}
	}
	if got, err := findFormat("", ""); err != nil || got.name != "terminal" {
		t.Errorf("without -o it is %q, %v", got.name, err)
	}
	for _, bad := range [][2]string{{"pdf", ""}, {"", "x.pdf"}, {"txt", ""}} {
		if _, err := findFormat(bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("%q: no hint in %v", bad, err)
		}
	}
}
