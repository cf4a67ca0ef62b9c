package persist

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	dhcpcdConf = "/etc/dhcpcd.conf"
	dhcpcdUnit = "dhcpcd.service"
	// linksUnit makes bridges and taps: dhcpcd makes none.
	linksUnit = "drawbridge-links.service"
	// ourDhcpcdConf is written anew at each start of dhcpcd, below /run.
	ourDhcpcdConf = "/run/drawbridge-dhcpcd/dhcpcd.conf"
)

// Where systemd finds a unit, the first first (systemd.unit(5)).
var unitDirs = []string{unitDir, "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

var dhcpcdReads = func() []string {
	out := []string{dhcpcdConf, unitDir + "/*.wants/dhcpcd*.service"}
	for _, d := range unitDirs {
		out = append(out, d+"/"+dhcpcdUnit, d+"/"+dhcpcdUnit+".d/*.conf")
	}
	return out
}()

// writeDhcpcd writes a unit that makes the bridges and taps before dhcpcd starts, and has
// dhcpcd read the user's dhcpcd.conf with what it says of the uplink said of the bridge.
//
// dhcpcd.conf(5) takes no other file in, and options of dhcpcd's command line are for all
// interfaces. The user's file stays as it is: a drop-in of dhcpcd's unit has it copied to /run at
// each start, so that what the user changes in it counts as before (docs/decisions/0053).
func writeDhcpcd(w Wish, have Existing) (Files, error) {
	d := dhcpcd{have: have, conf: readDhcpcdConf(have[dhcpcdConf])}
	command, err := d.command(w)
	if err != nil {
		return d.out, err
	}
	for _, b := range w.Bridges {
		if err := d.bridge(b); err != nil {
			return d.out, err
		}
	}
	for _, t := range w.Taps {
		d.tap(t)
	}
	d.files(command)
	return d.out, nil
}

type dhcpcd struct {
	have Existing
	conf []confBlock
	out  Files

	links   []string // commands that make links
	uplinks []string // and those that plug uplinks in
	devices []string // the uplinks
	denied  []string // what dhcpcd is to leave alone
	seds    []string // what becomes of the user's file
	blocks  strings.Builder
}

// confBlock is a part of dhcpcd.conf: what is for all interfaces (kind ""), or for one.
type confBlock struct {
	kind, name string
	options    []line
}

// readDhcpcdConf reads dhcpcd.conf(5) as dhcpcd does: an option is the first word of a
// line, its value the rest; blanks are spaces and tabs. A carriage return is part of a value.
func readDhcpcdConf(text string) []confBlock {
	out := []confBlock{{}}
	for l := range strings.Lines(text) {
		l = strings.Trim(strings.TrimSuffix(l, "\n"), " \t")
		if l == "" || strings.HasPrefix(l, "#") || strings.HasPrefix(l, ";") {
			continue
		}
		key, value := l, ""
		if i := strings.IndexAny(l, " \t"); i >= 0 {
			key, value = l[:i], strings.TrimLeft(l[i:], " \t")
		}
		switch key {
		case "interface", "ssid", "profile":
			out = append(out, confBlock{kind: key, name: value})
		default:
			last := &out[len(out)-1]
			last.options = append(last.options, line{key, value})
		}
	}
	return out
}

// patterns are the words of an option that is for all interfaces.
func (d *dhcpcd) patterns(option string) (out []string) {
	for _, o := range d.conf[0].options {
		if o.key == option {
			out = append(out, strings.FieldsFunc(o.value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })...)
		}
	}
	return out
}

func covering(patterns []string, name string) string {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return p
		}
	}
	return ""
}

