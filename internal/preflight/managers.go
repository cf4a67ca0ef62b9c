package preflight

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Process is a process of the namespace.
type Process struct {
	PID     int
	Command string // /proc/PID/comm
	Args    []string
}

// names tells whether an argument is the link's name, or ends in it as -ieth0 does.
func (p Process) names(link string) bool {
	return slices.ContainsFunc(p.Args, func(a string) bool {
		return a == link || strings.HasPrefix(a, "-") && strings.HasSuffix(a, link)
	})
}

// State is what a network manager's state file says of a link.
type State struct {
	Manager string // NetworkManager, systemd-networkd, ifupdown, ifupdown2
	Link    string
	File    string
	// Writer is who writes the manager's files anew: netplan, cloud-init, "" for a person.
	Writer string
}

// file tells the state's file and who wrote it.
func (s State) file() string {
	if s.Writer == "" {
		return s.File
	}
	return s.File + ", written by " + s.Writer
}

// forGood is how the manager is kept away from the link for good.
func (s State) forGood(own string) string {
	switch s.Writer {
	case "netplan":
		return "try it with --confirm 60s; for good: take " + s.Link + " out of the files in /etc/netplan, which are what " + s.Manager + "'s are made of"
	case "cloud-init":
		return "try it with --confirm 60s; for good: 'network: {config: disabled}' in a file of /etc/cloud/cloud.cfg.d, or cloud-init writes it anew at the next boot; then " + own
	default:
		return "try it with --confirm 60s; for good: " + own
	}
}

// managers: DHCP clients are internal/keeper's to find.
func (c *checker) managers() {
	for _, s := range c.Facts.States {
		if s.Link != c.move.From {
			continue
		}
		switch s.Manager {
		case "NetworkManager":
			c.add(Warn, s.Link, fmt.Sprintf("NetworkManager manages it (%s): it may give it its addresses again, or take it out of %s", s.file(), c.move.To),
				s.forGood("unmanaged-devices=interface-name:"+s.Link+" in a file of /etc/NetworkManager/conf.d"))
		case "systemd-networkd":
			c.add(Warn, s.Link, fmt.Sprintf("systemd-networkd manages it (%s): a reload, or a cable that is plugged in again, gives it its addresses again", s.file()),
				s.forGood("Unmanaged=yes in its .network file"))
		default:
			hint, again := "", "'ifdown "+s.Link+"'"
			if s.Manager == "ifupdown2" {
				again = "'ifreload -a'"
			}
			if s.Writer != "" {
				hint = s.forGood("take it out of /etc/network/interfaces.d")
			}
			c.add(Note, s.Link, fmt.Sprintf("%s has brought it up (%s): it does nothing by itself, but %s or a restart of networking takes the host off %s", s.Manager, s.file(), again, c.move.To), hint)
		}
	}
}

// portAccess: with 802.1X a switch's port knows one station.
func (c *checker) portAccess() {
	for _, p := range c.Facts.Processes {
		if p.Command != "wpa_supplicant" || !p.names(c.move.From) {
			continue
		}
		wired := slices.ContainsFunc(p.Args, func(a string) bool {
			return strings.HasPrefix(path.Base(a), "-D") && strings.Contains(a, "wired") || a == "wired"
		})
		if wired {
			c.add(Warn, c.move.From, fmt.Sprintf("this host authenticates itself to the switch (802.1X, wpa_supplicant pid %d): the switch lets the host's MAC address through, and often none of a machine's; answers sent to that address go into the bridge", p.PID),
				"ask for a port without 802.1X, or for multi-host mode")
		}
	}
}
