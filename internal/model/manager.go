package model

import (
	"cmp"
	"slices"
	"strings"
)

// How it is known that a manager sees to a link.
type How string

// The ways of knowing, the surest first.
const (
	Asked     How = "asked"   // by its own word, over D-Bus
	ByFile    How = "file"    // by its state files, while it runs, or where nothing of it runs between two commands
	ByProcess How = "process" // it runs in this namespace, and its arguments or sockets say so
)

// Manager is a program beside us that sees to a link: gives it addresses, brings it up,
// or would do so again.
type Manager struct {
	Name string `json:"name"` // NetworkManager, systemd-networkd, ifupdown, dhcpcd ..., else as its process is called
	How  How    `json:"how"`
	PID  int    `json:"pid,omitempty"` // 0: it has no process between two commands
	// File is where it says so: its file for the link, else its state file or socket.
	File string `json:"file,omitempty"`
	// Profile is what it calls its settings for the link: a connection's id, "" for none.
	Profile string `json:"profile,omitempty"`
	// Writer is who writes the manager's files anew: netplan, cloud-init, Ansible ..., ""
	// for a person.
	Writer string `json:"writer,omitempty"`
	// WriterFile is the file that Writer makes the manager's from, "" if unknown.
	WriterFile string `json:"writer_file,omitempty"`
	// Acts: it may do something to the link by itself, without being told again.
	Acts bool `json:"acts,omitempty"`
	// Client: it is a DHCP client, and sees to an address alone.
	Client bool `json:"client,omitempty"`
	// WouldDo tells in words what it would do to a link whose place has changed.
	WouldDo string `json:"would_do,omitempty"`
	// Told: it has the link by its files, and was told to leave it alone for now.
	Told bool `json:"told,omitempty"`
	// Silent tells why it could not be asked, "" where it answered or has nothing to ask.
	Silent string `json:"silent,omitempty"`
}

// Where is the file to look at and who wrote it, in words, "" if neither is known.
func (m Manager) Where() string {
	if m.Writer == "" || m.File == "" {
		return cmp.Or(m.File, m.Writer)
	}
	return m.File + ", written by " + m.Writer
}

// managersOf names those of a link, the ones that were told to leave it alone in
// parentheses.
func managersOf(l *Link) string {
	var names []string
	for _, m := range l.Managers {
		name := m.Name
		if m.Told {
			name = "(" + name + ")"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
