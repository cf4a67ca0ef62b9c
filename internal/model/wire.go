package model

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Wire makes the wiring of a snapshot. Loopback devices are left out, and so is a
// VM's half of a veth pair: it is drawn as the VM's NIC.
func Wire(s Snapshot) Wiring {
	b := wirer{s: &s, nics: map[Ref]nicOf{}, links: map[Ref]*Link{}, segments: map[string]bool{}, defaults: map[string]*Route{}, stacks: map[string]string{}, servers: map[string]netip.Addr{}, nat: map[string][]SourceNAT{}, out4: map[string]string{}, out6: map[string]string{}, w: Wiring{Version: WiringVersion}}
	for i := range s.Namespaces {
		ns := &s.Namespaces[i]
		for j := range ns.Links {
			b.links[Ref{ns.Name, ns.Links[j].Name}] = &ns.Links[j]
		}
	}
	b.collectMachines()
	for i := range s.Namespaces {
		b.addStack(&s.Namespaces[i], i == 0)
	}
	for i := range s.Namespaces {
		b.addLinks(&s.Namespaces[i], i == 0)
	}
	b.addMachines()
	b.nameSegments()
	b.markRouted()
	return b.w
}

// nicOf is the machine's NIC at the other end of a link's cable.
type nicOf struct{ machine, nic string }

type wirer struct {
	s    *Snapshot
	w    Wiring
	nics map[Ref]nicOf
	// links of all namespaces, and the ids of the segments so far: there may be
	// thousands of either.
	links    map[Ref]*Link
	segments map[string]bool
	defaults map[string]*Route      // of each stack
	nat      map[string][]SourceNAT // of each stack
	// out4 and out6 are the links of the default routes of each stack.
	out4, out6 map[string]string
	stacks     map[string]string     // id by the namespace's name
	servers    map[string]netip.Addr // DHCP's, by the interface's id
	// machines are the snapshot's, and those that are only known as holders of a tap.
	machines []Machine
}

// collectMachines finds who is at the other end of each tap: a machine that is
// known by name, or else the process that holds it, as a machine of its own.
func (b *wirer) collectMachines() {
	b.machines = slices.Clone(b.s.Machines)
	for _, m := range b.machines {
		for _, n := range m.NICs {
			if n.Link.Name != "" {
				b.nics[n.Link] = nicOf{m.Name, n.Name}
			}
		}
	}
	byPID := map[int]int{}
	for _, ns := range b.s.Namespaces {
		for _, l := range ns.Links {
			ref := Ref{ns.Name, l.Name}
			if _, known := b.nics[ref]; known || l.Kind != TapKind || l.Tap == nil || len(l.Tap.Holders) == 0 {
				continue
			}
			h := l.Tap.Holders[0]
			i, seen := byPID[h.PID]
			if !seen {
				i = len(b.machines)
				byPID[h.PID] = i
				b.machines = append(b.machines, Machine{Name: b.holderName(h, l.Name), VMM: vmmOf(h.Command), State: "running", PID: h.PID})
			}
			m := &b.machines[i]
			nic := fmt.Sprintf("nic%d", len(m.NICs))
			m.NICs = append(m.NICs, MachineNIC{Name: nic, Link: ref})
			b.nics[ref] = nicOf{m.Name, nic}
		}
	}
	slices.SortStableFunc(b.machines, func(x, y Machine) int { return NaturalCompare(x.Name, y.Name) })
}

// holderName names a machine that is not ours after its process, and after its
// first tap as well where another one has that name.
func (b *wirer) holderName(h Holder, tap string) string {
	name := cmp.Or(h.Machine, h.Name, h.Command)
	for _, m := range b.machines {
		if m.Name == name {
			return name + ":" + tap
		}
	}
	return name
}

// vmmOf tells the virtual machine monitor from a process's name.
func vmmOf(command string) string {
	for _, v := range []struct{ prefix, vmm string }{
		{"qemu", "qemu"}, {"kvm", "qemu"}, {"linux", "uml"}, {"vmlinux", "uml"}, {"firecracker", "firecracker"},
		{"cloud-hyperviso", "cloud-hypervisor"}, {"crosvm", "crosvm"}, {"kvmtool", "kvmtool"}, {"lkvm", "kvmtool"},
	} {
		if strings.HasPrefix(command, v.prefix) {
			return v.vmm
		}
	}
	return "process"
}

func stackID(ns *Namespace, first bool) string {
	if first {
		return "host"
	}
	return "netns:" + ns.Name
}

