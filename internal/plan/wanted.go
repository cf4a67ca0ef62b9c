package plan

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// wanted is the file's wish made concrete for this host: uplinks found, owners
// looked up, MAC addresses chosen.
type wanted struct {
	bridges  []wantedBridge
	cables   []wantedCable
	machines []model.MachineConfig
	services []model.Service
	byLink   map[string]int     // cables
	natted   map[string]*natted // by network
}

type wantedBridge struct {
	name, network string
	mode          string
	uplink        string // the port that leads to the LAN, "" for none
	via           string // the link that the host routes by, "" for none
	onLAN         bool   // routed: the machines have addresses of the LAN
	host          string // move, none or list
	addresses     []netip.Prefix
	// forwarding is what goes between it and the rest of the world; nil: what the host
	// forwards anyway.
	forwarding *model.Forwarding
	// closed: the host is not on it.
	closed bool
}

// wantedCable is the host's end of a VM's cable: a tap, or half of a veth pair.
type wantedCable struct {
	link, transport string
	owner, group    *uint32
	ownerName       string
	groupName       string
	bridge          string // "" for a plain one
	host            []netip.Prefix
	given           []netip.Prefix      // the machine's own, by the file
	security        *model.PortSecurity // nil: it may send anything
	isolated        bool
	machine         string // the machine that it is for, "" for one that something else starts
	multiQueue      bool
	forwarding      *model.Forwarding // of a plain one that the host is on
	// quiet: the host's own stack shall not speak at this port, which is on an isolated
	// network; heard: it may again, for the port was on one.
	quiet, heard bool
}

// empty is the wish of 'down': nothing of ours shall be left.
func (w *wanted) empty() bool {
	return len(w.bridges)+len(w.cables)+len(w.machines)+len(w.services) == 0
}

func (w *wanted) networks() []OwnedNetwork {
	var out []OwnedNetwork
	for _, b := range w.bridges {
		n := OwnedNetwork{Name: b.network, Bridge: b.name, Mode: b.mode}
		if b.forwarding != nil {
			n.Subnets = b.forwarding.Subnets
		}
		out = append(out, n)
	}
	return out
}

func (w *wanted) bridge(name string) *wantedBridge {
	return at(w.bridges, func(b wantedBridge) bool { return b.name == name })
}

func (w *wanted) cable(link string) *wantedCable {
	if i, ok := w.byLink[link]; ok {
		return &w.cables[i]
	}
	return nil
}

func (w *wanted) machine(name string) *model.MachineConfig {
	return at(w.machines, func(m model.MachineConfig) bool { return m.Name == name })
}

func at[T any](list []T, is func(T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return &list[i]
	}
	return nil
}

// resolve makes the wish concrete. What this host lacks is refused, all of it at once.
func (b *builder) resolve(want spec.Desired) *wanted {
	w := &wanted{natted: map[string]*natted{}}
	bridgeOf := map[string]string{}
	b.given = givenSubnets(want)
	for _, n := range want.Networks {
		wb := wantedBridge{mode: n.Mode, name: n.Bridge, network: n.Name, host: n.Host.Mode, addresses: n.Host.Addresses}
		switch n.Mode {
		case spec.Bridged:
			wb.uplink = b.findUplink(n)
		case spec.NAT:
			nn := b.natNetwork(n)
			w.natted[n.Name] = nn
			wb.host, wb.addresses = spec.HostList, nn.hosts()
		case spec.Routed:
			wb.via, wb.onLAN = b.findVia(n), n.OnLAN()
		case spec.AutoMode:
			b.choose(n, &wb)
		}
		if wb.via != "" && wb.onLAN {
			w.services = append(w.services, wb.relay())
		}
		switch n.Mode {
		case spec.Isolated:
			b.isolateNetwork(&wb)
		case spec.HostOnly:
			wb.forwarding = b.notForwarded(n.Name, n.Bridge)
		}
		b.checkBridge(wb)
		bridgeOf[n.Name] = n.Bridge
		w.bridges = append(w.bridges, wb)
	}
	for _, m := range want.Machines {
		for _, n := range m.NICs {
			if nn := w.natted[n.Network]; nn != nil {
				nn.claim(n)
			}
		}
	}
	for _, m := range want.Machines {
		w.addMachine(b, m, bridgeOf)
	}
	for i := range w.bridges {
		if nn := w.natted[w.bridges[i].network]; nn != nil {
			w.bridges[i].forwarding = nn.forwarding()
			if s := nn.service(); s != nil {
				w.services = append(w.services, *s)
			}
		}
	}
	for _, t := range want.Taps {
		c := wantedCable{link: t.Name, transport: model.TransportTap, bridge: bridgeOf[t.Network], host: t.Host, given: t.Addresses}
		c.owner, c.ownerName = b.user(t.Owner)
		c.group, c.groupName = b.group(t.Group)
		c.secure(b, t.Security, t.MAC, t.DHCP, t.Addresses)
		w.cables = append(w.cables, c)
	}
	w.guardPorts(b)
	w.byLink = make(map[string]int, len(w.cables))
	for i, c := range w.cables {
		w.byLink[c.link] = i
		if c.bridge == "" && len(c.host) > 0 {
			w.cables[i].forwarding = b.notForwarded(c.link, c.link)
		}
		b.checkCable(c)
		b.check6(c.link, c.host)
		b.adopt(c)
	}
	for _, wb := range w.bridges {
		b.check6(wb.name, wb.addresses)
		b.checkPorts(w, wb)
		b.checkRouted(w, wb)
	}
	return w
}

