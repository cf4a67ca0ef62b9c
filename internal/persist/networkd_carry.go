package persist

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// carried is what the manager has for an uplink, on its way to the bridge: the user's own
// words, with all that the kernel does not know: name servers, domains, metrics.
type carried struct {
	file     string // "" for none
	sections []section
}

// carry finds the .network file that counts for the uplink, with its drop-ins.
func (d *networkd) carry(b Bridge) (carried, error) {
	file := d.fileOf(b)
	if file == "" {
		return carried{}, nil
	}
	text := d.have[file]
	c := carried{file: file}
	parts := []string{file}
	parts = append(parts, d.dropIns(base(file))...)
	for _, path := range parts {
		if path != file {
			text = d.have[path]
		}
		sections, wrong := parseINI(text)
		if len(wrong) > 0 {
			return c, &Refusal{Object: path, Reason: fmt.Sprintf("line %d is neither a section nor KEY=VALUE: what networkd makes of it cannot be told", wrong[0]), Hint: "mend the file; 'journalctl -u systemd-networkd' tells what networkd says of it"}
		}
		c.sections = append(c.sections, sections...)
	}
	if slices.Contains(values(c.sections, "Link", "Unmanaged"), "yes") {
		return carried{}, nil
	}
	return c, nil
}

// fileOf is the first file by name that matches the uplink; of files of one name, the one
// in the first folder.
func (d *networkd) fileOf(b Bridge) string {
	if _, there := d.have[b.OwnerFile]; there && !isOurs(base(b.OwnerFile)) {
		return b.OwnerFile
	}
	var names []string
	first := map[string]string{}
	for _, dir := range networkdDirs {
		for path := range d.have {
			name, ok := strings.CutPrefix(path, dir)
			if !ok || strings.Contains(name, "/") || isOurs(name) {
				continue
			}
			if first[name] == "" {
				first[name] = path
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if sections, _ := parseINI(d.have[first[name]]); matches(sections, b) {
			return first[name]
		}
	}
	return ""
}

// matches reads [Match] as far as a name and a MAC address tell. What asks for more (a
// driver, a path) is not decided here: networkd itself tells its file then.
func matches(sections []section, b Bridge) bool {
	matched := false
	for _, s := range sections {
		if s.name != "Match" {
			continue
		}
		for _, l := range s.lines {
			matched = true
			ok := false
			switch l.key {
			case "Name":
				ok = globs(l.value, b.Uplink)
			case "MACAddress", "PermanentMACAddress":
				ok = slices.Contains(strings.Fields(strings.ToLower(l.value)), string(b.MAC))
			case "Type":
				ok = globs(l.value, "ether")
			}
			if !ok {
				return false
			}
		}
	}
	return matched
}

// dropIns of a file: of all folders, by name, the first folder's counts.
func (d *networkd) dropIns(name string) []string {
	first := map[string]string{}
	var names []string
	for _, dir := range networkdDirs {
		for path := range d.have {
			conf, ok := strings.CutPrefix(path, dir+name+".d/")
			if ok && first[conf] == "" {
				first[conf] = path
				names = append(names, conf)
			}
		}
	}
	slices.Sort(names)
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = first[n]
	}
	return out
}

// The keys of [Network] that are the uplink's as a link: what is stacked on it stays there.
var stackedKeys = []string{"VLAN", "IPVLAN", "IPVTAP", "MACVLAN", "MACVTAP", "MACsec", "Xfrm", "Tunnel"}

// Keys of [Network] that a bridge's port had, or that are written anew.
var portKeys = []string{"Bridge", "Bond", "VRF", "BatmanAdvanced", "ConfigureWithoutCarrier", "KeepConfiguration", "Description", "LLDP", "EmitLLDP", "BindCarrier", "ActiveSlave", "PrimarySlave"}

// Sections that belong to the link, and stay with it.
var linkSections = []string{"SR-IOV", "CAN", "Bridge", "BridgeFDB", "BridgeMDB", "BridgeVLAN", "LLDP"}

// The keys of [Link] that are the wire's, and those that are the host's.
var (
	wireLinkKeys = []string{"MTUBytes", "MACAddress", "Multicast", "AllMulticast", "Promiscuous"}
	hostLinkKeys = []string{"RequiredForOnline", "RequiredFamilyForOnline", "ARP"}
)

// link are the uplink's lines of [Link].
func (c carried) link(b Bridge) (out []string) {
	for _, s := range c.sections {
		for _, l := range s.lines {
			if s.name == "Link" && slices.Contains(wireLinkKeys, l.key) {
				out = append(out, l.key+"="+l.value)
			}
		}
	}
	if b.UplinkMTU != 0 && b.UplinkMTU != 1500 && len(values(c.sections, "Link", "MTUBytes")) == 0 {
		out = append(out, "MTUBytes="+strconv.Itoa(b.UplinkMTU))
	}
	return out
}

func (c carried) stacked() (out []string) {
	for _, s := range c.sections {
		for _, l := range s.lines {
			if s.name == "Network" && slices.Contains(stackedKeys, l.key) {
				out = append(out, l.key+"="+l.value)
			}
		}
	}
	return out
}

// stay writes the sections that stay with the uplink: its queueing disciplines for one.
func (c carried) stay(text *ini) {
	for _, s := range c.sections {
		if staysWithLink(s.name) && s.name != "Bridge" {
			text.section(s.name, written(s.lines)...)
		}
	}
}

// staysWithLink: all that has "Queueing" or "Shaping" in its name is of traffic control
// (tc(8)), beside those that are named.
func staysWithLink(name string) bool {
	if slices.Contains(linkSections, name) {
		return true
	}
	for _, part := range []string{"Discipline", "Queueing", "Control", "CAKE", "TokenBucket", "Controlled", "FIFO", "FlowQueue", "Hierarchy", "QDisc", "QuickFair", "NetworkEmulator", "TrivialLink", "ByteLimit", "Scheduler"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func written(lines []line) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = l.key + "=" + l.value
	}
	return out
}

// host writes what was the uplink's as the bridge's.
func (c carried) host(text *ini, b Bridge) {
	var link []string
	for _, s := range c.sections {
		for _, l := range s.lines {
			if s.name == "Link" && slices.Contains(hostLinkKeys, l.key) {
				link = append(link, l.key+"="+l.value)
			}
		}
	}
	if len(link) > 0 {
		text.section("Link", link...)
	}
	network := []string{"ConfigureWithoutCarrier=yes"}
	dhcp := false
	for _, s := range c.sections {
		for _, l := range s.lines {
			if s.name != "Network" || slices.Contains(stackedKeys, l.key) || slices.Contains(portKeys, l.key) {
				continue
			}
			if l.key == "DHCP" {
				dhcp = l.value == "yes" || l.value == "ipv4" || l.value == "both" || l.value == "v4" || l.value == "true"
			}
			network = append(network, l.key+"="+l.value)
		}
	}
	kept := values(c.sections, "Network", "KeepConfiguration")
	if len(kept) == 0 {
		kept = []string{keep(dhcp)}
	}
	text.section("Network", append(network, "KeepConfiguration="+kept[len(kept)-1])...)
	identity := dhcp && b.DHCP4 != nil && len(b.DHCP4.ClientID) > 0
	for _, s := range c.sections {
		if s.name == "Match" || s.name == "Link" || s.name == "Network" || staysWithLink(s.name) {
			continue
		}
		lines := written(s.lines)
		if identity && (s.name == "DHCPv4" || s.name == "DHCP") {
			lines = slices.DeleteFunc(lines, func(l string) bool {
				key, _, _ := strings.Cut(l, "=")
				return key == "ClientIdentifier" || key == "IAID" || key == "DUIDType" || key == "DUIDRawData"
			})
		}
		text.section(s.name, lines...)
	}
	if identity {
		text.section("DHCPv4", b.DHCP4.lines()...)
	}
}