// command is what the unit of dhcpcd starts, with our own file to read.
func (d *dhcpcd) command(w Wish) (string, error) {
	file, text := "", ""
	for _, dir := range slices.Backward(unitDirs) {
		if t, there := d.have[dir+"/"+dhcpcdUnit]; there {
			file, text = dir+"/"+dhcpcdUnit, t
		}
	}
	if file == "" || text == "" {
		return "", &Refusal{Object: dhcpcdUnit, Reason: "is not there, or masked: what starts dhcpcd at boot is not known", Hint: "--manager unit"}
	}
	enabled := false
	for path := range d.have {
		if !strings.HasSuffix(dirOf(path), ".wants") {
			continue
		}
		base := path[strings.LastIndex(path, "/")+1:]
		enabled = enabled || base == dhcpcdUnit
		for _, b := range w.Bridges {
			if base == "dhcpcd@"+b.Uplink+".service" {
				return "", &Refusal{Object: path, Reason: "starts a dhcpcd for " + b.Uplink + " alone", Hint: "systemctl disable dhcpcd@" + b.Uplink + ", and enable " + dhcpcdUnit + ", which is for all interfaces; or use --manager unit"}
			}
		}
	}
	if !enabled {
		return "", &Refusal{Object: dhcpcdUnit, Reason: "is not enabled: what starts dhcpcd at boot is not known", Hint: "systemctl enable dhcpcd; or use --manager unit"}
	}
	var commands []string
	for _, f := range append([]string{file}, d.dropIns()...) {
		sections, _ := parseINI(d.have[f])
		for _, c := range values(sections, "Service", "ExecStart") {
			if file = f; c == "" {
				commands = nil
			} else {
				commands = append(commands, c)
			}
		}
	}
	if len(commands) != 1 {
		return "", &Refusal{Object: file, Reason: fmt.Sprintf("starts %d commands, and which of them is dhcpcd is not known", len(commands)), Hint: "--manager unit"}
	}
	words := strings.Fields(commands[0])
	if !strings.HasPrefix(path.Base(words[0]), "dhcpcd") {
		return "", &Refusal{Object: file, Reason: "starts " + words[0] + ", and not dhcpcd itself", Hint: "--manager unit"}
	}
	for i, word := range words[1:] {
		if strings.HasPrefix(word, "-f") || strings.HasPrefix(word, "--config") {
			return "", &Refusal{Object: file, Reason: "has dhcpcd read another file than " + dhcpcdConf + " (" + word + ")", Hint: "--manager unit"}
		}
		for _, b := range w.Bridges {
			if word == b.Uplink {
				words[i+1] = b.Name
			}
		}
	}
	return strings.Join(append(words, "-f", ourDhcpcdConf), " "), nil
}

func dirOf(file string) string { return strings.TrimSuffix(path.Dir(file), "/") }

