package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Publish is a port of the host that leads to one of a NIC's.
type Publish struct {
	Protocol string // tcp or udp
	// Address of the host's; invalid for all of them.
	Address      netip.Addr
	Port, ToPort uint16
	Pos          Pos
}

// natKeys are the keys that only a network of mode: nat has a use for.
var natKeys = []string{"subnet6", "dhcp", "zone", "dns"}

// onlyNAT refuses them anywhere else.
func (b *builder) onlyNAT(n *network, e entry) {
	for _, name := range natKeys {
		if v, given := e.fields.get(name); given && !v.bad {
			b.errorf(v.at, CodeConflict, "leave it out, or write mode: nat", "a network with mode: %s has no %s:", n.Mode, name)
		}
	}
}

// nat reads a network whose machines are hidden behind the host. What the file leaves out
// is chosen for the host that it is planned for.
func (b *builder) nat(n *network, e entry) {
	n.Uplink, n.Host.Mode, n.NAT = "", HostNone, &Hidden{}
	if uplink, given := e.fields.get("uplink"); given {
		b.errorf(uplink.at, CodeConflict, "leave it out: they leave by whatever route this host has", "a nat network has no uplink")
	}
	if host, given := e.fields.get("host"); given && !host.bad {
		b.errorf(host.at, CodeConflict, "leave it out, and give subnet: and subnet6:", "on a nat network the host is the first address of the subnet")
	}
	if v, given := e.fields.get("subnet"); given && !v.bad {
		b.natSubnet(n, v)
	}
	switch v, given := e.fields.get("subnet6"); {
	case !given || v.bad:
	case v.isWord:
		n.NAT.NoIPv6 = true
	case v.prefixes[0].Addr().Is4():
		b.errorf(v.at, CodeConflict, "write subnet: "+v.prefixes[0].String(), "%s is an IPv4 subnet", v.prefixes[0].Prefix)
	default:
		n.NAT.Subnet6 = v.prefixes[0].Prefix
		n.ranges = append(n.ranges, v.prefixes...)
		if n.NAT.Subnet6.Bits() != 64 {
			b.warnf(v.at, CodeUnfit, "a /64", "hosts make addresses of their own from a /64 only (RFC 4862): only those that are given addresses have any")
		}
	}
	b.natPool(n, e)
	if v, given := e.fields.get("zone"); given && !v.bad {
		n.NAT.Zone = strings.ToLower(strings.Trim(v.text, "."))
	}
	if v, given := e.fields.get("dns"); given && !v.bad {
		n.NAT.NoDNS, n.NAT.DNS = v.isWord, v.addresses
	}
}

func (b *builder) natSubnet(n *network, v value) {
	p := v.prefixes[0].Prefix
	if p.Addr().Is6() {
		b.errorf(v.at, CodeConflict, "write subnet6: "+p.String(), "%s is an IPv6 subnet", p)
		return
	}
	n.Subnet = p
	n.ranges = append(n.ranges, v.prefixes...)
}

// natPool reads what the DHCP server may give.
func (b *builder) natPool(n *network, e entry) {
	v, given := e.fields.get("dhcp")
	switch {
	case !given || v.bad:
	case v.isWord:
		n.NAT.NoDHCP = true
	case !n.Subnet.IsValid():
		b.errorf(v.at, CodeConflict, "add subnet: "+netip.PrefixFrom(v.pool[0], 24).Masked().String(), "the pool is a part of the subnet, and that is not given")
	case !n.Subnet.Contains(v.pool[0]) || !n.Subnet.Contains(v.pool[1]):
		b.errorf(v.at, CodeConflict, "choose addresses inside it", "the pool is not in the subnet %s", n.Subnet)
	case v.pool[0] == n.Subnet.Addr() || v.pool[0] == n.Subnet.Addr().Next() || v.pool[1] == lastOf(n.Subnet):
		b.errorf(v.at, CodeConflict, fmt.Sprintf("from %s to %s at most", n.Subnet.Addr().Next().Next(), lastOf(n.Subnet).Prev()), "the first address is the host's, and those of the network itself and its broadcast are nobody's")
	default:
		n.NAT.First, n.NAT.Last = v.pool[0], v.pool[1]
	}
}

