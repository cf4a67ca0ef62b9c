package persist

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keyfile is a profile of the user's: [connection] and what belongs to it.
type keyfile struct {
	file     string // "" for none
	sections []section
}

// What of a profile is the wire's, and stays with the port; the rest is the host's, and goes
// to the bridge.
var (
	wireSections       = []string{"802-1x", "dcb", "ethtool", "link", "sriov", "tc"}
	wireConnectionKeys = []string{"lldp"}
	hostConnectionKeys = []string{"dns-over-tls", "gateway-ping-timeout", "llmnr", "mdns", "metered", "secondaries", "zone"}
	hostSections       = []string{"hostname", "ipv4", "ipv6", "proxy"}
)

func (p keyfile) value(name, key string) string {
	if all := values(p.sections, name, key); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// pick are the lines of a section whose keys are among some.
func (p keyfile) pick(name string, keys []string) (out []string) {
	for _, s := range p.sections {
		for _, l := range s.lines {
			if s.name == name && slices.Contains(keys, l.key) {
				out = append(out, l.key+"="+l.value)
			}
		}
	}
	return out
}

func (p keyfile) priority() int {
	n, _ := strconv.Atoi(p.value("connection", "autoconnect-priority"))
	return n
}

// ethernet tells whether it is of a plain Ethernet link that is in nothing else.
func (p keyfile) ethernet() bool {
	kind := p.value("connection", "type")
	return kind == "ethernet" || kind == "802-3-ethernet"
}

// fits tells whether NetworkManager may activate the profile on the uplink.
func (p keyfile) fits(b Bridge) bool {
	if name := p.value("connection", "interface-name"); name != "" {
		return name == b.Uplink
	}
	if !p.ethernet() {
		return false
	}
	for _, section := range []string{"ethernet", "802-3-ethernet"} {
		if mac := p.value(section, "mac-address"); mac != "" && !strings.EqualFold(mac, string(b.MAC)) {
			return false
		}
	}
	names := p.value("match", "interface-name")
	return names == "" || globs(strings.ReplaceAll(names, ";", " "), b.Uplink)
}

// rivals are the user's profiles that may come up on the uplink, ours to be before them.
func (k *keyfiles) rivals(b Bridge) (out []keyfile) {
	for file, text := range k.have {
		if isOurProfile(file) || text == "" {
			continue
		}
		sections, _ := parseINI(text)
		if p := (keyfile{file, sections}); p.fits(b) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b keyfile) int { return cmp.Compare(a.file, b.file) })
	return out
}

// profileOf is the user's profile of the uplink: the one that NetworkManager has told, or the
// one that it would take at boot.
func (k *keyfiles) profileOf(b Bridge) (keyfile, error) {
	if b.OwnerFile != "" && !isOurProfile(b.OwnerFile) {
		if text, there := k.have[b.OwnerFile]; there {
			return k.usable(keyfile{file: b.OwnerFile}, text, b)
		}
		if strings.HasPrefix(b.OwnerFile, "/etc/") {
			return keyfile{}, &Refusal{Object: b.OwnerFile, Reason: "is no keyfile, and what it says of " + b.Uplink + " cannot be carried over", Hint: "'nmcli connection migrate' makes a keyfile of it; or use --manager unit"}
		}
	}
	var best []keyfile
	for _, p := range k.rivals(b) {
		if p.value("connection", "autoconnect") == "false" {
			continue
		}
		if len(best) > 0 && p.priority() > best[0].priority() {
			best = nil
		}
		if len(best) == 0 || p.priority() == best[0].priority() {
			best = append(best, p)
		}
	}
	switch len(best) {
	case 0:
		return keyfile{}, nil
	case 1:
		return k.usable(best[0], k.have[best[0].file], b)
	default:
		return keyfile{}, &Refusal{Object: best[1].file, Reason: fmt.Sprintf("it and %s both fit %s: which of them is the host's is not ours to say", best[0].file, b.Uplink), Hint: "nmcli connection modify NAME connection.autoconnect-priority 1"}
	}
}

func (k *keyfiles) usable(p keyfile, text string, b Bridge) (keyfile, error) {
	var wrong []int
	if p.sections, wrong = parseINI(text); len(wrong) > 0 {
		return p, &Refusal{Object: p.file, Reason: fmt.Sprintf("line %d is neither a section nor KEY=VALUE: what NetworkManager makes of it cannot be told", wrong[0]), Hint: "mend the file; 'journalctl -u NetworkManager' tells what it says of it"}
	}
	if !p.ethernet() {
		return p, &Refusal{Object: p.file, Reason: fmt.Sprintf("%s is of the type %q: only a plain Ethernet link is plugged in by NetworkManager's files", b.Uplink, p.value("connection", "type")), Hint: "--manager unit"}
	}
	for _, key := range []string{"master", "controller"} {
		if m := p.value("connection", key); m != "" {
			return p, &Refusal{Object: p.file, Reason: fmt.Sprintf("has %s as a port of %s already", b.Uplink, m), Hint: "--manager unit"}
		}
	}
	return p, nil
}

