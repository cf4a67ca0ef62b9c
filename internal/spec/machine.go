package spec

import (
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

const (
	defaultMemory = 64 << 20
	// A distribution's first processes do not fit into what is enough for ours.
	defaultForeignMemory = 256 << 20
	// A kernel for real hardware, and what boots it.
	defaultQEMUMemory  = 128 << 20
	defaultImageMemory = 512 << 20
	// Debian's UML 6.1 panics below; 48M is the least that worked every time.
	leastMemory    = 32 << 20
	tightMemory    = 48 << 20
	maxMemory      = 1 << 40
	memoryPageSize = 4096
)

// machine reads an entry, which is one machine or, with count:, many.
func (b *builder) machine(e entry) {
	count, counted := e.fields.get("count")
	if counted && !count.bad && count.count > maxCount {
		b.errorf(count.at, CodeUnfit, "make it two entries, on two networks", "%d of them are more than the %d that one entry makes", count.count, maxCount)
		count.bad = true
	}
	names := b.machineNames(e, counted && !count.bad, count.count)
	m := b.oneMachine(names[0], e)
	if len(names) > 1 {
		b.checkCounted(m, e)
	}
	b.want.Machines = append(b.want.Machines, m)
	b.copies(m, names[1:], e)
	for _, name := range names {
		b.machines = append(b.machines, claim{at{e.at.Pos, e.path}, name, e.path, "machine"})
	}
}

func (b *builder) oneMachine(name string, e entry) Machine {
	m := Machine{Name: name, Pos: e.at.Pos, VMM: UML, Root: RootEmbedded, Restart: RestartNo}
	known := true
	if vmm, given := e.fields.get("vmm"); given {
		m.VMM, known = vmm.text, !vmm.bad
	}
	m.Kernel = e.fields["kernel"].text
	b.root(&m, e)
	b.memory(&m, e)
	b.qemu(&m, e, known)
	if restart, given := e.fields.get("restart"); given && !restart.bad {
		m.Restart = restart.text
	}
	for _, a := range e.fields["args"].texts {
		b.arg(&m, a)
		m.Args = append(m.Args, a.text)
	}
	if known && m.VMM == NamespaceKind {
		for _, name := range []string{"memory", "kernel", "args", "root", "writes"} {
			if v, given := e.fields.get(name); given {
				b.warnf(v.at, CodeConflict, "write vmm: uml, or leave it out", "a namespace has no kernel of its own: %s does nothing", name)
			}
		}
		m.Memory, m.Kernel, m.Args, m.Root, m.Writes = 0, "", nil, RootEmbedded, ""
	}
	for _, nic := range e.fields["nics"].entries {
		m.NICs = append(m.NICs, b.nic(m, nic))
	}
	if m.VMM == QEMU {
		b.qemuNICs(e)
	}
	if m.VMM != NamespaceKind {
		b.oneOwner(m, e)
	}
	return m
}

func (b *builder) memory(m *Machine, e entry) {
	m.Memory = defaultMemory
	foreign := m.Root != RootEmbedded
	switch {
	case m.VMM == QEMU && foreign:
		m.Memory = defaultImageMemory
	case m.VMM == QEMU:
		m.Memory = defaultQEMUMemory
	case foreign:
		m.Memory = defaultForeignMemory
	}
	v, given := e.fields.get("memory")
	if !given || v.bad {
		return
	}
	m.Memory = v.size
	switch {
	case v.size < leastMemory:
		hint := "at least 32M; 64M is a good value"
		if v.size >= 32 && v.size < 1<<20 && v.text == formatSize(v.size) {
			hint = "did you mean " + v.text + "M?"
		}
		b.errorf(v.at, CodeUnfit, hint, "the guest's kernel does not start with %d bytes of memory", v.size)
	case v.size%memoryPageSize != 0:
		b.errorf(v.at, CodeUnfit, "for example "+formatSize(v.size>>20<<20), "%d bytes are no whole number of pages", v.size)
	case v.size < tightMemory:
		b.warnf(v.at, CodeUnfit, "64M is a good value", "%s of memory is tight: the guest's kernel may not start every time", formatSize(v.size))
	}
}

// root settles what the guest runs from, and what becomes of what it writes there.
func (b *builder) root(m *Machine, e entry) {
	v, given := e.fields.get("root")
	writes, asked := e.fields.get("writes")
	if given && !v.bad {
		m.Root = v.text
	}
	dir, isFolder := strings.CutPrefix(m.Root, HostfsPrefix)
	switch {
	case given && v.bad:
		return
	case m.Root == RootEmbedded:
		if asked {
			b.warnf(writes.at, CodeConflict, "leave it out, or give a root:", "the embedded guest is in memory: writes does nothing")
		}
		return
	case isFolder && strings.TrimSpace(dir) == "":
		b.errorf(v.at, CodeUnfit, "hostfs:/srv/guest", "hostfs: without a folder")
		return
	}
	m.Writes = WritesDiscard
	if isFolder {
		m.Writes = WritesNone
	}
	if !asked || writes.bad {
		return
	}
	m.Writes = writes.text
	switch {
	case isFolder && m.Writes == WritesKeep:
		b.errorf(writes.at, CodeConflict, "writes: discard keeps them in the guest's memory, writes: through writes to the folder", "there is no overlay over a folder that could be kept")
	case isFolder && m.Writes == WritesThrough:
		b.warnf(writes.at, CodeConflict, "writes: none, or discard, if it need not", "root in the guest writes to the host's folder %s, as the user that runs the machine", dir)
	}
}

// ownArgs are words of the guest kernel's command line that are made of other keys.
var ownArgs = map[string]string{
	"mem": "memory:", "initrd": "root:", "root": "root:", "rootfstype": "root:", "rootflags": "root:",
	"umid": "the machine's name", "uml_dir": "the state folder", "con0": "the console", "ssl0": "the guest's agent",
	"hostfs": "root:", "rdinit": "root:",
}

func (b *builder) arg(m *Machine, a placedText) {
	name, _, _ := strings.Cut(a.text, "=")
	from := ownArgs[name]
	if name == "init" && m.Root == RootEmbedded {
		from = "root:"
	}
	for _, nic := range []string{"eth", "vec"} {
		number, is := strings.CutPrefix(name, nic)
		number, _, _ = strings.Cut(number, ":")
		if is && number != "" && strings.Trim(number, "0123456789") == "" {
			from = "nics:"
		}
	}
	if from != "" {
		b.errorf(a.at, CodeUnfit, "leave it out", "%s= is made from %s", name, from)
	}
}

func (b *builder) nic(m Machine, e entry) NIC {
	n := NIC{Name: e.name, Pos: e.at.Pos, Tap: DefaultTap(m.Name, e.name), Cabled: true}
	where := at{e.at.Pos, e.path}
	if tap, given := e.fields.get("tap"); given && !tap.bad {
		n.Tap, where = tap.text, tap.at
	}
	b.links = append(b.links, claim{where, n.Tap, e.path, "tap"})
	if cable, given := e.fields.get("cable"); given && !cable.bad {
		n.Cabled = cable.flag
	}
	n.Owner = e.fields["owner"].text
	if mac, given := e.fields.get("mac"); given && !mac.bad {
		n.MAC = mac.mac
		b.macs = append(b.macs, claim{mac.at, string(mac.mac), e.path, "MAC address"})
	}
	var on *network
	n.Network, on = b.plugged(e)
	n.Host = b.plainHost(e, n.Tap)
	b.addresses(&n, e, on)
	b.gateway(&n, e)
	b.publish(&n, e, on)
	n.Security = b.security(e, model.SecurityStrict, n.Network != "")
	return n
}

// addresses settles how the guest comes by its addresses on a NIC.
func (b *builder) addresses(n *NIC, e entry, on *network) {
	v, given := e.fields.get("address")
	_, onNetwork := e.fields.get("network")
	usable := on != nil && on.usable
	switch {
	case given && v.bad:
	case !given:
		n.DHCP = usable && (on.OnLAN() || on.Mode == NAT)
	case v.isWord && v.text == "dhcp":
		n.DHCP = true
		if !onNetwork {
			b.errorf(v.at, CodeConflict, "give an address on either side (address: [198.18.8.2/30], host: [198.18.8.1/30]), or a network:", "nobody answers DHCP on a plain tap")
		} else if usable && on.Mode == NAT && on.NAT.NoDHCP {
			b.errorf(v.at, CodeConflict, "leave it out: an address is chosen", "network %s has dhcp: none", on.Name)
		} else if usable && on.Mode != NAT && !on.OnLAN() {
			b.errorf(v.at, CodeConflict, "give it an address: address: [...]", "nobody answers DHCP on the %s network %s", on.Mode, on.Name)
		}
	case !v.isWord:
		n.Addresses = prefixesOf(v.prefixes)
		b.nicAddresses(n, e, on, v.prefixes)
	}
	if !onNetwork && !v.bad {
		b.plainPair(n, e)
	}
}

func (b *builder) nicAddresses(n *NIC, e entry, on *network, list []placed) {
	segment, bridged := "the tap "+n.Tap, false
	key := "tap " + n.Tap
	if on != nil {
		segment, key, bridged = "network "+on.Name, on.Name, on.OnLAN()
		switch {
		case !on.usable || bridged:
		case on.Mode == NAT:
			b.natAddresses(on, list)
		default:
			b.inside(on, list)
		}
	}
	for _, a := range list {
		b.hosts = append(b.hosts, claim{a.at, key + " " + a.Addr().String(), e.path, "address"})
		if on == nil || bridged {
			b.subnets = append(b.subnets, subnetUse{a, segment, bridged})
		}
	}
}

// plainPair checks the two ends of a cable without a bridge: they talk to each other
// only from one subnet.
func (b *builder) plainPair(n *NIC, e entry) {
	host, given := e.fields.get("host")
	address := e.fields["address"]
	switch {
	case host.bad || given && len(n.Host) == 0:
	case len(n.Host) == 0 && len(n.Addresses) > 0:
		b.warnf(address.at, CodeConflict, "add host: with an address of the same subnet", "the host has no address at its end of this cable")
	case len(n.Host) > 0 && len(n.Addresses) == 0 && !n.DHCP:
		b.warnf(host.at, CodeConflict, "add address: with an address of the same subnet", "the guest has no address at its end of this cable")
	case len(n.Host) > 0 && len(n.Addresses) > 0:
		for _, a := range address.prefixes {
			if !slices.ContainsFunc(n.Host, func(h netip.Prefix) bool { return h.Masked() == a.Masked() || isPeer(h, a.Prefix) }) {
				b.errorf(a.at, CodeConflict, "give both ends addresses of one subnet", "%s is in no subnet of the host's end (%s)", a.Prefix, join(n.Host))
			}
		}
	}
}

// isPeer allows for the point-to-point way of writing it: two /32.
func isPeer(a, b netip.Prefix) bool {
	return a.IsSingleIP() && b.IsSingleIP() && a.Addr().BitLen() == b.Addr().BitLen()
}

func (b *builder) gateway(n *NIC, e entry) {
	v, given := e.fields.get("gateway")
	address, hasAddress := e.fields.get("address")
	if !given || v.bad || hasAddress && address.bad {
		return
	}
	n.Gateway = v.address
	switch {
	case len(n.Addresses) == 0:
		b.errorf(v.at, CodeConflict, "leave it out, or give the NIC an address: of its own", "a gateway goes with a given address; DHCP brings its own")
	case v.address.IsLinkLocalUnicast() && v.address.Is6():
	case slices.ContainsFunc(n.Addresses, func(a netip.Prefix) bool { return a.Addr() == v.address }):
		b.errorf(v.at, CodeConflict, "name the router's address", "%s is the NIC's own address", v.address)
	case !slices.ContainsFunc(n.Addresses, func(a netip.Prefix) bool { return a.Contains(v.address) }):
		b.errorf(v.at, CodeConflict, "a gateway is reached on the NIC's own subnet", "%s is in none of the NIC's subnets (%s)", v.address, join(n.Addresses))
	}
}

func join(list []netip.Prefix) string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