// natAddresses checks the addresses that a NIC on a nat network is given.
func (b *builder) natAddresses(on *network, list []placed) {
	for _, a := range list {
		known, key := on.Subnet, "subnet"
		if a.Addr().Is6() {
			known, key = on.NAT.Subnet6, "subnet6"
		}
		switch {
		case !known.IsValid():
			b.errorf(a.at, CodeConflict, fmt.Sprintf("add %s: %s to the network", key, a.Masked()), "network %s has no %s: where %s could be in", on.Name, key, a.Prefix)
		case !known.Contains(a.Addr()):
			b.errorf(a.at, CodeConflict, "choose an address inside it", "%s is not in network %s (%s)", a.Prefix, on.Name, known)
		case known.Bits() != a.Bits():
			b.errorf(a.at, CodeConflict, fmt.Sprintf("write %s/%d", a.Addr(), known.Bits()), "the subnet of network %s has a /%d", on.Name, known.Bits())
		case known.Addr().Next() == a.Addr():
			b.errorf(a.at, CodeConflict, "choose another one: "+a.Addr().Next().String(), "%s is the host's own address on network %s", a.Addr(), on.Name)
		}
	}
}

// publish reads the ports of a NIC that are published.
func (b *builder) publish(n *NIC, e entry, on *network) {
	v, given := e.fields.get("publish")
	if !given || v.bad {
		return
	}
	n.Publish = v.publish
	address, _ := e.fields.get("address")
	switch {
	case on == nil || !on.usable:
	case on.Mode != NAT:
		b.errorf(v.at, CodeConflict, "leave it out: the machine is reached at its own address", "ports are published from a nat network, and %s is %s", on.Name, on.Mode)
	case address.isWord && address.text == "none":
		b.errorf(v.at, CodeConflict, "leave address: out", "a machine without an address has no port to publish")
	default:
		for _, p := range n.Publish {
			b.published = append(b.published, publishing{p, v.path, e.path})
		}
	}
	if _, onNetwork := e.fields.get("network"); !onNetwork {
		b.errorf(v.at, CodeConflict, "add network: with the name of one that has mode: nat", "ports are published from a nat network, and this NIC is on none")
	}
}

// publishing is a port of the host's with who wants it.
type publishing struct {
	Publish
	path, nic string
}

// publishedOnce reports ports that are published twice: one for all addresses of the host
// is in the way of one for a single address.
func (b *builder) publishedOnce() {
	first := map[string][]publishing{}
	for _, p := range b.published {
		key := fmt.Sprint(p.Protocol, p.Port)
		i := slices.IndexFunc(first[key], func(o publishing) bool {
			return o.Address == p.Address || !o.Address.IsValid() || !p.Address.IsValid()
		})
		if i >= 0 {
			o := first[key][i]
			b.errorf(at{p.Pos, p.path}, CodeConflict, "choose another port, or give each an address of the host", "port %d (%s) is published already, for %s (line %d)", p.Port, p.Protocol, o.nic, o.Pos.Line)
			continue
		}
		first[key] = append(first[key], p)
	}
}

// The readers of values.

// publishes reads one port or a list of them.
func (p *parser) publishes(k *key, n *yaml.Node, v *value) {
	p.each(k, n, v, "", func(c *yaml.Node, here at, _ bool) bool {
		if !isText(c) && (c.Kind != yaml.ScalarNode || c.Tag != "!!int") {
			p.errorf(here, CodeType, "for example "+k.name+": "+k.examples[0], "%s is a port, HOSTPORT:PORT, or a list of them, not %s", k.name, describe(c))
			return false
		}
		one, problem, hint := parsePublish(c.Value)
		one.Pos = here.Pos
		v.publish = append(v.publish, one)
		return p.fine(k, c, here, problem, hint)
	})
}

