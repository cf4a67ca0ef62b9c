package manager

import (
	"strings"

	"drawbridge/internal/model"
)

// does is what a manager would do to a link whose place in the network changes: LINK is
// the link.
var does = map[string]string{
	NetworkManager: "it may give LINK its addresses again, or take it out of the bridge: when its profile is activated anew, a cable is plugged in again, or it starts anew",
	Networkd:       "a reload, a restart, or a cable that is plugged in again gives LINK its addresses again and takes it out of the bridge",
	Ifupdown:       "nothing by itself, but 'ifdown LINK' or a restart of networking takes the host off the bridge",
	Ifupdown2:      "nothing by itself, but 'ifreload -a' or a restart of networking takes the host off the bridge",
	"dhclient":     "it goes on renewing, and may put the address on LINK again, from where it is taken off; 'dhclient -r' would give the lease back",
	"dhcpcd":       "it may put the address on LINK again, from where it is taken off; 'dhcpcd -k LINK' would give the lease back",
	"udhcpc":       "it hears nothing at LINK any more; when its lease is over it may clear LINK, and nothing else",
	"ConnMan":      "it may give LINK its addresses again, or take it out of the bridge",
	"wicked":       "nothing by itself, but 'wicked ifreload' or a restart takes the host off the bridge",
	"netifd":       "a reload of its configuration gives LINK its addresses again and takes it out of the bridge",
}

// describe completes what is known of a manager: who writes its files, and what it would do.
func (s System) describe(m *model.Manager, link string) {
	if m.File != "" {
		s.written(m, link)
	}
	format, known := does[m.Name]
	if !known {
		format = "it is not known here: it may give LINK its addresses again when its lease is renewed"
	}
	m.WouldDo = strings.ReplaceAll(format, "LINK", link)
}

// ForGood tells how a manager is kept away from a link for good, "" where nothing need be
// done.
func ForGood(m model.Manager, link string) string {
	own := map[string]string{
		NetworkManager: "unmanaged-devices=interface-name:" + link + " in a file of /etc/NetworkManager/conf.d",
		Networkd:       "Unmanaged=yes in its .network file",
		Ifupdown:       "take it out of /etc/network/interfaces.d",
		Ifupdown2:      "take it out of /etc/network/interfaces.d",
		"dhcpcd":       "denyinterfaces " + link + " in /etc/dhcpcd.conf",
	}[m.Name]
	switch {
	case m.Writer == "netplan":
		return "take " + link + " out of the files in /etc/netplan, which are what " + m.Name + "'s are made of"
	case m.Writer == "cloud-init":
		return "'network: {config: disabled}' in a file of /etc/cloud/cloud.cfg.d, or cloud-init writes it anew at the next boot; then " + own
	case m.Writer != "":
		return "tell " + m.Writer + ", which writes its file anew; there " + own
	default:
		return own
	}
}
