package persist

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

const netplanFile = "/etc/netplan/90-drawbridge.yaml"

// Where netplan looks; of files of one name the first counts (netplan-generate(8)).
var netplanDirs = []string{"/run/netplan/", "/etc/netplan/", "/lib/netplan/"}

var netplanReads = append([]string{"/run/netplan/*.yaml", "/etc/netplan/*.yaml", "/lib/netplan/*.yaml"}, networkdReads...)

// portID is what our definition of the uplink is called. netplan merges the files: a
// later one adds to a list and replaces a value, and takes nothing away (null is an
// error). So the user's definition stays, and ours is another one that matches the same
// link: networkd, for whom netplan writes 10-netplan-ID.network, takes the first by name.
const portID = "0-drawbridge-"

// writeNetplan writes a file of ours among the user's. Taps, and the DHCP client's
// identity, are not among netplan's words: they are written for networkd, which reads
// both.
func writeNetplan(w Wish, have Existing) (Files, error) {
	n := netplan{networkd: networkd{have: have}}
	if err := n.choosePrefix(); err != nil {
		return n.out, err
	}
	if err := n.read(); err != nil {
		return n.out, err
	}
	root := mapping()
	set(root, "version", scalar("2"))
	for _, b := range w.Bridges {
		if err := n.bridge(root, b); err != nil {
			return n.out, err
		}
	}
	for _, t := range w.Taps {
		n.tap(t)
	}
	if len(root.Content) == 2 { // the version alone
		return n.out, nil
	}
	doc := mapping()
	set(doc, "network", root)
	var text strings.Builder
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return n.out, err
	}
	const why = "the bridges, with the uplinks' configuration"
	// netplan complains of a file that others may read: there may be passwords in it.
	n.out.Files = append(n.out.Files, File{Path: netplanFile, Mode: 0o600, Content: mark(why) + text.String(), Why: why})
	return n.out, nil
}

type netplan struct {
	networkd
	merged *yaml.Node // the user's network:, nil for none
}

