package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// natted is a network of mode: nat while its wish is made concrete.
type natted struct {
	name, bridge string
	spec         *spec.Hidden
	four, six    netip.Prefix // six is invalid without IPv6
	taken        map[netip.Addr]bool
	// kept are the addresses that machines have by now, by their MAC addresses.
	kept    map[netip.Addr]model.MAC
	publish []model.Publish
	// known are the machines of the file by their MAC addresses, names what they are found
	// by that no lease tells.
	known []model.StaticLease
	names []model.DNSName
}

// serves tells whether addresses and names are served on the network.
func (nn *natted) serves() bool { return !nn.spec.NoDHCP }

// natNetwork settles the subnets of a network: those of the file, those that it has
// already, or such as nothing else here uses.
func (b *builder) natNetwork(n spec.Network) *natted {
	nn := &natted{name: n.Name, bridge: n.Bridge, spec: n.NAT, taken: map[netip.Addr]bool{}}
	if b.opt.NoForwarding != "" {
		b.refuse("network "+n.Name, "mode: nat needs nftables: "+b.opt.NoForwarding, "load the modules (modprobe -a nf_tables nft_chain_nat nft_masq nft_fib_inet nft_ct), or use mode: host-only or bridged")
	}
	nn.four = b.natSubnet(n, n.Subnet, choose4)
	switch {
	case n.NAT.NoIPv6:
	case b.noIPv6(n.Bridge) != "":
		if n.NAT.Subnet6.IsValid() {
			b.refuse("network "+n.Name, "has a subnet6, and "+b.noIPv6(n.Bridge), "write subnet6: none, or switch IPv6 on: sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0")
		} else {
			b.note("network %s has no IPv6: %s", n.Name, b.noIPv6(n.Bridge))
		}
	default:
		nn.six = b.natSubnet(n, n.NAT.Subnet6, choose6)
		if nn.six.IsValid() && nn.six.Bits() != 64 && nn.serves() {
			b.note("network %s: machines make no addresses of %s by themselves, for it is no /64 (RFC 4862): only those have one of it that the file gives one", n.Name, nn.six)
		}
	}
	for _, p := range nn.hosts() {
		nn.taken[p.Addr()] = true
	}
	nn.kept = b.addressesKept(n.Name)
	return nn
}

// noIPv6 says why there is none on a link of this host, "" if there is. The link may have to
// be made yet.
func (b *builder) noIPv6(link string) string {
	here := b.here().Settings
	own, there := here["ipv6/conf/"+link+"/disable_ipv6"]
	there = there && !wasClosed(b.own, link) // that was us, for an isolated network
	switch all, known := here["ipv6/conf/all/disable_ipv6"]; {
	case !known && len(here) > 0:
		return "this kernel has no IPv6"
	case there && own == "0":
		return ""
	case there && own == "1" && !wasClosed(b.own, link): // there it is ours, and switched on again
		return fmt.Sprintf("IPv6 is switched off on %s (net.ipv6.conf.%[1]s.disable_ipv6)", link)
	case all == "1":
		return "IPv6 is switched off on this host (net.ipv6.conf.all.disable_ipv6)"
	case here["ipv6/conf/default/disable_ipv6"] == "1":
		return "IPv6 is switched off for links that are made (net.ipv6.conf.default.disable_ipv6)"
	default:
		return ""
	}
}

// check6 refuses IPv6 addresses of the host's on a link that cannot have any.
func (b *builder) check6(link string, addresses []netip.Prefix) {
	i := slices.IndexFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if i < 0 {
		return
	}
	if why := b.noIPv6(link); why != "" {
		b.refuse(link, fmt.Sprintf("cannot have %s: %s", addresses[i], why), "leave the address out, or switch IPv6 on")
	}
}

