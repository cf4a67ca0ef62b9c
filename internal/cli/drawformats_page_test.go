package cli

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"drawbridge/internal/draw"
)

var update = flag.Bool("update", false, "write the tables of docs/pictures.md anew")

// The tables of docs/pictures.md are the program's own: its signs and its formats.
func TestPicturesPage(t *testing.T) {
	const path = "../../docs/pictures.md"
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(was)
	for name, table := range map[string]string{"signs": signTable(), "formats": formatTable()} {
		block := regexp.MustCompile(`(?s)(<!-- ` + name + `: made by "make golden" -->\n).*?(\n<!-- end -->)`)
		if !block.MatchString(page) {
			t.Fatalf("docs/pictures.md has no place for the %s", name)
		}
		page = block.ReplaceAllStringFunc(page, func(s string) string {
			m := block.FindStringSubmatch(s)
			return m[1] + table + m[2]
		})
	}
	switch {
	case page == string(was):
	case *update:
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("docs/pictures.md is not as the program is; make golden")
	}
}

func signTable() string {
	var b strings.Builder
	b.WriteString("| sign | is |\n|---|---|\n")
	for _, s := range draw.Vocabulary {
		fmt.Fprintf(&b, "| %s | %s |\n", s.Looks, s.Means)
	}
	return b.String()
}

func formatTable() string {
	var b strings.Builder
	b.WriteString("| format | endings | is |\n|---|---|---|\n")
	for _, f := range drawFormats {
		endings := ""
		if len(f.endings) > 0 {
			endings = " ." + strings.Join(f.endings, " .")
		}
		fmt.Fprintf(&b, "| %s |%s | %s |\n", f.name, endings, f.what)
	}
	return b.String()
}