func (w *wanted) addMachine(b *builder, m spec.Machine, bridgeOf map[string]string) {
	if known := b.now.Machine(m.Name); known != nil && known.Config == nil {
		b.refuse(m.Name, "a machine of that name runs already, and was not started by drawbridge", "choose another name in the file")
	}
	mc := model.MachineConfig{Name: m.Name, VMM: m.VMM, Arch: m.Arch, Accel: m.Accel, Memory: m.Memory, Kernel: m.Kernel, Root: m.Root, Writes: m.Writes, Restart: m.Restart, Args: m.Args,
		SSHKeys: m.SSHKeys, UserData: m.UserData, NoSeed: m.NoSeed}
	if m.CPUs > 1 {
		mc.CPUs = m.CPUs
	}
	if mc.Restart == spec.RestartNo {
		mc.Restart = ""
	}
	user := ""
	if m.VMM == spec.UML {
		// It opens its taps itself, as one user: whoever owns one owns all of them.
		if i := slices.IndexFunc(m.NICs, func(n spec.NIC) bool { return n.Owner != "" }); i >= 0 {
			user = m.NICs[i].Owner
		}
	}
	routed := slices.ContainsFunc(m.NICs, func(n spec.NIC) bool { return w.natted[n.Network] == nil && (n.DHCP || n.Gateway.IsValid()) })
	for _, n := range m.NICs {
		c := wantedCable{link: n.Tap, bridge: bridgeOf[n.Network], host: n.Host, given: n.Addresses, machine: m.Name, transport: model.TransportTap}
		if b.noTap(n.Tap) || m.VMM == spec.NamespaceKind {
			c.transport = model.TransportVeth
		}
		if m.VMM == spec.QEMU && b.noTap(n.Tap) {
			b.refuse(m.Name, "a QEMU needs the tap "+n.Tap+", which is not there and cannot be made", "as root: drawbridge tap add, with --owner; or vmm: uml, which does with a veth")
		}
		if c.transport == model.TransportTap {
			c.owner, c.ownerName = b.user(cmp.Or(n.Owner, user))
			c.multiQueue = mc.CPUs > 1
		}
		if m.VMM != spec.NamespaceKind && c.owner != nil {
			mc.Owner = c.owner
		}
		nic := model.NICConfig{Name: n.Name, MAC: n.MAC, DHCP: n.DHCP, Addresses: n.Addresses, Gateway: n.Gateway}
		if nic.MAC == "" {
			nic.MAC = chooseMAC(b.opt.Seed, m.Name, n.Name)
		}
		known := nic.Addresses
		if nn := w.natted[n.Network]; nn != nil {
			nn.join(b, mc, n, &nic, !routed)
			routed = true
			known = nn.sources(nic)
		}
		c.secure(b, n.Security, nic.MAC, nic.DHCP, known)
		w.cables = append(w.cables, c)
		if n.Cabled {
			nic.Link, nic.Transport = c.link, c.transport
		}
		mc.NICs = append(mc.NICs, nic)
	}
	slices.SortFunc(mc.NICs, func(x, y model.NICConfig) int { return model.NaturalCompare(x.Name, y.Name) })
	w.machines = append(w.machines, mc)
}