func (b *wirer) addStack(ns *Namespace, first bool) {
	id := stackID(ns, first)
	st := Stack{ID: id, Name: ns.Name, Kind: "namespace"}
	switch {
	case first:
		st.Name, st.Kind, st.System = b.s.Host, "host", b.s.System
	case ns.Container != nil:
		st.Name, st.Kind, st.System = ns.Container.describe()
	}
	b.defaults[id], b.nat[id], b.stacks[ns.Name] = ns.DefaultRoute(), ns.sourceNAT(), id
	b.out4[id], b.out6[id] = ns.waysOut()
	b.w.Stacks = append(b.w.Stacks, st)
	for _, l := range ns.Links {
		if l.Kind == VRF {
			b.w.Stacks = append(b.w.Stacks, Stack{ID: "vrf:" + Ref{ns.Name, l.Name}.String(), Name: l.Name, Kind: "vrf", Parent: id})
		}
	}
}

// describe is a stack's name and kind, and by what it is run.
func (c *Container) describe() (name, kind, system string) {
	switch c.Runtime {
	case "":
		return c.Name, "process", ""
	case "service":
		return c.Name, "process", "systemd service"
	case "pod":
		return c.Name, "container", "Kubernetes pod"
	case "lxc":
		return c.Name, "container", "LXC"
	case "nspawn":
		return c.Name, "container", "systemd-nspawn"
	default: // docker, podman, containerd: by their own names
		return c.Name, "container", strings.ToUpper(c.Runtime[:1]) + c.Runtime[1:]
	}
}

func (b *wirer) addLinks(ns *Namespace, first bool) {
	stack := stackID(ns, first)
	for i := range ns.Links {
		l := &ns.Links[i]
		ref := Ref{ns.Name, l.Name}
		if l.isDatapath() {
			b.w.Segments = append(b.w.Segments, Segment{ID: "bridge:" + ref.String(), Name: "Open vSwitch", Kind: "bridge", Stack: stack})
		}
		if l.Kind == Loopback || l.Kind == VRF || l.isDatapath() || b.isMachineHalf(ns, l) {
			continue
		}
		if l.Kind == Bridged {
			b.w.Segments = append(b.w.Segments, Segment{ID: "bridge:" + ref.String(), Name: l.Name, Kind: "bridge", Stack: stack, VLANAware: l.Bridge != nil && l.Bridge.VLANFiltering})
		}
		itf := Interface{
			ID: stack + "/" + l.Name, Name: l.Name, Kind: l.Kind, Stack: stack, MAC: l.MAC, MTU: l.MTU,
			Up: l.Up, Carrier: l.Carrier, Owner: ownerOf(l), Security: securityOf(ns, l), Managers: managersOf(l), Detail: detailOf(l),
			HostEnd: b.hostEnd(ns, l, stack), WireEnd: b.wireEnd(ns, l),
		}
		if l.Port != nil {
			itf.VLANs = l.Port.VLANs
		}
		if m := b.links[Ref{ns.Name, l.Master}]; m != nil {
			itf.Standby = m.ActivePort != "" && m.ActivePort != l.Name
		}
		itf.HolderUnknown = b.heldByNobodyKnown(ns, l)
		misplaced := l.Master != "" && itf.HostEnd.In != InStack
		addresses := ns.AddressesOf(l.Name)
		itf.Addresses = wiredAddresses(addresses, misplaced)
		for _, a := range addresses {
			if a.Server.IsValid() {
				b.servers[itf.ID] = a.Server
			}
		}
		b.noteRoles(ns, &itf)
		b.w.Interfaces = append(b.w.Interfaces, itf)
	}
}

// securityOf is what is asked of the wire end, in a word or two.
func securityOf(ns *Namespace, l *Link) string {
	var words []string
	if p := ns.SecurityOf(l.Name); p != nil {
		words = append(words, p.Level)
		switch {
		case p.Level == SecurityOff && p.Rate+p.Storm > 0:
			words[0] = "limited"
		case p.Level == SecurityOff:
			words[0] = "guarded"
		}
		if p.Altered {
			words[0] = "altered"
		}
	}
	if l.Port != nil && l.Port.Isolated {
		words = append(words, "isolated")
	}
	return strings.Join(words, ", ")
}

// heldByNobodyKnown: a tap has a carrier while some process has it open (tun_chr_open,
// tun_attach), whether that process may be looked at or not.
func (b *wirer) heldByNobodyKnown(ns *Namespace, l *Link) bool {
	_, cabled := b.nics[Ref{ns.Name, l.Name}]
	return l.Kind == TapKind && l.Carrier && !cabled
}

// isMachineHalf tells whether a veth is the VM's half of a pair that a machine's NIC
// claims (UML's raw transport leaves that half in the host's namespace).
func (b *wirer) isMachineHalf(ns *Namespace, l *Link) bool {
	if l.Kind != Veth || l.Peer == nil || l.Peer.Namespace != ns.Name {
		return false
	}
	_, claimed := b.nics[Ref{ns.Name, l.Peer.Name}]
	return claimed && l.Name == PeerName(l.Peer.Name)
}

