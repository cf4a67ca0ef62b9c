package persist

import (
	"fmt"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

const networkdDir = "/etc/systemd/network/"

// Where networkd looks, the first of a file's name counts (systemd.network(5)).
var networkdDirs = []string{networkdDir, "/run/systemd/network/", "/usr/local/lib/systemd/network/", "/usr/lib/systemd/network/", "/lib/systemd/network/"}

var networkdReads = func() []string {
	var out []string
	for _, d := range networkdDirs {
		out = append(out, d+"*.network", d+"*.network.d/*.conf")
	}
	return out
}()

// writeNetworkd writes a .netdev and a .network for every bridge and tap, and a .network
// that plugs the uplink in. Of the .network files that match a link the first by name
// counts: ours must come before the user's, which stay as they are.
func writeNetworkd(w Wish, have Existing) (Files, error) {
	d := networkd{have: have}
	if err := d.choosePrefix(); err != nil {
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
	return d.out, nil
}

type networkd struct {
	have   Existing
	prefix string
	out    Files
}

// choosePrefix finds the beginning of our names: as late as the files that are there let
// it be.
func (d *networkd) choosePrefix() error {
	first := ""
	for path := range d.have {
		name := base(path)
		if isOurs(name) || !strings.HasSuffix(name, ".network") {
			continue
		}
		if first == "" || name < first {
			first = name
		}
	}
	for _, p := range []string{"05-drawbridge-", "00-drawbridge-", "0-drawbridge-"} {
		if d.prefix = p; first == "" || p < first {
			return nil
		}
	}
	return &Refusal{Object: first, Reason: "its name comes before all that ours may be called, and it may match the links of ours", Hint: "give it a name that begins with two digits"}
}

func isOurs(name string) bool { return strings.Contains(name, "drawbridge-") }

func (d *networkd) file(name, why, content string) {
	d.out.Files = append(d.out.Files, File{Path: networkdDir + d.prefix + name, Mode: 0o644, Content: mark(why) + content, Why: why})
}

func (d *networkd) bridge(b Bridge) error {
	if b.Made {
		d.netdev(b)
	} else {
		d.out.Notes = append(d.out.Notes, fmt.Sprintf("%s was there before: what makes it is left to make it", b.Name))
	}
	var carried carried
	if b.Moved {
		var err error
		if carried, err = d.carry(b); err != nil {
			return err
		}
	}
	if b.Uplink != "" {
		d.uplink(b, carried)
	}
	if !b.Made {
		return nil
	}
	var text ini
	text.section("Match", "Name="+b.Name)
	if carried.file != "" {
		carried.host(&text, b)
		d.file(b.Name+".network", fmt.Sprintf("the host's place on %s, as %s has it for %s", b.Name, carried.file, b.Uplink), text.String())
		return nil
	}
	b.host(&text)
	d.file(b.Name+".network", "the host's place on "+b.Name, text.String())
	return nil
}

func (d *networkd) netdev(b Bridge) {
	var text ini
	lines := []string{"Name=" + b.Name, "Kind=bridge"}
	if b.MAC != "" {
		lines = append(lines, "MACAddress="+string(b.MAC))
	}
	if b.MTU != 0 && b.MTU != 1500 {
		lines = append(lines, "MTUBytes="+strconv.Itoa(b.MTU))
	}
	text.section("NetDev", lines...)
	text.section("Bridge", "STP=no", "ForwardDelaySec=0", "MulticastSnooping="+yesNo(b.McastSnooping))
	d.file(b.Name+".netdev", "the bridge of the network "+b.Network, text.String())
}

// uplink plugs the uplink in. It has no addresses, by no protocol.
func (d *networkd) uplink(b Bridge, c carried) {
	var text ini
	text.section("Match", "Name="+b.Uplink)
	if lines := c.link(b); len(lines) > 0 {
		text.section("Link", lines...)
	}
	lines := []string{"Bridge=" + b.Name, "LinkLocalAddressing=no", "DHCP=no", "IPv6AcceptRA=no"}
	text.section("Network", append(lines, c.stacked()...)...)
	c.stay(&text)
	d.file(b.Uplink+".network", fmt.Sprintf("%s is a port of %s", b.Uplink, b.Name), text.String())
}

// host is the host's place on a bridge by what the kernel has.
func (b Bridge) host(text *ini) {
	lines := []string{"ConfigureWithoutCarrier=yes"}
	if b.MTU != 0 && b.MTU != 1500 {
		text.section("Link", "MTUBytes="+strconv.Itoa(b.MTU))
	}
	dhcp := map[[2]bool]string{{true, true}: "yes", {true, false}: "ipv4", {false, true}: "ipv6", {false, false}: "no"}[[2]bool{b.DHCP4 != nil, b.DHCP6}]
	lines = append(lines, "DHCP="+dhcp, "IPv6AcceptRA="+yesNo(b.RA))
	if b.Uplink != "" && !b.Moved && len(b.Addresses) == 0 {
		lines = append(lines, "LinkLocalAddressing=no")
	}
	lines = append(lines, "KeepConfiguration="+keep(b.DHCP4 != nil))
	text.section("Network", lines...)
	for _, a := range b.Addresses {
		text.section("Address", addressLines(a)...)
	}
	for _, r := range b.Routes {
		text.section("Route", routeLines(r)...)
	}
	if b.DHCP4 != nil {
		text.section("DHCPv4", b.DHCP4.lines()...)
	}
	if b.RA && b.Token != "" {
		text.section("IPv6AcceptRA", "Token="+b.Token)
	}
}

// keep is what a restart of networkd leaves on the bridge, so that it is no outage.
func keep(dhcp bool) string {
	if dhcp {
		return "dhcp-on-stop"
	}
	return "static"
}

func addressLines(a model.Address) []string {
	out := []string{"Address=" + a.Prefix.String()}
	if a.Peer.IsValid() {
		out = append(out, "Peer="+a.Peer.String())
	}
	if a.Label != "" && a.Label != a.Link {
		out = append(out, "Label="+a.Label)
	}
	if a.Scope != "" && a.Scope != "global" {
		out = append(out, "Scope="+a.Scope)
	}
	if a.Metric != 0 {
		out = append(out, fmt.Sprintf("RouteMetric=%d", a.Metric))
	}
	if a.Flags.NoPrefixRoute {
		out = append(out, "AddPrefixRoute=no")
	}
	return out
}

func routeLines(r model.Route) []string {
	out := []string{"Destination=" + r.Destination.String()}
	add := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(r.Gateway().IsValid(), "Gateway=%s", r.Gateway())
	add(len(r.NextHops) > 0 && r.NextHops[0].OnLink, "GatewayOnLink=yes")
	add(r.From.IsValid(), "Source=%s", r.From)
	add(r.Source.IsValid(), "PreferredSource=%s", r.Source)
	add(r.Metric != 0 && (r.Is4() || r.Metric != model.MetricRA), "Metric=%d", r.Metric)
	add(r.Table != model.TableMain && r.Table != 0, "Table=%d", r.Table)
	add(r.Scope != "" && r.Scope != "global" && r.Is4(), "Scope=%s", r.Scope)
	add(r.Protocol != "" && r.Protocol != "static", "Protocol=%s", r.Protocol)
	add(r.Metrics["mtu"] != 0, "MTUBytes=%d", r.Metrics["mtu"])
	return out
}

// lines tell networkd's DHCP client what it sent on the uplink: by itself it makes the IAID
// from the link's name, which is another one now (sd-dhcp-client's dhcp_identifier_set_iaid).
func (i *Identity) lines() []string {
	id := i.ClientID
	switch {
	case len(id) > 7 && id[0] == 0xff: // RFC 4361: IAID, then DUID with its type
		iaid := uint32(id[1])<<24 | uint32(id[2])<<16 | uint32(id[3])<<8 | uint32(id[4])
		out := []string{"ClientIdentifier=duid", fmt.Sprintf("IAID=%d", iaid)}
		if kind := duidType(id[5:7]); kind != "" {
			out = append(out, "DUIDType="+kind, "DUIDRawData="+octets(id[7:]))
		}
		return out
	case len(id) == 7 && id[0] == 1, len(id) == 0:
		return []string{"ClientIdentifier=mac"}
	default:
		return nil
	}
}

// duidType is the word for a DUID's type (RFC 8415, 11); link-layer-time and others are
// written with their raw data too.
func duidType(b []byte) string {
	return map[byte]string{1: "link-layer-time", 2: "vendor", 3: "link-layer", 4: "uuid"}[b[1]]
}

func octets(b []byte) string {
	out := make([]string, len(b))
	for i, x := range b {
		out[i] = fmt.Sprintf("%02x", x)
	}
	return strings.Join(out, ":")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (d *networkd) tap(t Tap) {
	var dev ini
	dev.section("NetDev", "Name="+t.Name, "Kind=tap")
	var tap []string
	if t.Owner != "" {
		tap = append(tap, "User="+t.Owner)
	}
	if t.Group != "" {
		tap = append(tap, "Group="+t.Group)
	}
	dev.section("Tap", append(tap, "MultiQueue="+yesNo(t.MultiQueue), "VNetHeader="+yesNo(t.VnetHeader), "PacketInfo="+yesNo(t.PacketInfo))...)
	d.file(t.Name+".netdev", "the tap "+t.Name, dev.String())

	var net ini
	net.section("Match", "Name="+t.Name)
	lines := []string{"ConfigureWithoutCarrier=yes", "LinkLocalAddressing=no", "DHCP=no", "IPv6AcceptRA=no"}
	why := t.Name + " is a plain tap"
	if t.Bridge != "" {
		lines = append(lines, "Bridge="+t.Bridge)
		why = t.Name + " is a port of " + t.Bridge
	} else {
		lines[1] = "LinkLocalAddressing=ipv6"
	}
	for _, a := range t.Addresses {
		lines = append(lines, "Address="+a.String())
	}
	// A tap that nobody holds has no carrier: nobody shall wait for it. Its MAC address would
	// be ignored in the .netdev.
	link := []string{"RequiredForOnline=no"}
	if t.MAC != "" {
		link = append(link, "MACAddress="+string(t.MAC))
	}
	if t.MTU != 0 && t.MTU != 1500 {
		link = append(link, "MTUBytes="+strconv.Itoa(t.MTU))
	}
	net.section("Link", link...)
	net.section("Network", lines...)
	if t.Isolated {
		net.section("Bridge", "Isolated=yes")
	}
	d.file(t.Name+".network", why, net.String())
}

// base is a path's last part, of a drop-in the file that it is for.
func base(path string) string {
	parts := strings.Split(path, "/")
	if n := len(parts); n > 1 && strings.HasSuffix(parts[n-2], ".d") {
		return strings.TrimSuffix(parts[n-2], ".d")
	}
	return parts[len(parts)-1]
}
