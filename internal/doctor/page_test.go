package doctor

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/doctor.md")

func TestPage(t *testing.T) {
	const file = "../../docs/doctor.md"
	if *update {
		if err := os.WriteFile(file, []byte(Page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(file)
	if err != nil || string(was) != Page() {
		t.Errorf("docs/doctor.md is not of these checks (%v): go test ./internal/doctor -update", err)
	}
}
