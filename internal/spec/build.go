package spec

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// builder makes a Desired of a file's fields, and collects what is checked once
// everything is known: which names, addresses and subnets are taken by what.
type builder struct {
	*parser
	want     Desired
	networks map[string]*network
	links    claims // bridges, uplinks and taps: one namespace of names
	macs     claims
	machines claims
	hosts    claims // addresses, by segment
	subnets  []subnetUse
	// published are ports of the host.
	published []publishing
}

// network is what machines and taps need to know of a network of the file.
type network struct {
	Network
	// usable is false where its mode is not known, or not there yet: nothing is said
	// of what would follow from it.
	usable bool
	ranges []placed
}

func (p *parser) build(file fields) Desired {
	b := &builder{parser: p, networks: map[string]*network{}}
	var names []string
	for _, e := range file["networks"].entries {
		b.network(e)
		names = append(names, e.name)
	}
	for _, e := range file["taps"].entries {
		b.tap(e)
	}
	for _, e := range file["machines"].entries {
		b.machine(e)
	}
	for _, e := range file["probes"].entries {
		b.probe(e)
	}
	b.want.Heal = file["heal"].flag
	for _, name := range names {
		n := b.networks[name].Network
		if n.Bridge == "" {
			n.Bridge = b.freeBridge()
		}
		b.want.Networks = append(b.want.Networks, n)
	}
	b.taken(b.links, "one name is one link: choose another, or leave it out where a default is made")
	b.taken(b.machines, "give each machine a name of its own; with count: the number is a part of it")
	b.taken(b.macs, "leave mac: out, and one is chosen")
	b.taken(b.hosts, "give each host of a network an address of its own")
	b.overlaps()
	b.publishedOnce()
	b.sort()
	return b.want
}

func (b *builder) sort() {
	slices.SortFunc(b.want.Networks, func(x, y Network) int { return model.NaturalCompare(x.Name, y.Name) })
	slices.SortFunc(b.want.Taps, func(x, y Tap) int { return model.NaturalCompare(x.Name, y.Name) })
	slices.SortFunc(b.want.Probes, func(x, y Probe) int { return model.NaturalCompare(x.Name, y.Name) })
	slices.SortFunc(b.want.Machines, func(x, y Machine) int { return model.NaturalCompare(x.Name, y.Name) })
	for _, m := range b.want.Machines {
		slices.SortFunc(m.NICs, func(x, y NIC) int { return model.NaturalCompare(x.Name, y.Name) })
	}
}

// freeBridge is br0, or the next that nothing in the file is called.
func (b *builder) freeBridge() string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("br%d", i)
		if !slices.ContainsFunc(b.links, func(c claim) bool { return c.key == name }) {
			b.links = append(b.links, claim{key: name})
			return name
		}
	}
}

func (b *builder) network(e entry) {
	n := &network{usable: !e.bad}
	n.Name, n.Network.Pos = e.name, e.Pos
	n.Mode = Bridged
	if mode, given := e.fields.get("mode"); given {
		n.Mode, n.usable = mode.text, !mode.bad
	}
	b.networks[e.name] = n
	if bridge, given := e.fields.get("bridge"); given && !bridge.bad {
		n.Bridge = bridge.text
		b.links = append(b.links, claim{bridge.at, bridge.text, "the bridge of network " + e.name, "link"})
	}
	if !n.usable {
		return
	}
	switch n.Mode {
	case Bridged, AutoMode:
		b.bridged(n, e)
	case Routed:
		b.routed(n, e)
	case NAT:
		b.nat(n, e)
	case Isolated:
		b.isolated(n, e)
		return // this host has no route there: it may lie where it likes
	default:
		b.hostOnly(n, e)
	}
	if n.Mode != NAT {
		b.onlyNAT(n, e)
	}
	for _, r := range n.ranges {
		b.subnets = append(b.subnets, subnetUse{r, "network " + e.name, n.OnLAN()})
	}
}