func (b *wirer) hostEnd(ns *Namespace, l *Link, stack string) End {
	m := b.links[Ref{ns.Name, l.Master}]
	switch p := ns.SecurityOf(l.Name); {
	case p != nil && p.Level == SecurityClosed && !p.Altered:
		return End{In: InNothing}
	case m == nil:
		return End{InStack, stack}
	case m.Kind == Bridged || m.isDatapath():
		return End{InSegment, "bridge:" + Ref{ns.Name, m.Name}.String()}
	case m.Kind == VRF:
		return End{InStack, "vrf:" + Ref{ns.Name, m.Name}.String()}
	default:
		return End{InInterface, stack + "/" + m.Name}
	}
}

func (b *wirer) wireEnd(ns *Namespace, l *Link) End {
	ref := Ref{ns.Name, l.Name}
	if _, cabled := b.nics[ref]; cabled {
		return b.cable(ref.String())
	}
	if b.heldByNobodyKnown(ns, l) {
		return b.cable(ref.String())
	}
	switch l.Kind.wire() {
	case wireOwnSegment:
		return End{InSegment, "bridge:" + ref.String()}
	case wireNothing:
		return End{In: InNothing}
	case wireDatapath:
		if b.links[Ref{ns.Name, ovsDatapath}] != nil {
			return End{InSegment, "bridge:" + Ref{ns.Name, ovsDatapath}.String()}
		}
		return End{In: InInterface}
	case wireHolder:
		if l.Carrier {
			return End{In: InTunnel}
		}
		return End{In: InNothing}
	case wirePeer:
		return b.vethEnd(ref, l)
	case wireParent:
		if l.Parent != nil && b.links[*l.Parent] != nil {
			return End{InInterface, b.stacks[l.Parent.Namespace] + "/" + l.Parent.Name}
		}
		return End{In: InInterface}
	case wireTunnel:
		if l.Tunnel != nil {
			return End{InTunnel, l.Tunnel.Remote}
		}
		return End{In: InTunnel}
	}
	if m := b.links[Ref{ns.Name, l.Master}]; m != nil && (m.Kind == Bond || m.Kind == Team) {
		ref.Name = m.Name // its wire is the bond's: they are one link to the LAN
	}
	if !l.Carrier {
		return End{In: InNothing}
	}
	return b.lan(ref)
}

// vethEnd is a cable where the other half is in sight. Where it is not, a veth that
// a stack uses is that stack's way to a LAN, and one in a bridge leads to some
// namespace that was not observed.
func (b *wirer) vethEnd(ref Ref, l *Link) End {
	if l.Peer != nil && l.Peer.Name != "" {
		if b.links[*l.Peer] != nil {
			a, z := ref.String(), l.Peer.String()
			if NaturalCompare(z, a) < 0 {
				a = z
			}
			return b.cable(a)
		}
	}
	switch {
	case !l.Carrier:
		return End{In: InNothing}
	case l.Master != "" && !b.carriesDefault(ref), l.Peer != nil && l.Peer.inContainer():
		return b.cable(ref.String())
	default:
		return b.lan(ref)
	}
}

// carriesDefault tells whether a port is the way out of its bridge: the bridge has
// the MAC of the uplink that was plugged into it.
func (b *wirer) carriesDefault(ref Ref) bool {
	l := b.links[ref]
	m := b.links[Ref{ref.Namespace, l.Master}]
	return m != nil && m.MAC != "" && m.MAC == l.MAC
}

func (b *wirer) cable(name string) End {
	return b.segment("cable:"+name, "cable")
}

func (b *wirer) lan(ref Ref) End {
	return b.segment("lan:"+ref.String(), "lan")
}

// segment is an end in a segment, which is made when it is first met.
func (b *wirer) segment(id, kind string) End {
	if !b.segments[id] {
		b.segments[id] = true
		b.w.Segments = append(b.w.Segments, Segment{ID: id, Kind: kind})
	}
	return End{InSegment, id}
}

func (b *wirer) addMachines() {
	for _, m := range b.machines {
		id := "vm:" + m.Name
		b.w.Stacks = append(b.w.Stacks, Stack{ID: id, Name: m.Name, Kind: m.VMM})
		for _, n := range m.NICs {
			itf := Interface{ID: id + "/" + n.Name, Name: n.Name, Kind: Physical, Stack: id, MAC: n.MAC,
				HostEnd: End{InStack, id}, WireEnd: End{In: InNothing}, Declared: n.Declared, Up: !n.Declared}
			if n.Link.Name != "" {
				itf.WireEnd = b.cable(n.Link.String())
				itf.Carrier = true
			}
			if n.Transport != TransportUsual {
				itf.Detail = n.Transport // a slow one, or one with rules of its own
			}
			if m.Inside != nil {
				if l := m.Inside.Link(n.Name); l != nil {
					itf.MAC, itf.MTU, itf.Up = l.MAC, l.MTU, l.Up
				}
				itf.Addresses = wiredAddresses(m.Inside.AddressesOf(n.Name), false)
				itf.Routes = m.Inside.routesBy(n.Name) && len(itf.Addresses) > 0
			}
			b.w.Interfaces = append(b.w.Interfaces, itf)
		}
	}
}