// noTap tells whether a machine must do without a tap: there is none, and none can be made.
func (b *builder) noTap(name string) bool {
	l := b.here().Link(name)
	return b.opt.NoTaps && (l == nil || l.Tap == nil)
}

// chooseMAC makes a stable unicast address with the local bit (IEEE 802), its own
// for each host, machine and NIC.
func chooseMAC(seed, machine, nic string) model.MAC {
	sum := sha256.Sum256([]byte(seed + "\x00" + machine + "\x00" + nic))
	return model.MAC(fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4]))
}

// portMAC is a stable address for the host's end of a cable. It is the highest of all:
// a bridge without an explicit address takes the lowest of its ports, and must not
// take this one.
func portMAC(seed, link string) model.MAC {
	return "fe" + chooseMAC(seed, "port", link)[2:]
}

func (b *builder) user(name string) (*uint32, string) {
	return b.id(name, "user", b.opt.Users)
}

func (b *builder) group(name string) (*uint32, string) {
	return b.id(name, "group", b.opt.Groups)
}

func (b *builder) id(name, what string, ids map[string]uint32) (*uint32, string) {
	if name == "" {
		return nil, ""
	}
	id, ok := ids[name]
	if !ok {
		b.refuse(name, "no such "+what+" on this host", "name one that exists: getent passwd; getent group")
		return nil, ""
	}
	return &id, name
}

// findUplink names the uplink of a bridged network, and refuses one that cannot be
// plugged into its bridge.
func (b *builder) findUplink(n spec.Network) string {
	name := b.uplinkName(n)
	if name == "" {
		return ""
	}
	l := b.here().Link(name)
	switch {
	case l == nil:
		b.refuse(name, "no such interface for the uplink of network "+n.Name, "the interfaces here: "+b.linkNames())
	case l.Kind == model.Loopback, l.Kind == model.Bridged, isTunnel(l.Kind):
		b.refuse(name, fmt.Sprintf("is a %s, and cannot be the uplink of a bridge", l.Kind), "name an Ethernet interface")
	case l.Kind == model.Wireless:
		b.refuse(name, "is wireless: the access point drops frames from any MAC address but its own client's", "use mode: routed, or auto, instead of bridged")
	case b.opt.Filtered[name] && l.Master != n.Bridge:
		b.refuse(name, "is on a LAN that drops frames from any MAC address but its own, as access points and clouds do: the gateway answers that one, and no other", "use mode: routed, or auto; or --ignore-mac-filter to bridge all the same")
	case l.Master != "" && l.Master != n.Bridge:
		b.refuse(name, "is a port of "+l.Master+" already", fmt.Sprintf("use that bridge (bridge: %s), or take it out first: ip link set %s nomaster", l.Master, name))
	case b.childOf(name, model.Macvlan, model.Macvtap, model.IPvlan) != "":
		b.refuse(name, "carries "+b.childOf(name, model.Macvlan, model.Macvtap, model.IPvlan)+": the kernel does not let the lower interface of a macvlan or ipvlan into a bridge", "remove it, or use another uplink")
	default:
		return name
	}
	return ""
}

// uplinkName is the uplink's name, by the file or by the default route.
func (b *builder) uplinkName(n spec.Network) string {
	if n.Uplink != "" && n.Uplink != spec.Auto {
		return n.Uplink
	}
	name := b.autoUplink(n.Bridge)
	if name == "" {
		b.refuse("network "+n.Name, "no uplink: this host has no default route to tell it by", "name it in the file (uplink: eth0) or with --uplink")
	}
	return name
}