// carry writes what was the uplink's as the bridge's.
func (k *keyfiles) carry(text *ini, b Bridge, theirs keyfile) {
	written4, written6 := false, false
	for _, s := range theirs.sections {
		switch {
		case s.name == "ipv4":
			written4 = true
			text.section("ipv4", k.carry4(b, theirs, s)...)
		case s.name == "ipv6":
			written6 = true
			text.section("ipv6", k.carry6(b, theirs, s)...)
		case slices.Contains(hostSections, s.name):
			text.section(s.name, written(s.lines)...)
		}
	}
	// Without a section it is "auto", and its routes have the device's own metric.
	if !written4 {
		text.section("ipv4", k.carry4(b, theirs, section{lines: []line{{"method", "auto"}}})...)
	}
	if !written6 {
		text.section("ipv6", k.carry6(b, theirs, section{lines: []line{{"method", "auto"}}})...)
	}
}

func (k *keyfiles) carry4(b Bridge, theirs keyfile, s section) []string {
	lines := slices.Clone(s.lines)
	identity := k.identity(b)
	auto := theirs.value("ipv4", "method") == "auto" || theirs.value("ipv4", "method") == ""
	id := theirs.value("ipv4", "dhcp-client-id")
	switch {
	case !auto:
	case identity != "":
		lines = slices.DeleteFunc(lines, func(l line) bool { return l.key == "dhcp-client-id" || l.key == "dhcp-iaid" })
		lines = append(lines, line{"dhcp-client-id", identity})
	case id == "perm-mac": // a bridge has none
		lines = slices.DeleteFunc(lines, func(l line) bool { return l.key == "dhcp-client-id" })
		lines = append(lines, line{"dhcp-client-id", "mac"})
	case id == "stable", id == "duid", id == "ipv6-duid":
		k.out.Notes = append(k.out.Notes, fmt.Sprintf("%s has dhcp-client-id=%s, which is another one on %s, and what was sent is not known: the DHCP server may give another address", theirs.file, id, b.Name))
	}
	return written(withMetric(lines, b.metric(true, nmEthernetMetric)))
}

// identity is the client identifier as it was sent, type and all: "mac", "stable" and "duid"
// would each be made anew, from another link or another profile. NetworkManager notes none
// with a lease: where nobody else knows it, it is what our own profile has it send now.
func (k *keyfiles) identity(b Bridge) string {
	switch {
	case b.DHCP4 == nil:
		return ""
	case len(b.DHCP4.ClientID) > 1:
		return octets(b.DHCP4.ClientID)
	}
	sections, _ := parseINI(k.have[keyfileDir+"drawbridge-"+b.Name+".nmconnection"])
	return keyfile{sections: sections}.value("ipv4", "dhcp-client-id")
}

func (k *keyfiles) carry6(b Bridge, theirs keyfile, s section) []string {
	lines := slices.Clone(s.lines)
	method := theirs.value("ipv6", "method")
	if (method == "" || method == "auto") && theirs.value("ipv6", "token") == "" && len(b.Advertised) > 0 {
		lines = slices.DeleteFunc(lines, func(l line) bool { return l.key == "addr-gen-mode" })
		for _, l := range b.interfaceID() {
			key, value, _ := strings.Cut(l, "=")
			lines = append(lines, line{key, value})
		}
	}
	if b.DHCP6 && theirs.value("ipv6", "dhcp-iaid") == "" {
		k.noteIAID(b)
	}
	if method == "disabled" || method == "ignore" || method == "link-local" {
		return written(lines)
	}
	return written(withMetric(lines, b.metric(false, nmEthernetMetric)))
}

// withMetric says the metric where the user has not: a bridge's would be another.
func withMetric(lines []line, metric int64) []line {
	if slices.ContainsFunc(lines, func(l line) bool { return l.key == "route-metric" && l.value != "-1" }) {
		return lines
	}
	lines = slices.DeleteFunc(lines, func(l line) bool { return l.key == "route-metric" })
	return append(lines, line{"route-metric", strconv.FormatInt(metric, 10)})
}