// uplink reads a network's way to the LAN. One that is plugged in is that network's alone.
func (b *builder) uplink(n *network, e entry, plugged bool) {
	n.Uplink = Auto
	uplink, given := e.fields.get("uplink")
	at := e.at
	if given && !uplink.bad {
		n.Uplink, at = uplink.text, uplink.at
	}
	if plugged && (!given || !uplink.bad) {
		b.links = append(b.links, claim{at, n.Uplink, "the uplink of network " + e.name, "link"})
	}
}

// routed reads a network that the host routes for. Its machines have the LAN's own
// addresses, or a subnet of theirs in which the host has one, too.
func (b *builder) routed(n *network, e entry) {
	b.uplink(n, e, false)
	n.Host.Mode = HostNone
	host, given := e.fields.get("host")
	if _, own := e.fields.get("subnet"); own || given && !host.bad && !host.isWord {
		b.ownSubnet(n, e)
		return
	}
	if given && !host.bad && host.text != HostNone {
		b.errorf(host.at, CodeConflict, "leave it out: the host keeps its addresses on the uplink; or give subnet:, and it has one of those", "host: %s takes the uplink's addresses, which a routed network leaves where they are", host.text)
	}
}

func (b *builder) bridged(n *network, e entry) {
	b.uplink(n, e, true)
	if subnet, given := e.fields.get("subnet"); given {
		b.errorf(subnet.at, CodeConflict, "leave it out; give the host's addresses with host: where they are not the uplink's", "a bridged network has the LAN's own subnet")
	}
	n.Host.Mode = HostMove
	host, given := e.fields.get("host")
	switch {
	case !given || host.bad:
	case host.isWord:
		n.Host.Mode = host.text
	default:
		b.hostList(n, host.prefixes)
	}
}

func (b *builder) hostList(n *network, list []placed) {
	n.Host = HostAddressing{HostList, prefixesOf(list)}
	n.ranges = append(n.ranges, list...)
	for _, a := range list {
		b.hosts = append(b.hosts, claim{a.at, n.Name + " " + a.Addr().String(), "the host's address on network " + n.Name, "address"})
	}
}

func (b *builder) hostOnly(n *network, e entry) {
	n.Uplink, n.Host.Mode = "", HostNone
	if uplink, given := e.fields.get("uplink"); given {
		b.errorf(uplink.at, CodeConflict, "leave it out, or write mode: bridged", "a host-only network has no uplink")
	}
	b.ownSubnet(n, e)
}

// ownSubnet reads the addresses of a network that are not the LAN's: the host has one.
func (b *builder) ownSubnet(n *network, e entry) {
	subnet, hasSubnet := e.fields.get("subnet")
	host, hasHost := e.fields.get("host")
	if hasSubnet && !subnet.bad {
		n.Subnet = subnet.prefixes[0].Prefix
		n.ranges = subnet.prefixes
	}
	switch {
	case !hasHost && !hasSubnet:
		b.errorf(e.at, CodeConflict, "add subnet: 198.18.7.0/24 (the host is its first address), or host: with a list of addresses", "a host-only network needs an address for the host")
	case !hasHost && !subnet.bad:
		first := n.Subnet.Addr().Next()
		at := at{subnet.Pos, subnet.path}
		b.hostList(n, []placed{{at, netip.PrefixFrom(first, n.Subnet.Bits())}})
		n.ranges = subnet.prefixes
	case !hasHost || host.bad:
	case host.isWord && host.text == HostNone:
		b.errorf(host.at, CodeConflict, "give the host an address, or write mode: isolated", "a network that not even the host is on is an isolated one")
	case host.isWord:
		b.errorf(host.at, CodeConflict, "give subnet:, or a list of addresses", "host: %s takes the uplink's addresses, and a %s network has its own", host.text, n.Mode)
	default:
		b.hostList(n, host.prefixes)
		if hasSubnet && !subnet.bad {
			n.ranges = subnet.prefixes
			b.inside(n, host.prefixes)
		}
	}
}

