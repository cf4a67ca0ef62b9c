// Package persist says how a network is written down for the next boot, in the words of
// whoever manages the host's network.
//
// In: the state that a plan leads to, what of it is ours, the DHCP leases that are known,
// and the files that the manager has already. Out: [Files]: paths, contents and reasons;
// and what cannot be said in those words. Nothing is read or written here: no I/O, no
// clock. internal/etc writes files, and takes exactly those away again.
//
// One manager, one file: a new one is a [Manager] in [Managers].
package persist

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// File is a file that is ours alone.
type File struct {
	Path    string      `json:"path"` // absolute
	Mode    fs.FileMode `json:"mode"`
	Content string      `json:"content,omitempty"`
	// Link is where a symbolic link leads; "" for a regular file.
	Link string `json:"link,omitempty"`
	// Why it is there, in a sentence.
	Why string `json:"why"`
}

// Files are what a manager is to read at the next boot.
type Files struct {
	Manager string
	Files   []File
	// Left is what cannot be said in the manager's words, one thing each: our own unit does
	// it at boot.
	Left []string
	// Notes are what a person should know.
	Notes []string
}

// Existing are the files that are there, by absolute path: those that match the
// manager's Reads. What is a link to /dev/null is there, and empty.
type Existing map[string]string

// Manager writes a network down in its own words.
type Manager struct {
	Name string
	// Reads are the patterns (path.Match) of the files that it must know.
	Reads []string
	// Units are systemd's units that read the files at boot.
	Units []string
	// Write does it. What must not be done is refused by its error.
	Write func(Wish, Existing) (Files, error)
}

// The names of managers.
const (
	Networkd  = "networkd"
	Netplan   = "netplan"
	Ifupdown  = "ifupdown"
	Ifupdown2 = "ifupdown2"
	Dhcpcd    = "dhcpcd"
	OwnUnit   = "unit"

	NetworkManager = "NetworkManager"
)

// Managers are those that are known, the one of last resort last.
func Managers() []Manager {
	return []Manager{
		{Networkd, networkdReads, []string{"systemd-networkd.service"}, writeNetworkd},
		{Netplan, netplanReads, []string{"systemd-networkd.service"}, writeNetplan},
		{NetworkManager, keyfileReads, []string{"NetworkManager.service", "NetworkManager-wait-online.service"}, writeNetworkManager},
		{Ifupdown, ifupdownReads, []string{"networking.service"}, writeIfupdown},
		{Ifupdown2, ifupdownReads, []string{"networking.service"}, writeIfupdown2},
		{Dhcpcd, dhcpcdReads, []string{dhcpcdUnit}, writeDhcpcd},
		{OwnUnit, nil, []string{UnitName}, writeOwnUnit},
	}
}

// Names are those of the managers.
func Names() (out []string) {
	for _, m := range Managers() {
		out = append(out, m.Name)
	}
	return out
}

// Find finds a manager by name.
func Find(name string) (Manager, error) {
	for _, m := range Managers() {
		if m.Name == name {
			return m, nil
		}
	}
	return Manager{}, &Refusal{Object: name, Reason: "nothing can be written for this manager", Hint: "--manager with one of " + strings.Join(Names(), ", ")}
}

// Plan says which files bring the wish back at the next boot: the manager's, and those of
// our own unit for what it cannot say.
func (m Manager) Plan(w Wish, have Existing) (Files, error) {
	out, err := m.Write(w, have)
	if err != nil {
		return out, err
	}
	out.Manager = m.Name
	out.Left = append(out.Left, w.Rest...)
	if m.Name != OwnUnit && len(out.Left) > 0 {
		unit, err := writeOwnUnit(w, have)
		if err != nil {
			return out, err
		}
		out.Files = append(out.Files, unit.Files...)
		out.Notes = append(out.Notes, unit.Notes...)
	}
	slices.SortStableFunc(out.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// Refusal is a reason why nothing is written.
type Refusal struct {
	Object string // the file or link that it is about
	Reason string
	Hint   string
}

func (r *Refusal) Error() string {
	msg := r.Object + ": " + r.Reason
	if r.Hint != "" {
		msg += "\n  hint: " + r.Hint
	}
	return msg
}

// mark begins every file of ours.
func mark(what string) string {
	return fmt.Sprintf("# Written by drawbridge: %s.\n# 'drawbridge persist remove' takes it away; changed by hand, it is kept and left alone.\n", what)
}
