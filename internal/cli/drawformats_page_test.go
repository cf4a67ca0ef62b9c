package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// docs/pictures.md has the table of formats as the program has it.
func TestPicturesPageHasEveryFormat(t *testing.T) {
	page, err := os.ReadFile("../../docs/pictures.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range drawFormats {
		endings := ""
		if len(f.endings) > 0 {
			endings = " ." + strings.Join(f.endings, " .")
		}
		if row := fmt.Sprintf("| %s |%s | %s |", f.name, endings, f.what); !strings.Contains(string(page), row) {
			t.Errorf("docs/pictures.md lacks the line\n%s", row)
		}
	}
}