// parsePublish reads [ADDRESS:]PORT[:PORT][/PROTOCOL], an IPv6 address in brackets.
func parsePublish(s string) (p Publish, problem, hint string) {
	const how = "[ADDRESS:]HOSTPORT:PORT[/udp]: 8080:80, 198.18.0.5:2222:22, \"[2001:db8::5]:53:53/udp\""
	rest, protocol, has := strings.Cut(s, "/")
	p.Protocol = "tcp"
	if has {
		p.Protocol = strings.ToLower(protocol)
		if p.Protocol != "tcp" && p.Protocol != "udp" {
			return p, "no such protocol to publish: " + quote(protocol), "tcp or udp"
		}
	}
	if inner, ports, is := strings.Cut(rest, "]:"); is && strings.HasPrefix(inner, "[") {
		a, err := netip.ParseAddr(inner[1:])
		if err != nil || !a.Is6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() {
			return p, "not an address of this host: " + quote(inner[1:]), how
		}
		p.Address, rest = a, ports
	}
	parts := strings.Split(rest, ":")
	if len(parts) == 3 && !p.Address.IsValid() {
		a, err := netip.ParseAddr(parts[0])
		switch {
		case err != nil || a.IsMulticast():
			return p, "not an address of this host: " + quote(parts[0]), how
		case !a.IsUnspecified():
			p.Address = a
		}
		parts = parts[1:]
	}
	if len(parts) != 1 && len(parts) != 2 {
		return p, "not a port to publish: " + quote(s), how
	}
	for i, to := range []*uint16{&p.Port, &p.ToPort} {
		text := parts[min(i, len(parts)-1)]
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return p, "not a port: " + quote(text), how
		}
		*to = uint16(n)
	}
	return p, "", ""
}

// parsePool reads FIRST-LAST, two IPv4 addresses.
func parsePool(s string) (pool [2]netip.Addr, problem, hint string) {
	hint = "the first and the last address: 198.18.7.100-198.18.7.199"
	first, last, is := strings.Cut(strings.ReplaceAll(s, " ", ""), "-")
	a, err := netip.ParseAddr(first)
	b, err2 := netip.ParseAddr(last)
	switch {
	case !is || err != nil || err2 != nil || !a.Is4() || !b.Is4():
		return pool, "not a range of IPv4 addresses: " + quote(s), hint
	case b.Less(a):
		return pool, fmt.Sprintf("%s comes before %s", b, a), fmt.Sprintf("write %s-%s", b, a)
	}
	return [2]netip.Addr{a, b}, "", ""
}

// parseZone reads the name of a domain (RFC 1035, 2.3.1; RFC 1123, 2.1).
func parseZone(s string) (problem, hint string) {
	hint = "letters, digits and hyphens, with dots between: lab.home.arpa"
	name := strings.Trim(s, ".")
	if name == "" || len(name) > 200 {
		return "not the name of a domain: " + quote(s), hint
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > 63 || !isPlain(label, 63, "-") || strings.HasSuffix(label, "-") {
			return "not the name of a domain: " + quote(s), hint
		}
	}
	if strings.EqualFold(name, "local") || strings.HasSuffix(strings.ToLower(name), ".local") {
		return ".local is asked by multicast (RFC 6762), never of a name server", "a name below home.arpa, which is for such networks (RFC 8375): " + hint
	}
	return "", ""
}

// servers reads a word, an address, or a list of addresses.
func (p *parser) servers(k *key, n *yaml.Node, v *value) {
	p.each(k, n, v, "give an address", func(c *yaml.Node, here at, inList bool) bool {
		if !isText(c) {
			p.errorf(here, CodeType, "for example "+k.name+": "+k.examples[0], "%s is an IP address or a list of them, not %s", k.name, describe(c))
			return false
		}
		if w := k.word(c.Value); w != nil && !inList {
			v.text, v.isWord = w.name, true
			return true
		}
		a, problem, hint := parseAddress(c.Value)
		v.addresses = append(v.addresses, a)
		return p.fine(k, c, here, problem, hint)
	})
}

// Forwards tells whether anything is to be forwarded for a network by rules of ours.
func (d Desired) Forwards() bool {
	return slices.ContainsFunc(d.Networks, func(n Network) bool { return n.Mode == NAT })
}

// Publishes tells whether any port of the host's is to be a machine's.
func (d Desired) Publishes() bool {
	return slices.ContainsFunc(d.Machines, func(m Machine) bool {
		return slices.ContainsFunc(m.NICs, func(n NIC) bool { return len(n.Publish) > 0 })
	})
}