// read merges the user's files as netplan does.
func (n *netplan) read() error {
	first := map[string]string{}
	for _, dir := range netplanDirs {
		for p := range n.have {
			if name, ok := strings.CutPrefix(p, dir); ok && first[name] == "" && !strings.Contains(name, "drawbridge") {
				first[name] = p
			}
		}
	}
	names := make([]string, 0, len(first))
	for name := range first {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(n.have[first[name]]), &doc); err != nil {
			return &Refusal{Object: first[name], Reason: oneLine(err.Error()), Hint: "mend the file; 'netplan generate' tells what netplan says of it"}
		}
		if len(doc.Content) == 0 {
			continue
		}
		if network := get(doc.Content[0], "network"); network != nil {
			n.merged = merge(n.merged, network)
		}
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// The kinds of definitions that an uplink may be of.
var netplanKinds = []string{"ethernets", "bonds", "vlans", "dummy-devices", "veths"}

// definition finds the user's definition of a link.
func (n *netplan) definition(b Bridge) (id string, def *yaml.Node) {
	for _, kind := range netplanKinds {
		section := get(n.merged, kind)
		if section == nil || section.Kind != yaml.MappingNode {
			continue
		}
		for i := 0; i+1 < len(section.Content); i += 2 {
			if is(section.Content[i].Value, section.Content[i+1], b) {
				return section.Content[i].Value, section.Content[i+1]
			}
		}
	}
	return "", nil
}

// is tells whether a definition is the uplink's: by its id, by what it renames, by what it
// matches (netplan-yaml, "match").
func is(id string, def *yaml.Node, b Bridge) bool {
	match := get(def, "match")
	if name := get(def, "set-name"); name != nil {
		return name.Value == b.Uplink
	}
	if match == nil {
		return id == b.Uplink
	}
	mac, name := get(match, "macaddress"), get(match, "name")
	if mac != nil && strings.EqualFold(mac.Value, string(b.MAC)) {
		return true
	}
	if name == nil {
		return false
	}
	patterns := []*yaml.Node{name}
	if name.Kind == yaml.SequenceNode {
		patterns = name.Content
	}
	return slices.ContainsFunc(patterns, func(p *yaml.Node) bool {
		ok, err := path.Match(p.Value, b.Uplink)
		return err == nil && ok
	})
}

// What of a definition is the host's place on the LAN, and goes to the bridge.
var netplanHostKeys = []string{"addresses", "gateway4", "gateway6", "routes", "routing-policy", "nameservers", "dhcp4", "dhcp6", "dhcp-identifier",
	"dhcp4-overrides", "dhcp6-overrides", "accept-ra", "ra-overrides", "ipv6-privacy", "ipv6-address-generation", "ipv6-address-token", "link-local",
	"optional", "optional-addresses", "neigh-suppress", "critical", "activation-mode"}

func (n *netplan) bridge(root *yaml.Node, b Bridge) error {
	id, def := n.definition(b)
	for _, r := range []*yaml.Node{get(def, "renderer"), get(n.merged, "renderer")} {
		if r != nil && r.Value == "NetworkManager" {
			return &Refusal{Object: "netplan", Reason: "hands the network to NetworkManager", Hint: "--manager unit"}
		}
		if r != nil {
			break
		}
	}
	if !b.Made {
		n.out.Notes = append(n.out.Notes, fmt.Sprintf("%s was there before: what makes it is left to make it", b.Name))
	}
	var ports []*yaml.Node
	if b.Uplink != "" {
		if id != "" && id < portID {
			return &Refusal{Object: id, Reason: "this definition's name in netplan comes before ours, and networkd would take it", Hint: "give it another name"}
		}
		port := mapping()
		match := mapping()
		set(match, "name", text(b.Uplink))
		set(port, "match", match)
		if mtu := get(def, "mtu"); mtu != nil {
			set(port, "mtu", mtu)
		} else if b.UplinkMTU != 0 && b.UplinkMTU != 1500 {
			set(port, "mtu", scalar(fmt.Sprint(b.UplinkMTU)))
		}
		set(port, "link-local", list())
		set(port, "dhcp4", scalar("false"))
		set(port, "dhcp6", scalar("false"))
		set(port, "accept-ra", scalar("false"))
		set(under(root, "ethernets"), portID+b.Uplink, port)
		ports = append(ports, text(portID+b.Uplink))
		n.restack(root, id, b)
	}
	if !b.Made {
		set(under(root, "bridges"), b.Name, mapping("interfaces", list(ports...)))
		return nil
	}
	set(under(root, "bridges"), b.Name, n.bridgeDefinition(b, def, ports))
	if b.DHCP4 != nil && len(b.DHCP4.ClientID) > 0 {
		var conf ini
		conf.section("DHCPv4", b.DHCP4.lines()...)
		why := "the DHCP client's identity, for which netplan has no words"
		n.out.Files = append(n.out.Files, File{Path: networkdDir + "10-netplan-" + b.Name + ".network.d/05-drawbridge.conf", Mode: 0o644, Content: mark(why) + conf.String(), Why: why})
	}
	return nil
}

func (n *netplan) bridgeDefinition(b Bridge, def *yaml.Node, ports []*yaml.Node) *yaml.Node {
	out := mapping("interfaces", list(ports...))
	if b.MAC != "" {
		set(out, "macaddress", text(string(b.MAC)))
	}
	if b.MTU != 0 && b.MTU != 1500 {
		set(out, "mtu", scalar(fmt.Sprint(b.MTU)))
	}
	set(out, "parameters", mapping("stp", scalar("false"), "forward-delay", scalar("0")))
	if b.Moved && def != nil {
		for _, key := range netplanHostKeys {
			if v := get(def, key); v != nil {
				set(out, key, v)
			}
		}
		return out
	}
	set(out, "dhcp4", scalar(fmt.Sprint(b.DHCP4 != nil)))
	set(out, "dhcp6", scalar(fmt.Sprint(b.DHCP6)))
	set(out, "accept-ra", scalar(fmt.Sprint(b.RA)))
	if b.Uplink != "" && !b.Moved && len(b.Addresses) == 0 {
		set(out, "link-local", list())
	}
	if len(b.Addresses) > 0 {
		var all []*yaml.Node
		for _, a := range b.Addresses {
			all = append(all, text(a.Prefix.String()))
		}
		set(out, "addresses", list(all...))
	}
	var routes []*yaml.Node
	for _, r := range b.Routes {
		to := r.Destination.String()
		if r.IsDefault() {
			to = "default"
		}
		route := mapping("to", text(to))
		if r.Gateway().IsValid() {
			set(route, "via", text(r.Gateway().String()))
			if r.NextHops[0].OnLink {
				set(route, "on-link", scalar("true"))
			}
		} else {
			set(route, "scope", text("link"))
		}
		if r.Metric != 0 && r.Metric != 1024 {
			set(route, "metric", scalar(fmt.Sprint(r.Metric)))
		}
		if r.Source.IsValid() {
			set(route, "from", text(r.Source.String()))
		}
		if r.Table != 254 && r.Table != 0 {
			set(route, "table", scalar(fmt.Sprint(r.Table)))
		}
		routes = append(routes, route)
	}
	if len(routes) > 0 {
		set(out, "routes", list(routes...))
	}
	return out
}

// restack moves the VLANs that the user has on the uplink to our definition of it: their
// line in the uplink's .network would be passed over with it.
func (n *netplan) restack(root *yaml.Node, id string, b Bridge) {
	vlans := get(n.merged, "vlans")
	if vlans == nil || id == "" {
		return
	}
	for i := 0; i+1 < len(vlans.Content); i += 2 {
		if link := get(vlans.Content[i+1], "link"); link != nil && link.Value == id {
			set(under(root, "vlans"), vlans.Content[i].Value, mapping("id", get(vlans.Content[i+1], "id"), "link", text(portID+b.Uplink)))
		}
	}
}
