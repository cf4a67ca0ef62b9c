package persist

import (
	"path"
	"strings"
)

// section is one section of a systemd file, with its lines as they stand: a section may
// come several times, and a key too (systemd.syntax(7)).
type section struct {
	name  string
	lines []line
}

type line struct{ key, value string }

// parseINI reads systemd's syntax: comments and empty lines are left out, a line that ends
// with a backslash goes on in the next one. Lines that are neither are told by number.
func parseINI(text string) (out []section, wrong []int) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	pending := ""
	for i, raw := range strings.Split(text, "\n") {
		s := strings.TrimSpace(raw)
		if s == "" && pending == "" || strings.HasPrefix(s, "#") || strings.HasPrefix(s, ";") {
			continue
		}
		if cut, goesOn := strings.CutSuffix(s, `\`); goesOn {
			pending += cut + " "
			continue
		}
		s, pending = pending+s, ""
		if name, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(name, "]") {
			out = append(out, section{name: strings.TrimSuffix(name, "]")})
			continue
		}
		key, value, ok := strings.Cut(s, "=")
		if !ok || len(out) == 0 {
			wrong = append(wrong, i+1)
			continue
		}
		last := &out[len(out)-1]
		last.lines = append(last.lines, line{strings.TrimSpace(key), strings.TrimSpace(value)})
	}
	return out, wrong
}

// values are all values of a key in the sections of a name.
func values(sections []section, name, key string) []string {
	var out []string
	for _, s := range sections {
		for _, l := range s.lines {
			if s.name == name && l.key == key {
				out = append(out, l.value)
			}
		}
	}
	return out
}

// ini writes sections, one after the other.
type ini struct{ strings.Builder }

func (b *ini) section(name string, lines ...string) {
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	b.WriteString("[" + name + "]\n")
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
}

// globs tells whether a name matches one of the patterns of a list with blanks between; a
// list that begins with ! is turned round (systemd.network(5), [Match]).
func globs(list, name string) bool {
	list, not := strings.CutPrefix(list, "!")
	for _, pattern := range strings.Fields(list) {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return !not
		}
	}
	return not
}