// autoUplink is the device of the default route; once that is the bridge itself, the
// port that was plugged into it as its uplink.
func (b *builder) autoUplink(bridge string) string {
	if u := b.own.uplinkOf(bridge); u != nil {
		return u.Name
	}
	r := b.here().DefaultRoute()
	if r == nil {
		return ""
	}
	if l := b.here().Link(r.Link()); l != nil && isTunnel(l.Kind) {
		// A VPN has taken it: the LAN is where it was before.
		for _, kept := range b.own.Routed {
			if kept.Bridge == bridge {
				return kept.Uplink
			}
		}
		if o := b.onEthernet(); o != nil {
			r = o
		}
	}
	l := b.here().Link(r.Link())
	if l == nil || l.Kind != model.Bridged {
		return r.Link()
	}
	for _, p := range b.here().Ports(l.Name) {
		if p.Kind == model.Physical || p.MAC == l.MAC {
			return p.Name
		}
	}
	return ""
}

// isTunnel tells whether a link has no Ethernet at its wire end.
func isTunnel(k model.Kind) bool {
	return k == model.TunKind || k == model.Wireguard || k == model.IPIP
}

// onEthernet is the default route that would be taken without the tunnels.
func (b *builder) onEthernet() *model.Route {
	ns := b.here().Clone()
	ns.Routes = slices.DeleteFunc(ns.Routes, func(r model.Route) bool {
		l := ns.Link(r.Link())
		return l == nil || isTunnel(l.Kind)
	})
	return ns.DefaultRoute()
}

func (b *builder) linkNames() string {
	var names []string
	for _, l := range b.here().Links {
		if l.Kind != model.Loopback {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return fmt.Sprint(names)
}

func (b *builder) childOf(link string, kinds ...model.Kind) string {
	for _, l := range b.here().Links {
		if l.Parent != nil && l.Parent.Name == link && slices.Contains(kinds, l.Kind) {
			return l.Name
		}
	}
	return ""
}

func (b *builder) checkBridge(wb wantedBridge) {
	l := b.here().Link(wb.name)
	switch {
	case l == nil || b.own.ownsLink(wb.name):
	case l.Kind != model.Bridged:
		b.refuse(wb.name, fmt.Sprintf("exists already, and is a %s, not a bridge", l.Kind), "choose another name for the bridge of network "+wb.network)
	default:
		b.note("%s exists already: it is used as it is, and 'down' leaves it", wb.name)
	}
}

func (b *builder) checkCable(c wantedCable) {
	l := b.here().Link(c.link)
	if l == nil || b.own.ownsLink(c.link) && l.Tap == nil {
		return
	}
	if !b.own.ownsLink(c.link) && (c.transport == model.TransportVeth || l.Tap == nil) {
		b.refuse(c.link, fmt.Sprintf("exists already, and is a %s that is not ours", kindWord(l.Kind)), "choose another tap name in the file")
		return
	}
	for _, h := range l.Tap.Holders {
		if c.machine != "" && h.Machine != c.machine && !b.heldBy(c) {
			b.refuse(c.link, fmt.Sprintf("is held by another process, %s (pid %d)", h.Command, h.PID), "end it, or choose another tap name in the file")
		}
	}
	if c.owner != nil && (l.Tap.Owner == nil || *l.Tap.Owner != *c.owner) && !b.own.ownsLink(c.link) {
		b.refuse(c.link, "exists already, and does not belong to "+c.ownerName, "delete it (ip link del "+c.link+"), or choose another tap name in the file")
	}
}

// heldBy tells whether the machine that a cable is for has its NIC on it already: the
// holder is then one of that machine's processes.
func (b *builder) heldBy(c wantedCable) bool {
	m := b.now.Machine(c.machine)
	return m != nil && slices.ContainsFunc(m.NICs, func(n model.MachineNIC) bool { return n.Link.Name == c.link })
}

// queuesFit tells whether a tap for a machine has one queue, or several, as it needs.
func (c wantedCable) queuesFit(l *model.Link) bool {
	return c.machine == "" || l.Tap == nil || l.Tap.MultiQueue == c.multiQueue
}

// fits tells whether a link can serve as the host's end of a cable as it is.
func (c wantedCable) fits(l *model.Link) bool {
	if c.transport == model.TransportVeth {
		return l.Kind == model.Veth
	}
	return l.Tap != nil && (c.owner == nil || l.Tap.Owner != nil && *l.Tap.Owner == *c.owner)
}