func (b *builder) isolated(n *network, e entry) {
	n.Uplink, n.Host.Mode = "", HostNone
	if uplink, given := e.fields.get("uplink"); given {
		b.errorf(uplink.at, CodeConflict, "leave it out, or write mode: bridged", "an isolated network has no uplink")
	}
	if host, given := e.fields.get("host"); given && !host.bad && (!host.isWord || host.text != HostNone) {
		b.errorf(host.at, CodeConflict, "leave it out, or write mode: host-only", "the host is not on an isolated network")
	}
	if subnet, given := e.fields.get("subnet"); given && !subnet.bad {
		n.Subnet, n.ranges = subnet.prefixes[0].Prefix, subnet.prefixes
	}
}

// inside reports the addresses that lie in none of a network's known ranges.
func (b *builder) inside(n *network, list []placed) {
	for _, a := range list {
		if len(n.ranges) == 0 || slices.ContainsFunc(n.ranges, func(r placed) bool { return r.Contains(a.Addr()) }) {
			continue
		}
		var have []string
		for _, r := range n.ranges {
			have = append(have, r.Masked().String())
		}
		b.errorf(a.at, CodeConflict, "choose an address inside it", "%s is not in network %s (%s)", a.Prefix, n.Name, strings.Join(have, ", "))
	}
}

func (b *builder) tap(e entry) {
	t := Tap{Name: e.name, Pos: e.at.Pos, Owner: e.fields["owner"].text, Group: e.fields["group"].text}
	b.links = append(b.links, claim{e.at, e.name, e.path, "tap"})
	t.Network, _ = b.plugged(e)
	t.Host = b.plainHost(e, t.Name)
	b.tapSecurity(&t, e)
	b.want.Taps = append(b.want.Taps, t)
}

// plugged finds the network that a NIC or tap names. The network is nil when there
// is none, or none that anything can be said of; plain tells that none is named.
func (b *builder) plugged(e entry) (name string, n *network) {
	v, given := e.fields.get("network")
	if !given || v.bad {
		return "", nil
	}
	n = b.networks[v.text]
	if n == nil {
		var names []string
		for _, other := range b.networks {
			names = append(names, other.Name)
		}
		slices.SortFunc(names, model.NaturalCompare)
		hint := "define it under networks:"
		if near := nearest(v.text, names); near != "" {
			hint = "did you mean " + near + "?"
		} else if len(names) > 0 {
			hint = "the networks of this file: " + clip(strings.Join(names, ", "))
		}
		b.errorf(v.at, CodeConflict, hint, "no network is called %s", quote(v.text))
		return v.text, nil
	}
	return v.text, n
}

// plainHost reads the host's addresses on a plain tap.
func (b *builder) plainHost(e entry, tap string) []netip.Prefix {
	host, given := e.fields.get("host")
	if !given || host.bad {
		return nil
	}
	if network, on := e.fields.get("network"); on {
		b.errorf(host.at, CodeConflict, "leave it out; the host's addresses on a network are its own key host:", "the tap is a port of network %s: an address on it would be misplaced", network.text)
		return nil
	}
	for _, a := range host.prefixes {
		b.hosts = append(b.hosts, claim{a.at, "tap " + tap + " " + a.Addr().String(), "the host's address on " + tap, "address"})
		b.subnets = append(b.subnets, subnetUse{a, "the tap " + tap, false})
	}
	return prefixesOf(host.prefixes)
}

// DefaultTap names the host's end of a NIC's cable where the file does not:
// web-eth1, or with a hash for what is too long, at most 15 bytes. The last hyphen
// divides machine and NIC, so that no two pairs of names give one tap.
func DefaultTap(machine, nic string) string {
	name := machine + "-" + nic
	if len(name) <= model.MaxNameLen && !strings.Contains(nic, "-") {
		return name
	}
	const hashed = 7 // bytes of the hash's text, after a hyphen
	sum := sha256.Sum256([]byte(machine + "\x00" + nic))
	return machine[:min(len(machine), model.MaxNameLen-hashed-1)] + "-" + fmt.Sprintf("%x", sum)[:hashed]
}
