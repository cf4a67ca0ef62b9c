package spec

import (
	"net/netip"
	"slices"
	"strings"
)

const (
	defaultMemory = 64 << 20
	// Debian's UML 6.1 panics below; 48M is the least that worked every time.
	leastMemory    = 32 << 20
	tightMemory    = 48 << 20
	maxMemory      = 1 << 40
	memoryPageSize = 4096
)

func (b *builder) machine(e entry) {
	m := Machine{Name: e.name, Pos: e.at.Pos, VMM: UML, Root: RootEmbedded}
	known := true
	if vmm, given := e.fields.get("vmm"); given {
		m.VMM, known = vmm.text, !vmm.bad
	}
	m.Kernel = e.fields["kernel"].text
	b.memory(&m, e)
	b.root(e)
	for _, a := range e.fields["args"].texts {
		b.arg(a)
		m.Args = append(m.Args, a.text)
	}
	if known && m.VMM == NamespaceKind {
		for _, name := range []string{"memory", "kernel", "args"} {
			if v, given := e.fields.get(name); given {
				b.warnf(v.at, CodeConflict, "write vmm: uml, or leave it out", "a namespace has no kernel of its own: %s does nothing", name)
			}
		}
		m.Memory, m.Kernel, m.Args = 0, "", nil
	}
	for _, nic := range e.fields["nics"].entries {
		m.NICs = append(m.NICs, b.nic(m, nic))
	}
	b.want.Machines = append(b.want.Machines, m)
}

func (b *builder) memory(m *Machine, e entry) {
	m.Memory = defaultMemory
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

func (b *builder) root(e entry) {
	v, given := e.fields.get("root")
	if !given || v.bad || v.isWord {
		return
	}
	what := "a disk image as the guest's root"
	if strings.HasPrefix(v.text, "hostfs:") {
		what = "a folder of the host as the guest's root"
	}
	b.errorf(v.at, CodeNotYet, "in this version: embedded", "%s is not there yet", what)
}

// ownArgs are words of the guest kernel's command line that are made of other keys.
var ownArgs = map[string]string{
	"mem": "memory:", "initrd": "root:", "root": "root:", "rootfstype": "root:", "rootflags": "root:",
	"umid": "the machine's name", "uml_dir": "the state folder", "init": "root:", "con0": "the console",
}

func (b *builder) arg(a placedText) {
	name, _, _ := strings.Cut(a.text, "=")
	from := ownArgs[name]
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
		n.DHCP = usable && on.Mode == Bridged
	case v.isWord && v.text == "dhcp":
		n.DHCP = true
		if !onNetwork {
			b.errorf(v.at, CodeConflict, "give an address on either side (address: [198.18.8.2/30], host: [198.18.8.1/30]), or a network:", "nobody answers DHCP on a plain tap")
		} else if usable && on.Mode != Bridged {
			b.errorf(v.at, CodeConflict, "give it an address: address: [...]", "nobody answers DHCP on the host-only network %s", on.Name)
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
		segment, key, bridged = "network "+on.Name, on.Name, on.Mode == Bridged
		if on.usable && !bridged {
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
