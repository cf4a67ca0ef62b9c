package persist

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

const keyfileDir = "/etc/NetworkManager/system-connections/"

// Where NetworkManager has keyfiles (NetworkManager.conf(5), keyfile).
var keyfileDirs = []string{keyfileDir, "/run/NetworkManager/system-connections/", "/usr/lib/NetworkManager/system-connections/"}

var keyfileReads = func() []string {
	var out []string
	for _, d := range keyfileDirs {
		out = append(out, d+"*.nmconnection")
	}
	return out
}()

// Of the profiles that fit a device, NetworkManager activates the one of the highest
// autoconnect-priority at boot: ours must be above the user's, which stays as it is.
const (
	keyfilePriority = 100
	mostPriority    = 999
)

// nmEthernetMetric is what NetworkManager gives the routes of an Ethernet device; of a
// bridge it would be 425 (nm-device.c, nm_device_get_route_metric_default).
const nmEthernetMetric = 100

// writeNetworkManager writes a profile for every bridge and tap, and one that plugs the
// uplink in.
func writeNetworkManager(w Wish, have Existing) (Files, error) {
	k := keyfiles{have: have}
	for _, b := range w.Bridges {
		if err := k.bridge(b); err != nil {
			return k.out, err
		}
	}
	for _, t := range w.Taps {
		if err := k.tap(t); err != nil {
			return k.out, err
		}
	}
	return k.out, nil
}

type keyfiles struct {
	have Existing
	out  Files
}

// profile begins a profile: keys of [connection].
func (k *keyfiles) profile(kind, link, master string, more ...string) *ini {
	lines := []string{"id=drawbridge " + link, "uuid=" + k.uuid(link), "type=" + kind, "interface-name=" + link}
	if master != "" {
		lines = append(lines, "master="+master, "slave-type=bridge")
	}
	text := &ini{}
	text.section("connection", append(lines, more...)...)
	return text
}