func wiredAddresses(as []Address, misplaced bool) []WiredAddress {
	var out []WiredAddress
	for _, a := range as {
		if misplaced && a.Origin == LinkLocal {
			continue // the kernel keeps one on every port, harmless: nobody routes by it
		}
		st := a.Status()
		if misplaced {
			st = "misplaced"
		}
		out = append(out, WiredAddress{Address: a.Prefix, Origin: a.Origin, Status: st})
	}
	return out
}

func ownerOf(l *Link) string {
	if l.Tap == nil {
		return ""
	}
	switch {
	case l.Tap.OwnerName != "":
		return l.Tap.OwnerName
	case l.Tap.Owner != nil:
		return fmt.Sprintf("uid %d", *l.Tap.Owner)
	case l.Tap.GroupName != "":
		return "group " + l.Tap.GroupName
	case l.Tap.Group != nil:
		return fmt.Sprintf("group %d", *l.Tap.Group)
	default:
		return ""
	}
}

func detailOf(l *Link) string {
	switch {
	case l.VLAN != nil:
		return fmt.Sprintf("VLAN %d", l.VLAN.ID)
	case l.Tunnel != nil && l.Tunnel.Peers > 1:
		return fmt.Sprintf("%s, %d peers", l.Kind, l.Tunnel.Peers)
	case l.Tunnel != nil && l.Tunnel.ID != 0:
		return fmt.Sprintf("%s %d", l.Kind, l.Tunnel.ID)
	case l.Mode != "":
		return string(l.Kind) + " " + l.Mode
	}
	switch l.Kind {
	case Physical, Bridged, TapKind, Veth:
		return ""
	default:
		return string(l.Kind)
	}
}

// nameSegments gives each segment the subnets and the gateway of its broadcast
// domain, as the stacks plugged into it know them.
func (b *wirer) nameSegments() {
	type known struct {
		subnets []netip.Prefix
		gateway netip.Addr
		dhcp    netip.Addr
	}
	domain := b.domains()
	names := map[string]*known{}
	for _, itf := range b.w.Interfaces {
		if itf.HostEnd.In != InStack || itf.WireEnd.In != InSegment {
			continue
		}
		root := domain(itf.WireEnd.ID)
		k := names[root]
		if k == nil {
			k = &known{}
			names[root] = k
		}
		for _, a := range itf.Addresses {
			if a.Origin != LinkLocal && !a.Address.IsSingleIP() && !slices.Contains(k.subnets, a.Address.Masked()) {
				k.subnets = append(k.subnets, a.Address.Masked())
			}
		}
		if d := b.servers[itf.ID]; d.IsValid() {
			k.dhcp = d
		}
		if gw := b.gatewayBy(itf); gw.IsValid() && !k.gateway.IsValid() {
			k.gateway = gw
		}
	}
	for i := range b.w.Segments {
		seg := &b.w.Segments[i]
		if k := names[domain(seg.ID)]; k != nil {
			seg.Subnets, seg.Gateway, seg.DHCP = slices.Clone(k.subnets), k.gateway, k.dhcp
		}
		if seg.Kind == "lan" && len(seg.Subnets) > 0 {
			seg.Name = seg.Subnets[0].String()
		}
	}
}

// domains joins the segments that bridge ports connect, and returns a function that
// names the joined group of a segment.
func (b *wirer) domains() func(string) string {
	parent := map[string]string{}
	var find func(string) string
	find = func(id string) string {
		if p, ok := parent[id]; ok && p != id {
			return find(p)
		}
		return id
	}
	for _, itf := range b.w.Interfaces {
		if itf.HostEnd.In == InSegment && itf.WireEnd.In == InSegment {
			if x, y := find(itf.HostEnd.ID), find(itf.WireEnd.ID); x != y {
				parent[y] = x
			}
		}
	}
	return find
}

// gatewayBy is the default gateway that the interface's own stack reaches by it.
func (b *wirer) gatewayBy(itf Interface) netip.Addr {
	if r := b.defaults[itf.Stack]; r != nil && r.Link() == itf.Name {
		return r.Gateway()
	}
	return netip.Addr{}
}
