package preflight

import (
	"fmt"
	"path"
	"strings"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
)

// managers tells who else sees to the uplink, and what that would do to the move. What a
// DHCP client does with its lease is internal/keeper's to tell.
func (c *checker) managers() {
	l := c.Before.Here().Link(c.move.From)
	if l == nil {
		return
	}
	var several []string
	for _, m := range l.Managers {
		severity, hint := Note, ""
		good := manager.ForGood(m, l.Name)
		told := ""
		switch {
		case m.Acts && model.CanBeTold(m.Name):
			told = "; it is told to leave it alone until the next boot"
			if m.Silent != "" {
				severity = Warn
			}
			hint = "for good: drawbridge persist write"
		case m.Acts:
			severity = Warn
		}
		if m.Acts {
			several = append(several, m.Name)
		}
		if good != "" && told == "" && (m.Acts || m.Writer != "") {
			hint = "try it with --confirm 60s; for good: " + good
		}
		c.add(severity, l.Name, fmt.Sprintf("%s manages it%s: %s%s%s", m.Name, known(m), m.WouldDo, told, silent(m)), hint)
	}
	if len(several) > 1 {
		c.add(Warn, l.Name, fmt.Sprintf("%s all manage it: each may undo what another does, and what drawbridge does", strings.Join(several, " and ")),
			"let one of them manage it, and take it from the others first")
	}
}

// known tells how it is known: by its file, else by its process.
func known(m model.Manager) string {
	switch where := m.Where(); {
	case where != "" && m.Profile != "":
		return fmt.Sprintf(" (%s, in %s)", m.Profile, where)
	case where != "":
		return " (" + where + ")"
	case m.PID != 0:
		return fmt.Sprintf(" (process %d)", m.PID)
	default:
		return ""
	}
}

func silent(m model.Manager) string {
	if m.Silent == "" {
		return ""
	}
	return " (it could not be asked: " + m.Silent + ")"
}

// portAccess: with 802.1X a switch's port knows one station.
func (c *checker) portAccess() {
	for _, p := range c.Facts.Processes {
		if p.Command != "wpa_supplicant" || !p.Names(c.move.From) {
			continue
		}
		if speaksWired(p.Args) {
			c.add(Warn, c.move.From, fmt.Sprintf("this host authenticates itself to the switch (802.1X, wpa_supplicant pid %d): the switch lets the host's MAC address through, and often none of a machine's; answers sent to that address go into the bridge", p.PID),
				"ask for a port without 802.1X, or for multi-host mode")
		}
	}
}

func speaksWired(args []string) bool {
	for _, a := range args {
		if strings.HasPrefix(path.Base(a), "-D") && strings.Contains(a, "wired") || a == "wired" {
			return true
		}
	}
	return false
}