// uuid is that of the file that is there: NetworkManager has taken the link over by it. Of
// a new one it is the same for a name at every write (RFC 9562, 5.8: a hash of our own).
func (k *keyfiles) uuid(link string) string {
	if sections, _ := parseINI(k.have[keyfilePath(link)]); len(values(sections, "connection", "uuid")) == 1 {
		return values(sections, "connection", "uuid")[0]
	}
	h := sha256.Sum256([]byte("drawbridge profile " + link))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func keyfilePath(link string) string { return keyfileDir + "drawbridge-" + link + ".nmconnection" }

func (k *keyfiles) file(link, why string, text *ini) {
	// Others may not read a keyfile, or NetworkManager passes it over.
	k.out.Files = append(k.out.Files, File{Path: keyfilePath(link), Mode: 0o600, Content: mark(why) + text.String(), Why: why})
}

func (k *keyfiles) bridge(b Bridge) error {
	var theirs keyfile
	var err error
	if b.Uplink != "" {
		if theirs, err = k.profileOf(b); err != nil {
			return err
		}
		if err := k.uplink(b, theirs); err != nil {
			return err
		}
	}
	if !b.Made {
		k.out.Notes = append(k.out.Notes, fmt.Sprintf("%s was there before: what makes it is left to make it", b.Name))
		return nil
	}
	if !b.Moved {
		theirs = keyfile{}
	}
	text := k.profile("bridge", b.Name, "", theirs.pick("connection", hostConnectionKeys)...)
	var wired []string
	if b.MAC != "" {
		wired = append(wired, "cloned-mac-address="+string(b.MAC))
	}
	if b.MTU != 0 && b.MTU != 1500 {
		wired = append(wired, "mtu="+strconv.Itoa(b.MTU))
	}
	text.section("ethernet", wired...)
	// It takes 0 for unset, which is 15 s; 2 s is the least that it has words for.
	text.section("bridge", "stp=false", "forward-delay=2", fmt.Sprintf("multicast-snooping=%t", b.McastSnooping))
	if theirs.file != "" {
		k.carry(text, b, theirs)
		k.file(b.Name, fmt.Sprintf("the host's place on %s, as %s has it for %s", b.Name, theirs.file, b.Uplink), text)
		return nil
	}
	for _, four := range []bool{true, false} {
		lines, err := k.ip(b, four)
		if err != nil {
			return err
		}
		text.section(ipSection(four), lines...)
	}
	if b.DHCP6 {
		k.noteIAID(b)
	}
	k.file(b.Name, "the host's place on "+b.Name, text)
	return nil
}

func ipSection(four bool) string {
	if four {
		return "ipv4"
	}
	return "ipv6"
}

// uplink writes the profile of the port. What is the wire's stays with it.
func (k *keyfiles) uplink(b Bridge, theirs keyfile) error {
	priority := keyfilePriority
	for _, other := range k.rivals(b) {
		if other.priority() == mostPriority {
			return &Refusal{Object: other.file, Reason: fmt.Sprintf("its autoconnect-priority is %d, and ours must be higher", mostPriority), Hint: "give it a lower one, or use --manager unit"}
		}
		priority = max(priority, other.priority()+1)
	}
	text := k.profile("ethernet", b.Uplink, b.Name, append([]string{"autoconnect-priority=" + strconv.Itoa(priority)}, theirs.pick("connection", wireConnectionKeys)...)...)
	wired, mtu := []string{}, false
	for _, s := range theirs.sections {
		if s.name != "ethernet" && s.name != "802-3-ethernet" {
			continue
		}
		for _, l := range s.lines {
			switch {
			case l.key == "cloned-mac-address" && b.MAC != "" && l.value != "permanent" && l.value != "preserve":
				l.value = string(b.MAC) // "stable" would be another one in another profile
			case l.key == "mtu":
				mtu = true
			}
			wired = append(wired, l.key+"="+l.value)
		}
	}
	if b.UplinkMTU != 0 && b.UplinkMTU != 1500 && !mtu {
		wired = append(wired, "mtu="+strconv.Itoa(b.UplinkMTU))
	}
	text.section("ethernet", wired...)
	for _, s := range theirs.sections {
		if slices.Contains(wireSections, s.name) {
			text.section(s.name, written(s.lines)...)
		}
	}
	text.section("bridge-port")
	why := b.Uplink + " is a port of " + b.Name
	if theirs.file != "" {
		why += ", before " + theirs.file + " can have it"
	}
	k.file(b.Uplink, why, text)
	return nil
}

// ip is [ipv4] or [ipv6] of what the kernel has.
func (k *keyfiles) ip(b Bridge, four bool) ([]string, error) {
	var addresses []model.Address
	for _, a := range b.Addresses {
		if a.Prefix.Addr().Is4() == four {
			addresses = append(addresses, a)
		}
	}
	method := "disabled"
	switch {
	case four && b.DHCP4 != nil, !four && b.RA:
		method = "auto"
	case !four && b.DHCP6:
		method = "dhcp"
	case len(addresses) > 0:
		method = "manual"
	case !four && (b.Uplink == "" || b.Moved):
		method = "link-local"
	}
	lines := []string{"method=" + method}
	for i, a := range addresses {
		if a.Peer.IsValid() {
			return nil, &Refusal{Object: b.Name, Reason: fmt.Sprintf("NetworkManager has no words for the address %s with the peer %s", a.Prefix, a.Peer), Hint: "--manager unit"}
		}
		lines = append(lines, fmt.Sprintf("address%d=%s", i+1, a.Prefix))
	}
	n, gateway := 0, false
	for _, r := range b.Routes {
		if r.Is4() != four {
			continue
		}
		if len(r.NextHops) > 1 {
			return nil, &Refusal{Object: b.Name, Reason: fmt.Sprintf("NetworkManager has no words for the route to %s by several gateways", r.Destination), Hint: "--manager unit"}
		}
		if !gateway && len(addresses) > 0 && plainGateway(r) && int64(r.Metric) == b.metric(four, 0) {
			lines, gateway = append(lines, "gateway="+r.Gateway().String()), true
			continue
		}
		n++
		lines = append(lines, keyfileRoute(n, r)...)
	}
	if method != "disabled" && method != "link-local" {
		lines = append(lines, fmt.Sprintf("route-metric=%d", b.metric(four, 0)))
	}
	if four && b.DHCP4 != nil {
		lines = append(lines, "dhcp-client-id="+cmp.Or(k.identity(b), "mac"))
	}
	if !four && (method == "auto" || method == "manual" || method == "dhcp") {
		lines = append(lines, b.interfaceID()...)
	}
	return lines, nil
}

func plainGateway(r model.Route) bool {
	return r.IsDefault() && r.Gateway().IsValid() && (r.Table == model.TableMain || r.Table == 0) && !r.Source.IsValid() && !r.From.IsValid() && len(r.Metrics) == 0 && !r.NextHops[0].OnLink
}

func keyfileRoute(n int, r model.Route) []string {
	gateway := ""
	if r.Gateway().IsValid() {
		gateway = r.Gateway().String()
	}
	out := []string{fmt.Sprintf("route%d=%s,%s,%d", n, r.Destination, gateway, r.Metric)}
	var options []string
	add := func(when bool, format string, args ...any) {
		if when {
			options = append(options, fmt.Sprintf(format, args...))
		}
	}
	add(r.Table != model.TableMain && r.Table != 0, "table=%d", r.Table)
	add(r.Source.IsValid(), "src=%s", r.Source)
	add(r.From.IsValid(), "from=%s", r.From)
	add(len(r.NextHops) > 0 && r.NextHops[0].OnLink, "onlink=true")
	add(r.Metrics["mtu"] != 0, "mtu=%d", r.Metrics["mtu"])
	if len(options) > 0 {
		out = append(out, fmt.Sprintf("route%d_options=%s", n, strings.Join(options, ",")))
	}
	return out
}

// metric is the one of the host's default route by the bridge, in use now; the routes of
// its addresses have the same under NetworkManager.
func (b Bridge) metric(four bool, otherwise int64) int64 {
	for _, d := range b.Defaults {
		if d.Is4() == four {
			return int64(d.Metric)
		}
	}
	return otherwise
}

// interfaceID has SLAAC make the address that the host has: by itself NetworkManager makes
// it of the link's name and the profile, which are others now (RFC 7217).
func (b Bridge) interfaceID() []string {
	token := b.Token
	if token == "" && len(b.Advertised) > 0 {
		bytes := b.Advertised[0].As16()
		copy(bytes[:], make([]byte, 8))
		token = netip.AddrFrom16(bytes).String()
	}
	if token == "" || token == eui64(b.MAC) {
		return []string{"addr-gen-mode=eui64"}
	}
	return []string{"addr-gen-mode=eui64", "token=" + token}
}

// eui64 is the interface identifier that the kernel makes of a MAC address (RFC 4291, A).
func eui64(mac model.MAC) string {
	hw, err := hex.DecodeString(strings.ReplaceAll(string(mac), ":", ""))
	if err != nil || len(hw) != 6 {
		return ""
	}
	return netip.AddrFrom16([16]byte{8: hw[0] ^ 2, 9: hw[1], 10: hw[2], 11: 0xff, 12: 0xfe, 13: hw[3], 14: hw[4], 15: hw[5]}).String()
}

func (k *keyfiles) noteIAID(b Bridge) {
	k.out.Notes = append(k.out.Notes, fmt.Sprintf("%s: NetworkManager makes the IAID of DHCPv6 from the link's name, so that the server may give another IPv6 address", b.Name))
}

func (k *keyfiles) tap(t Tap) error {
	text := k.profile("tun", t.Name, t.Bridge)
	var wired []string
	if t.MAC != "" {
		wired = append(wired, "cloned-mac-address="+string(t.MAC))
	}
	if t.MTU != 0 && t.MTU != 1500 {
		wired = append(wired, "mtu="+strconv.Itoa(t.MTU))
	}
	text.section("ethernet", wired...)
	tun := []string{"mode=2"} // a tap
	for _, id := range []struct {
		key, name string
		number    *uint32
	}{{"owner", t.Owner, t.UID}, {"group", t.Group, t.GID}} {
		switch {
		case id.number != nil:
			tun = append(tun, fmt.Sprintf("%s=%d", id.key, *id.number)) // it takes numbers only
		case id.name != "":
			return &Refusal{Object: t.Name, Reason: fmt.Sprintf("NetworkManager takes numbers only, and the number of its %s %s is not known", id.key, id.name), Hint: "--manager unit"}
		}
	}
	for _, flag := range []struct {
		on  bool
		key string
	}{{t.PacketInfo, "pi"}, {t.VnetHeader, "vnet-hdr"}, {t.MultiQueue, "multi-queue"}} {
		if flag.on {
			tun = append(tun, flag.key+"=true")
		}
	}
	text.section("tun", tun...)
	why := t.Name + " is a plain tap"
	if t.Bridge != "" {
		why = t.Name + " is a port of " + t.Bridge
		text.section("bridge-port")
		if t.Isolated {
			k.out.Left = append(k.out.Left, "isolation of the port "+t.Name)
		}
	} else {
		for _, four := range []bool{true, false} {
			lines := []string{"method=" + map[bool]string{true: "disabled", false: "link-local"}[four]}
			n := 0
			for _, a := range t.Addresses {
				if a.Addr().Is4() == four {
					n++
					lines[0] = "method=manual"
					lines = append(lines, fmt.Sprintf("address%d=%s", n, a))
				}
			}
			text.section(ipSection(four), lines...)
		}
	}
	k.file(t.Name, why, text)
	return nil
}

// isOurProfile tells ours by the name of the file.
func isOurProfile(file string) bool { return strings.HasPrefix(path.Base(file), "drawbridge-") }
