package persist

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

const (
	interfacesFile = "/etc/network/interfaces"
	interfacesDir  = "/etc/network/interfaces.d"
)

var ifupdownReads = []string{interfacesFile, interfacesDir + "/*"}

// writeIfupdown writes a file that the user's /etc/network/interfaces takes in. The user's
// stanza of the uplink stays: a mapping leads the uplink to one of ours that does nothing
// (interfaces(5), MAPPINGS; grep as its script is an example of the Debian Reference).
func writeIfupdown(w Wish, have Existing) (Files, error) {
	return interfaces{have: have}.write(w)
}

// writeIfupdown2 does the same for ifupdown2, which has no mappings and needs none: it gives
// no addresses to a link that is a bridge's port.
func writeIfupdown2(w Wish, have Existing) (Files, error) {
	return interfaces{have: have, two: true}.write(w)
}

type interfaces struct {
	have Existing
	two  bool
	out  Files
	text strings.Builder
}

func (i interfaces) write(w Wish) (Files, error) {
	if !i.takesIn() {
		return i.out, &Refusal{Object: interfacesFile, Reason: "takes nothing in from " + interfacesDir, Hint: "add the line 'source " + interfacesDir + "/*' to it"}
	}
	stanzas := i.stanzas()
	for _, b := range w.Bridges {
		if err := i.bridge(b, stanzas, w.Taps); err != nil {
			return i.out, err
		}
	}
	for _, t := range w.Taps {
		i.tap(t)
	}
	const why = "the bridges and taps, with the uplinks' configuration"
	i.out.Files = []File{{Path: interfacesDir + "/drawbridge", Mode: 0o644, Content: mark(why) + strings.TrimPrefix(i.text.String(), "\n"), Why: why}}
	return i.out, nil
}

// takesIn tells whether the user's file has a line that takes ours in.
func (i interfaces) takesIn() bool {
	for _, l := range logicalLines(i.have[interfacesFile]) {
		words := strings.Fields(l)
		if len(words) < 2 {
			continue
		}
		where := strings.TrimSuffix(strings.TrimPrefix(words[1], "/etc/network/"), "/")
		if words[0] == "source-directory" && where == "interfaces.d" || words[0] == "source" && (where == "interfaces.d/*" || where == "interfaces.d/drawbridge") {
			return true
		}
	}
	return false
}

// stanza is one iface of interfaces(5).
type stanza struct {
	name, family, method string
	options              []string
	file                 string
}

var goesOn = regexp.MustCompile(`[ \t]*\\\n[ \t]*`)

// logicalLines joins lines that go on, and leaves comments out.
func logicalLines(text string) []string {
	text = goesOn.ReplaceAllString(strings.ReplaceAll(text, "\r\n", "\n"), " ")
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out
}

// stanzas reads what the user has; mappings come with the method "mapping".
func (i interfaces) stanzas() []stanza {
	var files []string
	for path := range i.have {
		if path != interfacesDir+"/drawbridge" {
			files = append(files, path)
		}
	}
	slices.Sort(files)
	var out []stanza
	for _, file := range files {
		var in *stanza
		for _, l := range logicalLines(i.have[file]) {
			words := strings.Fields(l)
			switch key := words[0]; {
			case key == "iface" && len(words) > 1, key == "mapping" && len(words) > 1:
				s := stanza{name: words[1], method: key, file: file}
				if key == "iface" && len(words) > 3 {
					s.family, s.method = words[2], words[3]
				}
				out = append(out, s)
				in = &out[len(out)-1]
			case key == "auto", strings.HasPrefix(key, "allow-"), strings.HasPrefix(key, "source"), key == "no-auto-down", key == "no-scripts", key == "template", key == "rename", key == "vlan":
				in = nil
			case in != nil:
				in.options = append(in.options, l)
			}
		}
	}
	return out
}

func (i *interfaces) bridge(b Bridge, all []stanza, taps []Tap) error {
	if !b.Made {
		i.out.Notes = append(i.out.Notes, fmt.Sprintf("%s was there before: what makes it is left to make it", b.Name))
	}
	var carried []stanza
	for _, s := range all {
		switch {
		case s.name != b.Uplink:
		case s.method == "mapping" && !i.two:
			return &Refusal{Object: s.file, Reason: "maps " + b.Uplink + " already: which stanza it gets is decided there", Hint: "take the mapping out, or use --manager unit"}
		case b.Moved && s.method != "mapping":
			carried = append(carried, s)
		}
	}
	if b.Uplink != "" && !i.two {
		fmt.Fprintf(&i.text, "\n# %s is a port of %s, whatever its own stanza says.\nmapping %s\n\tscript /bin/grep\n\tmap drawbridge-%s\n", b.Uplink, b.Name, b.Uplink, b.Uplink)
		fmt.Fprintf(&i.text, "iface drawbridge-%s inet manual\n\tup ip link set dev %s up\n", b.Uplink, b.Uplink)
	}
	fmt.Fprintf(&i.text, "\nauto %s\n", b.Name)
	stanzas := i.hostStanzas(b, carried)
	for n, s := range stanzas {
		head := "iface " + b.Name
		if !i.two || s.method == "dhcp" || s.method == "auto" {
			head += " " + s.family + " " + s.method
		}
		i.text.WriteString(head + "\n")
		if n == 0 {
			for _, l := range i.link(b, taps) {
				i.text.WriteString("\t" + l + "\n")
			}
		}
		if s.method == "dhcp" && s.family == "inet" && !i.two && b.DHCP4 != nil {
			if l := seedDUID(b.Name, b.DHCP4.ClientID); l != "" {
				i.text.WriteString("\t" + l + "\n")
			}
		}
		for _, l := range s.options {
			i.text.WriteString("\t" + l + "\n")
		}
	}
	return nil
}