// dropIns are those of dhcpcd's unit in the order in which they count; ours is not among them.
func (d *dhcpcd) dropIns() []string {
	byName := map[string]string{} // a name in an earlier folder covers the same in a later
	for _, dir := range slices.Backward(unitDirs) {
		for file := range d.have {
			if dirOf(file) == dir+"/"+dhcpcdUnit+".d" && file != ourDropIn {
				byName[path.Base(file)] = file
			}
		}
	}
	out := make([]string, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

func (d *dhcpcd) bridge(b Bridge) error {
	if b.Made {
		// There already, after the unit was started anew: - is for that.
		d.links = append(d.links, "-"+makeBridge(b))
	} else {
		d.out.Notes = append(d.out.Notes, fmt.Sprintf("%s was there before: what makes it is left to make it", b.Name))
	}
	if b.Made {
		d.links = append(d.links, "ip link set dev "+b.Name+" up")
	}
	if b.Uplink != "" {
		d.uplinks = append(d.uplinks, plugUplink(b)...)
		d.devices, d.denied = append(d.devices, b.Uplink), append(d.denied, b.Uplink)
	}
	if !b.Moved && b.DHCP4 == nil && !b.RA && !b.DHCP6 {
		d.denied = append(d.denied, b.Name)
		for _, a := range b.Addresses {
			d.links = append(d.links, "-"+addAddress(b.Name, a.Prefix.String()))
		}
		for _, r := range b.Routes {
			d.uplinks = append(d.uplinks, "-"+addRoute(r, b.Name))
		}
		return nil
	}
	if p := covering(d.patterns("denyinterfaces"), b.Name); p != "" {
		return &Refusal{Object: dhcpcdConf, Reason: fmt.Sprintf("'denyinterfaces %s' keeps dhcpcd away from %s", p, b.Name), Hint: "leave " + b.Name + " out there, or use --manager unit"}
	}
	if b.Moved {
		if err := d.carry(b); err != nil {
			return err
		}
	}
	if len(d.patterns("allowinterfaces")) > 0 {
		d.seds = append(d.seds, `s/^[[:blank:]]*allowinterfaces[[:blank:]].*/& `+b.Name+"/")
	}
	d.block(b)
	return nil
}

// carry has what is said of the uplink said of the bridge.
func (d *dhcpcd) carry(b Bridge) error {
	if p := covering(d.patterns("denyinterfaces"), b.Uplink); p != "" {
		return &Refusal{Object: dhcpcdConf, Reason: fmt.Sprintf("'denyinterfaces %s' keeps dhcpcd away from %s: who configures that is not known", p, b.Uplink), Hint: "--manager unit"}
	}
	var said []line
	for _, block := range d.conf[1:] {
		switch {
		case block.kind != "interface":
		case block.name == b.Uplink:
			said = append(said, block.options...)
		case covering([]string{block.name}, b.Uplink) != "": // from dhcpcd 10.2 on, a pattern
			return &Refusal{Object: dhcpcdConf, Reason: fmt.Sprintf("'interface %s' may be said of %s, and not of %s", block.name, b.Uplink, b.Name), Hint: "name the interface there, or use --manager unit"}
		}
	}
	d.seds = append(d.seds, fmt.Sprintf(`s/^\([[:blank:]]*interface[[:blank:]]\{1,\}\)%s[[:blank:]]*$/\1%s/`, basicRegexp(b.Uplink), b.Name))
	for _, a := range b.Addresses {
		if !slices.ContainsFunc(said, func(l line) bool { return strings.Contains(l.value, a.Prefix.Addr().String()) }) {
			d.out.Notes = append(d.out.Notes, fmt.Sprintf("%s is not in %s: who gives it to %s is not known, and nobody gives it to %s", a.Prefix, dhcpcdConf, b.Uplink, b.Name))
		}
	}
	return nil
}

// block is what dhcpcd makes of an interface's name, index and kind by itself, said as it was
// on the uplink. The hardware address, the client identifier made of it and the DUID are the same.
func (d *dhcpcd) block(b Bridge) {
	fmt.Fprintf(&d.blocks, "\ninterface %s\n", b.Name)
	for _, four := range []bool{true, false} {
		if metric := b.metric(four, -1); metric > 0 { // else 1000 and the index (dhcpcd(8), -m)
			fmt.Fprintf(&d.blocks, "metric %d\n", metric)
			break
		}
	}
	// Of a VLAN it would be the VLAN's number (dhcpcd.conf(5), iaid).
	if b.DHCP4 != nil && len(b.DHCP4.ClientID) > 5 && b.DHCP4.ClientID[0] == 0xff {
		fmt.Fprintf(&d.blocks, "iaid %d\n", binary.BigEndian.Uint32(b.DHCP4.ClientID[1:5]))
	}
}

func (d *dhcpcd) tap(t Tap) {
	d.denied = append(d.denied, t.Name)
	for i, c := range makeTap(t) {
		if i == 0 {
			c = "-" + c // as with bridges
		}
		d.links = append(d.links, c)
	}
	up := "ip link set dev " + t.Name
	if t.Bridge != "" {
		up += " master " + t.Bridge
	}
	d.links = append(d.links, up+" up")
	if t.Isolated {
		d.links = append(d.links, isolate(t))
	}
	for _, a := range t.Addresses {
		d.links = append(d.links, "-"+addAddress(t.Name, a.String()))
	}
}

var (
	ourDropIn   = path.Join(unitDir, dhcpcdUnit+".d", "drawbridge.conf")
	ourConfigSh = path.Join(ConfigDir, "dhcpcd.sh")
)

func (d *dhcpcd) files(command string) {
	wants := []string{"network-pre.target"}
	for _, l := range d.devices {
		wants = append(wants, "sys-subsystem-net-devices-"+unitEscaped(l)+".device")
	}
	var unit ini
	lines := []string{"Description=Bridges and taps of drawbridge", "Wants=" + strings.Join(wants, " "), "Before=network-pre.target " + dhcpcdUnit}
	if len(d.devices) > 0 {
		lines = append(lines, "After="+strings.Join(wants[1:], " "))
	}
	unit.section("Unit", lines...)
	lines = []string{"Type=oneshot", "RemainAfterExit=yes"}
	for _, c := range append(d.links, d.uplinks...) {
		lines = append(lines, "ExecStart="+strings.ReplaceAll(c, "%", "%%"))
	}
	unit.section("Service", lines...)
	d.add(path.Join(unitDir, linksUnit), "makes the bridges and taps before dhcpcd looks for interfaces", unit.String())

	var dropIn ini
	dropIn.section("Unit", "Wants="+linksUnit, "After="+linksUnit)
	dropIn.section("Service", "RuntimeDirectory="+path.Base(path.Dir(ourDhcpcdConf)),
		fmt.Sprintf("ExecStartPre=-/bin/sh %s %s", ourConfigSh, ourDhcpcdConf), "ExecStart=", "ExecStart="+command)
	d.add(ourDropIn, "has dhcpcd read "+dhcpcdConf+" as "+ourConfigSh+" writes it down", dropIn.String())
	d.add(ourConfigSh, "writes down what dhcpcd reads, at each of its starts", d.script())
}

// script writes what dhcpcd reads to the file that it is told.
func (d *dhcpcd) script() string {
	var sh strings.Builder
	fmt.Fprintf(&sh, "# %s stays as it is. What it says of the uplink is said of the bridge here.\numask 077 # it may hold keys\n{\n", dhcpcdConf)
	if len(d.denied) > 0 { // before the first block: within one it is for nobody
		fmt.Fprintf(&sh, "\techo 'denyinterfaces %s'\n", strings.Join(d.denied, " "))
	}
	if len(d.seds) == 0 {
		fmt.Fprintf(&sh, "\tcat %s\n", dhcpcdConf)
	} else {
		fmt.Fprintf(&sh, "\tsed -e '%s' %s\n", strings.Join(d.seds, "' \\\n\t\t-e '"), dhcpcdConf)
	}
	if d.blocks.Len() > 0 {
		fmt.Fprintf(&sh, "\tcat <<'END'\n%sEND\n", d.blocks.String())
	}
	sh.WriteString("} >\"$1\"\n")
	return sh.String()
}

func (d *dhcpcd) add(file, why, text string) {
	d.out.Files = append(d.out.Files, File{Path: file, Mode: 0o644, Content: mark(why) + text, Why: why})
}

var special = regexp.MustCompile(`[][\\.*^$/]`)

// basicRegexp quotes a name for sed(1), within slashes.
func basicRegexp(name string) string { return special.ReplaceAllString(name, `\$0`) }

// unitEscaped is a name within a unit's name (systemd.unit(5), string escaping).
func unitEscaped(name string) string {
	var out strings.Builder
	for i, c := range []byte(name) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == ':', c == '_', c == '.' && i > 0:
			out.WriteByte(c)
		default:
			out.WriteString(`\x` + strconv.FormatUint(uint64(c), 16))
		}
	}
	return out.String()
}
