package manager

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ifupdown's notes of what is up: all in one file, and one of each link, which counts
// (ifupdown's main.c, update_state and read_state).
const (
	ifstate     = "run/network/ifstate"
	ifstateLock = "run/network/.ifstate.lock"
)

// ifupdownNotes notes links as up, each by the stanza of ours that says how: an uplink is
// mapped to another than its own.
func (s System) ifupdownNotes(root string, links []string) error {
	text := s.read("etc/network/interfaces.d/drawbridge")
	stanzas := map[string]string{}
	for _, link := range links {
		stanzas[link] = link
		if strings.Contains(text, "\tmap drawbridge-"+link+"\n") {
			stanzas[link] = "drawbridge-" + link
		}
	}
	return noteUp(root, links, stanzas)
}

// ifupdownForgets notes links as they were without us: one that is there is up by its own
// stanza, the others are not.
func (s System) ifupdownForgets(root string, links []string) error {
	stanzas := map[string]string{}
	for _, link := range links {
		if s.stanza(link) != "" && s.stanza(link) != "etc/network/interfaces.d/drawbridge" {
			stanzas[link] = link
		}
	}
	return noteUp(root, links, stanzas)
}

// noteUp writes the notes of links, under ifupdown's own lock; "" is that it is not up.
func noteUp(root string, links []string, stanzas map[string]string) (err error) {
	lock, err := os.OpenFile(filepath.Join(root, ifstateLock), os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // as ifupdown makes it
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.FcntlFlock(lock.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}); err != nil {
		return fmt.Errorf("ifup or ifdown is at work (%s: %w)", ifstateLock, err)
	}
	path := filepath.Join(root, ifstate)
	was, err := os.ReadFile(path)
	if gone(err) != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(string(was)) {
		if link, _, _ := strings.Cut(line, "="); !slices.Contains(links, link) {
			lines = append(lines, line)
		}
	}
	for _, link := range links {
		own := path + "." + link
		stanza := stanzas[link]
		if stanza == "" {
			if err := gone(os.Remove(own)); err != nil {
				return err
			}
			continue
		}
		lines = append(lines, link+"="+stanza+"\n")
		if err := os.WriteFile(own, []byte(stanza+"\n"), 0o644); err != nil { //nolint:gosec // as ifupdown writes it
			return err
		}
	}
	if err := os.WriteFile(path+".new", []byte(strings.Join(lines, "")), 0o644); err != nil { //nolint:gosec // the same
		return err
	}
	return os.Rename(path+".new", path)
}