// seedDUID is a line that gives dhclient the DUID of the lease: ifupdown runs it with -i,
// and it would make a new one for a link that it has no leases of (dhclient(8)). The IAID
// comes from the MAC address, which is the same.
func seedDUID(link string, id []byte) string {
	if len(id) < 8 || id[0] != 0xff {
		return ""
	}
	var duid strings.Builder
	for _, b := range id[5:] {
		fmt.Fprintf(&duid, "\\%03o", b)
	}
	file := "/var/lib/dhcp/dhclient." + link + ".leases"
	return fmt.Sprintf(`pre-up test -s %s || printf '%%s\n' 'default-duid "%s";' >%s`, file, duid.String(), file)
}

// link are the lines that make the bridge.
func (i *interfaces) link(b Bridge, taps []Tap) []string {
	snooping := map[bool]string{true: "1", false: "0"}[b.McastSnooping]
	if i.two {
		ports := []string{}
		if b.Uplink != "" {
			ports = append(ports, b.Uplink)
		}
		for _, t := range taps {
			if t.Bridge == b.Name {
				ports = append(ports, t.Name)
			}
		}
		if len(ports) == 0 {
			ports = []string{"none"}
		}
		out := []string{"bridge-ports " + strings.Join(ports, " "), "bridge-stp off", "bridge-fd 0", "bridge-mcsnoop " + snooping}
		if b.MAC != "" {
			out = append(out, "hwaddress "+string(b.MAC))
		}
		return out
	}
	var out []string
	if b.Made {
		out = append(out, "pre-up "+makeBridge(b))
	}
	if b.Uplink != "" {
		for _, c := range plugUplink(b) {
			out = append(out, "pre-up "+c)
		}
	}
	out = append(out, "pre-up ip link set dev "+b.Name+" up")
	if b.Made {
		out = append(out, "post-down ip link del dev "+b.Name)
	}
	return out
}

// hostStanzas are the user's stanzas of the uplink, or what the kernel has in their form.
func (i *interfaces) hostStanzas(b Bridge, carried []stanza) []stanza {
	var out []stanza
	dev := regexp.MustCompile(`\bdev ` + regexp.QuoteMeta(b.Uplink) + `\b`)
	for _, s := range carried {
		var options []string
		for _, o := range s.options {
			key, _, _ := strings.Cut(o, " ")
			if strings.HasPrefix(key, "bridge") || strings.HasPrefix(key, "hwaddress") {
				continue
			}
			options = append(options, dev.ReplaceAllString(o, "dev "+b.Name))
		}
		s.options = options
		out = append(out, s)
	}
	if len(out) > 0 {
		return out
	}
	for _, four := range []bool{true, false} {
		out = append(out, kernelStanzas(b, four)...)
	}
	if len(out) == 0 {
		out = []stanza{{family: "inet", method: "manual"}}
	}
	return out
}

func kernelStanzas(b Bridge, four bool) (out []stanza) {
	family := map[bool]string{true: "inet", false: "inet6"}[four]
	if four && b.DHCP4 != nil {
		out = append(out, stanza{family: family, method: "dhcp"})
	}
	if !four && b.RA {
		out = append(out, stanza{family: family, method: "auto"})
	}
	for _, a := range b.Addresses {
		if a.Prefix.Addr().Is4() == four {
			out = append(out, stanza{family: family, method: "static", options: []string{"address " + a.Prefix.String()}})
		}
	}
	if len(out) == 0 {
		return nil
	}
	last := &out[len(out)-1]
	for _, r := range b.Routes {
		if r.Is4() == four {
			last.options = append(last.options, routeOption(r, b.Name))
		}
	}
	return out
}

func routeOption(r model.Route, link string) string {
	if r.IsDefault() && r.Table == model.TableMain && r.Gateway().IsValid() && (r.Metric == 0 || r.Metric == 1024) && r.Source == (netip.Addr{}) {
		return "gateway " + r.Gateway().String()
	}
	return "up " + addRoute(r, link)
}

func (i *interfaces) tap(t Tap) {
	up := "ip link set dev " + t.Name
	if t.Bridge != "" && !i.two {
		up += " master " + t.Bridge
	}
	lines := phased("pre-up", makeTap(t)...) + phased("up", up+" up")
	if t.Isolated {
		lines += phased("post-up", isolate(t))
	}
	for _, a := range t.Addresses {
		lines += phased("up", addAddress(t.Name, a.String()))
	}
	lines += phased("post-down", "ip link del dev "+t.Name)
	fmt.Fprintf(&i.text, "\nauto %s\niface %s inet manual\n%s", t.Name, t.Name, lines)
}
