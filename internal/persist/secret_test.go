package persist_test

import (
	"testing"

	"drawbridge/internal/persist"
)

// TestWithoutSecrets: what lets somebody in is not shown; where it is kept is.
func TestWithoutSecrets(t *testing.T) {
	for line, want := range map[string]string{
		"password=open sesame":              "password=(hidden)",
		"private-key-password = x":          "private-key-password = (hidden)",
		"phase2-private-key-password=x":     "phase2-private-key-password=(hidden)",
		"password-raw=97;98;":               "password-raw=(hidden)",
		"psk=abc":                           "psk=(hidden)",
		"wep-key0=abc":                      "wep-key0=(hidden)",
		"pin=1234":                          "pin=(hidden)",
		"      password: \"open sesame\"":   "      password: (hidden)",
		"+     client-key-password: x":      "+     client-key-password: (hidden)",
		"\twpa-psk abc":                     "\twpa-psk (hidden)",
		"    wpa-private-key-passwd abc":    "    wpa-private-key-passwd (hidden)",
		"    wireless-key abc":              "    wireless-key (hidden)",
		"-authtoken 1 \"\" 0 abc\r\n":       "-authtoken (hidden)\r\n",
		"password=a\nidentity=bob\npsk=c\n": "password=(hidden)\nidentity=bob\npsk=(hidden)\n",
		"password-flags=1":                  "password-flags=1",
		"private-key=/etc/ssl/key.pem":      "private-key=/etc/ssl/key.pem",
		"# the password is in the safe":     "# the password is in the safe",
		"identity=password":                 "identity=password",
		"pre-up ip link set eth0 up":        "pre-up ip link set eth0 up",
		"mac-address=02:00:00:00:00:01":     "mac-address=02:00:00:00:00:01",
		"multicast-hash-max=4096":           "multicast-hash-max=4096",
		"wpa-key-mgmt=ieee8021x":            "wpa-key-mgmt=ieee8021x",
		"password=":                         "password=",
		"":                                  "",
	} {
		if got := persist.WithoutSecrets(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
