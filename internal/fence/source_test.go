package fence

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxLines is where a file is too long to be read at a sitting; about 400 is where it
// asks to be split.
const maxLines = 500

// TestPackagesAreDocumented: a package's comment says what it is for, what goes in and
// out, and what it may not do.
func TestPackagesAreDocumented(t *testing.T) {
	documented := map[string]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		doc := s.file.Doc.Text()
		if _, seen := documented[s.dir]; !seen || doc != "" {
			documented[s.dir] = doc
		}
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + filepath.Base(s.dir) + " "
		}
		if doc != "" && !strings.HasPrefix(doc, want) {
			t.Errorf("%s: the package comment begins with %q, not %q", s.path, firstLine(doc), want)
		}
	}
	for dir, doc := range documented {
		if doc == "" {
			t.Errorf("%s: the package has no comment that says what it is for", dir)
		}
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if n := strings.Count(s.text, "\n"); n > maxLines {
			t.Errorf("%s has %d lines; %d is the most: it holds more than one thing", s.path, n, maxLines)
		}
	}
}

// undone are the words for what is not done; put together here, so that this file has none.
var undone = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}, "|") + `)\b`)

// TestNothingIsLeftUndone: what is not done is in docs/decisions or in the README's
// limits, not in a comment.
func TestNothingIsLeftUndone(t *testing.T) {
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			if found := undone.FindString(group.Text()); found != "" {
				t.Errorf("%s: %s: finish it, or write it into docs/decisions", s.set.Position(group.Pos()), found)
			}
		}
	}
}

// homes are folders of somebody's own machine.
var homes = regexp.MustCompile(`/(home|Users)/[A-Za-z][A-Za-z0-9_.-]*|[A-Z]:\\Users\\`)

// TestNoWorkplaceNames: nothing names the machine that it was written on. What is
// asked for is what this run can see of its own machine: the module's folder, the
// module proxy, and homes.
func TestNoWorkplaceNames(t *testing.T) {
	top, err := root()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	// A clone right below / or in a common place would find its own documentation.
	if parts := strings.Split(strings.Trim(top, "/"), "/"); len(parts) >= 2 && len(top) >= 8 {
		names = append(names, top)
	}
	for _, proxy := range strings.FieldsFunc(os.Getenv("GOPROXY"), func(r rune) bool { return r == ',' || r == '|' }) {
		_, host, _ := strings.Cut(proxy, "://")
		host, _, _ = strings.Cut(host, "/")
		if host != "" && host != "proxy.golang.org" {
			names = append(names, host)
		}
	}
	walk(t, func(path string) {
		text := read(t, path)
		if len(text) > 1<<20 || !utf8.ValidString(text) {
			return
		}
		for _, name := range names {
			if strings.Contains(text, name) {
				t.Errorf("%s names this machine: %s", path, name)
			}
		}
		if found := homes.FindString(text); found != "" && !strings.HasSuffix(found, "/alice") {
			t.Errorf("%s names somebody's home: %s (alice is everybody's example)", path, found)
		}
	})
}