// natSubnet is the one given, if nothing else uses it, or the first of those that may be
// chosen. What was chosen once stays for as long as it is in use.
func (b *builder) natSubnet(n spec.Network, given netip.Prefix, choose func(seed string, try int) netip.Prefix) netip.Prefix {
	if given.IsValid() {
		if other, grave := b.usedBy(given, n.Bridge); grave {
			b.refuse("network "+n.Name, fmt.Sprintf("%s is used already: %s", given, other), "give it another subnet, or leave it out, and one is chosen")
		} else if other != "" {
			b.note("network %s takes %s out of %s: what is there is no longer reached", n.Name, given, other)
		}
		return given
	}
	seed := b.opt.Seed + "\x00" + n.Name
	four := choose(seed, 0).Addr().Is4()
	for _, known := range b.own.Networks {
		for _, p := range known.Subnets {
			if known.Name != n.Name || p.Addr().Is4() != four {
				continue
			}
			other, grave := b.usedBy(p, n.Bridge)
			if !grave {
				return p
			}
			b.note("network %s leaves %s for another subnet: %s. Machines that run have an address of it once they ask anew: when half of their lease is over, or when their cable is pulled (drawbridge machine unplug, plug)", n.Name, p, other)
		}
	}
	for try := range 1 << 14 {
		p := choose(seed, try)
		if other, _ := b.usedBy(p, n.Bridge); other == "" && !slices.ContainsFunc(b.given, p.Overlaps) {
			b.given = append(b.given, p)
			return p
		}
	}
	b.refuse("network "+n.Name, "no subnet is free: routes lead to all that could be chosen", "give it one: subnet: 198.18.7.0/24")
	return choose(seed, 0)
}

// givenSubnets are those that the file speaks of: none of them is chosen.
func givenSubnets(want spec.Desired) (out []netip.Prefix) {
	for _, n := range want.Networks {
		out = append(append(out, n.Host.Addresses...), n.Subnet)
		if n.NAT != nil {
			out = append(out, n.NAT.Subnet6)
		}
	}
	for _, m := range want.Machines {
		for _, n := range m.NICs {
			out = append(append(out, n.Host...), n.Addresses...)
		}
	}
	for _, t := range want.Taps {
		out = append(out, t.Host...)
	}
	return slices.DeleteFunc(out, func(p netip.Prefix) bool { return !p.IsValid() })
}

// choose4 is a /24 out of 10.176.0.0 to 10.239.255.255 (RFC 1918), which neither container
// runtimes nor home routers take by themselves.
func choose4(seed string, try int) netip.Prefix {
	n := hashed(seed, "subnet", try)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 176 + byte(n>>8)%64, byte(n), 0}), 24)
}

// choose6 is a /64 of a unique local prefix (RFC 4193).
func choose6(seed string, try int) netip.Prefix {
	var a [16]byte
	a[0] = 0xfd
	binary.BigEndian.PutUint64(a[:8], 0xfd<<56|hashed(seed, "subnet6", try)>>8)
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func hashed(seed, what string, try int) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", seed, what, try))
	return binary.BigEndian.Uint64(sum[:8])
}

// usedBy says what else of this host is in a subnet, "" if nothing is: addresses and routes
// of any table but the default ones. It is grave where that would no longer work; of a
// wider route only a part is hidden.
func (b *builder) usedBy(p netip.Prefix, bridge string) (what string, grave bool) {
	for _, a := range b.here().Addresses {
		if a.Link != bridge && a.Origin != model.LinkLocal && a.Prefix.Masked().Overlaps(p) {
			return fmt.Sprintf("%s has %s", a.Link, a.Prefix), true
		}
	}
	for _, r := range b.here().Routes {
		if r.Destination.Bits() == 0 || r.Table == model.TableLocal || r.Link() == bridge || !r.Destination.Overlaps(p) || r.Destination.Addr().IsMulticast() {
			continue
		}
		what = fmt.Sprintf("a route to %s goes by %s", r.Destination, orSame(r.Link(), r.Type))
		if r.Destination.Bits() >= p.Bits() {
			return what, true
		}
	}
	return what, false
}

// hosts are the host's own addresses: the first of each subnet.
func (nn *natted) hosts() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range nn.subnets() {
		out = append(out, netip.PrefixFrom(p.Addr().Next(), p.Bits()))
	}
	return out
}

func (nn *natted) subnets() []netip.Prefix {
	if nn.six.IsValid() {
		return []netip.Prefix{nn.four, nn.six}
	}
	return []netip.Prefix{nn.four}
}

// forwarding is what the network's machines may.
func (nn *natted) forwarding() *model.Forwarding {
	return &model.Forwarding{Network: nn.name, Link: nn.bridge, Subnets: nn.subnets(), Out: true, Masquerade: nn.subnets(), Publish: nn.publish}
}

// claim notes the addresses that the file gives, so that none of them is chosen.
func (nn *natted) claim(n spec.NIC) {
	for _, p := range n.Addresses {
		nn.taken[p.Addr()] = true
	}
}

