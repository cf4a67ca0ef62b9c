package persist

import (
	"regexp"
	"strings"
)

// hidden stands where a secret of the user's is, in what is printed.
const hidden = "(hidden)"

// secretLine is "key=value", "key: value" or "key value" of a key whose value lets somebody in:
// nm-settings-keyfile(5) [802-1x] and [wifi-security], netplan-yaml(5) auth and access-points,
// wpa_supplicant's words in interfaces(5), dhcpcd.conf(5) authtoken. Paths of keys and
// NetworkManager's flags, which say where a secret is, are none.
var secretLine = regexp.MustCompile(`(?i)^(.?[ \t]*(?:- )?(?:[\w.-]*(?:password|passwd|password-raw)|(?:wpa-|wireless-)?psk|wep-key\d|(?:wireless-|wpa-wep-)key\d?|pin|authtoken|secret)[ \t]*[=: \t][ \t]*)(\S.*)$`)

// WithoutSecrets is a text of ours, or of the user's, to be shown to whoever looks on: the values
// of passwords and the like are not in it. Lines of a difference may have its sign before them.
func WithoutSecrets(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		body := strings.TrimRight(l, "\r\n")
		lines[i] = secretLine.ReplaceAllString(body, "${1}"+hidden) + l[len(body):]
	}
	return strings.Join(lines, "")
}
