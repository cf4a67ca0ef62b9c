package manager

import (
	"cmp"
	"path"
	"strings"

	"drawbridge/internal/model"
)

// The managers that are commands: nothing of them runs between two.
const (
	Ifupdown  = model.Ifupdown
	Ifupdown2 = "ifupdown2"
)

// commands are the managers without a process that have brought a link up. Whose network
// namespace their files are about nobody notes: it is the host's own.
func (s System) commands(link string) (out []model.Manager) {
	if s.Named {
		return nil
	}
	stanza := s.stanza(link)
	if strings.Contains("\n"+s.read(ifstate), "\n"+link+"=drawbridge-"+link+"\n") {
		stanza = s.stanza("drawbridge-" + link) // mapped: see internal/persist
	}
	if file := "run/network/ifstate"; strings.Contains("\n"+s.read(file), "\n"+link+"=") {
		out = append(out, model.Manager{Name: Ifupdown, How: model.ByFile, File: "/" + cmp.Or(stanza, file)})
	}
	if file := "var/tmp/network/ifstatenew"; pickled(s.read(file), link) {
		out = append(out, model.Manager{Name: Ifupdown2, How: model.ByFile, File: "/" + cmp.Or(stanza, file)})
	}
	return out
}

// stanza is the file of interfaces(5) that has a stanza for a link, "" for none.
func (s System) stanza(link string) string {
	const main, dir = "etc/network/interfaces", "etc/network/interfaces.d"
	files := []string{main}
	for _, name := range s.list(dir) {
		files = append(files, path.Join(dir, name))
	}
	for _, file := range files {
		for line := range strings.Lines(s.read(file)) {
			if w := strings.Fields(line); len(w) >= 2 && w[0] == "iface" && w[1] == link {
				return file
			}
		}
	}
	return ""
}

// pickled tells whether a file of Python's pickle has a string in it (BINUNICODE and
// SHORT_BINUNICODE: its length in four bytes or in one, then itself).
func pickled(data, text string) bool {
	n := byte(len(text))
	return strings.Contains(data, "X"+string([]byte{n, 0, 0, 0})+text) || strings.Contains(data, "\x8c"+string([]byte{n})+text)
}