// join gives a NIC its addresses on the network, and the way out of it, and notes what it
// publishes. What a guest of ours makes of a prefix is known. router: it is to find its way out by
// this network.
func (nn *natted) join(b *builder, m model.MachineConfig, n spec.NIC, nic *model.NICConfig, router bool) {
	has := nic.Addresses
	if n.DHCP {
		four := nn.chooseAddress(m.Name, n.Name, nic.MAC)
		if !four.IsValid() {
			b.refuse(m.Name, fmt.Sprintf("there is no room for it in %s of network %s", nn.four, nn.name), "give the network a larger subnet")
			return
		}
		has = []netip.Prefix{four}
		if nn.six.IsValid() && nn.six.Bits() == 64 && (m.HasAgent() || !nn.serves()) {
			has = append(has, netip.PrefixFrom(interfaceAddress(nn.six, nic.MAC), 64))
		}
		nic.DHCP, nic.Addresses = nn.serves(), nil
		if !nn.serves() {
			nic.Addresses = has
		}
	}
	if router && !n.Gateway.IsValid() {
		nn.lead(nic)
	}
	nn.know(m.Name, n.Name, nic.MAC, has)
	for _, p := range n.Publish {
		nn.open(b, m.Name, n, p, has)
	}
}

// lead tells a NIC whose addresses are given the way out; a DHCP server and an advertised
// router tell it the others.
func (nn *natted) lead(nic *model.NICConfig) {
	for _, p := range nic.Addresses {
		switch {
		case p.Addr().Is4():
			nic.Gateway = nn.four.Addr().Next()
		case nn.six.IsValid() && !nn.serves():
			nic.Gateway6 = nn.six.Addr().Next()
		}
	}
}

// sources are the addresses that are all that a NIC may send from: where a router advertises
// itself, a guest makes IPv6 addresses beside those that it is given.
func (nn *natted) sources(nic model.NICConfig) []netip.Prefix {
	if !nn.serves() || !nn.six.IsValid() {
		return nic.Addresses
	}
	return slices.DeleteFunc(slices.Clone(nic.Addresses), func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// know notes who a machine is for the servers: its IPv4 address is kept for it, and its name
// is its own; the second NIC of a machine is named with it.
func (nn *natted) know(machine, nic string, mac model.MAC, has []netip.Prefix) {
	name := strings.ToLower(machine)
	if slices.ContainsFunc(nn.known, func(l model.StaticLease) bool { return l.Name == name }) {
		name += "-" + strings.ToLower(nic)
	}
	l := model.StaticLease{MAC: mac, Name: name}
	var six []netip.Addr
	for _, p := range has {
		if p.Addr().Is6() {
			six = append(six, p.Addr())
		} else if !l.Address.IsValid() {
			l.Address = p.Addr()
		}
	}
	nn.known = append(nn.known, l)
	if six != nil {
		nn.names = append(nn.names, model.DNSName{Name: name, Addresses: six})
	}
}

// open publishes a port.
func (nn *natted) open(b *builder, machine string, n spec.NIC, p spec.Publish, has []netip.Prefix) {
	led := false
	for _, to := range has {
		if !p.Address.IsValid() || p.Address.Is4() == to.Addr().Is4() {
			led = true
			nn.publish = append(nn.publish, model.Publish{Protocol: p.Protocol, Address: p.Address, Port: p.Port, To: to.Addr(), ToPort: p.ToPort})
		}
	}
	if !led {
		b.refuse(machine, fmt.Sprintf("port %d is published at %s, and which address of that family %s has is not known", p.Port, p.Address, n.Name), "give it one with address:, or publish at another address")
	}
	b.checkPublished(p, nn.name)
}

// service is what the network's machines are told by servers of ours, nil for nothing.
func (nn *natted) service() *model.Service {
	if !nn.serves() {
		return nil
	}
	host := nn.hosts()
	s := &model.Service{Network: nn.name, Link: nn.bridge, DHCP4: &model.DHCP4Config{Server: host[0], First: nn.spec.First, Last: nn.spec.Last, Router: host[0].Addr(), Static: nn.known}}
	if !s.DHCP4.First.IsValid() {
		s.DHCP4.First, s.DHCP4.Last = nn.at(1), nn.at(nn.room())
	}
	if nn.six.IsValid() {
		s.RA = &model.RAConfig{Prefixes: []model.RAPrefix{{Prefix: nn.six}}, LifetimeSeconds: routerLifetime}
	}
	if nn.spec.NoDNS {
		return s
	}
	zone := orSame(nn.spec.Zone, zoneOf(nn.name))
	s.DNS = &model.DNSConfig{Clients: nn.subnets(), Zone: zone, Names: nn.names}
	for _, h := range host {
		s.DNS.Listen = append(s.DNS.Listen, h.Addr())
	}
	for _, a := range nn.spec.DNS {
		s.DNS.Upstreams = append(s.DNS.Upstreams, netip.AddrPortFrom(a, 53))
	}
	s.DHCP4.DNS, s.DHCP4.Domain = s.DNS.Listen[:1], zone
	if s.RA != nil {
		s.RA.DNS, s.RA.Search = s.DNS.Listen[1:], []string{zone}
	}
	return s
}

// routerLifetime is three times the most between two advertisements (RFC 4861, 6.2.1).
const routerLifetime = 1800

// zoneOf is the network's name below the domain that is for networks like this (RFC 8375).
func zoneOf(network string) string {
	label := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, strings.ToLower(network))
	return strings.Trim(label, "-") + ".home.arpa"
}

// room is how many IPv4 addresses there are beside the network's, the host's and the
// broadcast address; at is the first of them by 1.
func (nn *natted) room() uint64 { return uint64(1)<<(32-nn.four.Bits()) - 3 }

func (nn *natted) at(n uint64) netip.Addr {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], binary.BigEndian.Uint32(nn.four.Addr().AsSlice())+1+uint32(n))
	return netip.AddrFrom4(raw)
}

// chooseAddress is the address of a machine's NIC: the one that it has, else one by its name,
// outside of what is given to others where there is room.
func (nn *natted) chooseAddress(machine, nic string, mac model.MAC) netip.Prefix {
	take := func(a netip.Addr) netip.Prefix {
		nn.taken[a] = true
		return netip.PrefixFrom(a, nn.four.Bits())
	}
	for _, a := range slices.SortedFunc(maps.Keys(nn.kept), netip.Addr.Compare) {
		if nn.kept[a] == mac && nn.four.Contains(a) && !nn.taken[a] {
			return take(a)
		}
	}
	start := hashed(machine, nic, 0)
	for _, avoid := range []bool{true, false} {
		for try := range min(nn.room(), 1<<16) {
			a := nn.at(1 + (start+try)%nn.room())
			pooled := nn.spec.First.IsValid() && !a.Less(nn.spec.First) && !nn.spec.Last.Less(a)
			if !nn.taken[a] && !(avoid && (pooled || nn.kept[a] != "")) {
				return take(a)
			}
		}
	}
	return netip.Prefix{}
}

// addressesKept are those that machines have by the servers of a network, or by their own
// configuration.
func (b *builder) addressesKept(network string) map[netip.Addr]model.MAC {
	out := map[netip.Addr]model.MAC{}
	for _, m := range b.now.Machines {
		if m.Config == nil {
			continue
		}
		for _, n := range m.Config.NICs {
			for _, p := range n.Addresses {
				out[p.Addr()] = n.MAC
			}
		}
	}
	if s := b.now.Service(network); s != nil && s.DHCP4 != nil {
		for _, l := range s.DHCP4.Static {
			out[l.Address] = l.MAC
		}
	}
	return out
}

// interfaceAddress is the address that a host makes of a prefix and its MAC (RFC 4291,
// appendix A).
func interfaceAddress(p netip.Prefix, mac model.MAC) netip.Addr {
	a := p.Addr().As16()
	var m [6]byte
	if _, err := fmt.Sscanf(string(mac), "%02x:%02x:%02x:%02x:%02x:%02x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]); err != nil {
		return p.Addr().Next().Next() // no MAC is not valid: they are checked
	}
	copy(a[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(a)
}

// checkPublished refuses a port that a program of the host listens at: it would no longer
// hear anybody.
func (b *builder) checkPublished(p spec.Publish, network string) {
	if f := b.here().ForwardingOf(network); f != nil && slices.ContainsFunc(f.Publish, func(o model.Publish) bool {
		return o.Protocol == p.Protocol && o.Port == p.Port && o.Address == p.Address
	}) {
		return // it leads there already
	}
	for _, s := range b.opt.Listening {
		at := s.Local.Addr()
		if s.Protocol == p.Protocol && s.Local.Port() == p.Port && (at.IsUnspecified() || !p.Address.IsValid() || at == p.Address) {
			b.refuse("network "+network, fmt.Sprintf("port %d (%s) cannot be published: a program of this host listens at %s", p.Port, p.Protocol, s.Local),
				"choose another port, or end that program: ss -lnp 'sport = "+fmt.Sprint(p.Port)+"'")
			return
		}
	}
	if p.Address.IsValid() && !p.Address.IsLoopback() && !slices.ContainsFunc(b.here().Addresses, func(a model.Address) bool { return a.Prefix.Addr() == p.Address }) {
		b.note("port %d is published at %s, which is no address of this host at the moment", p.Port, p.Address)
	}
}
