package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// natted is a network of mode: nat while its wish is made concrete.
type natted struct {
	name, bridge string
	spec         *spec.Hidden
	four, six    netip.Prefix // six is invalid without IPv6
	taken        map[netip.Addr]bool
	publish      []model.Publish
}

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
	case b.noIPv6() != "":
		if n.NAT.Subnet6.IsValid() {
			b.refuse("network "+n.Name, "has a subnet6, and "+b.noIPv6(), "write subnet6: none, or switch IPv6 on: sysctl -w net.ipv6.conf.all.disable_ipv6=0")
		} else {
			b.note("network %s has no IPv6: %s", n.Name, b.noIPv6())
		}
	default:
		nn.six = b.natSubnet(n, n.NAT.Subnet6, choose6)
	}
	for _, p := range nn.hosts() {
		nn.taken[p.Addr()] = true
	}
	return nn
}

// noIPv6 says why there is none on this host, "" if there is.
func (b *builder) noIPv6() string {
	switch all, known := b.here().Settings["ipv6/conf/all/disable_ipv6"]; {
	case !known && len(b.here().Settings) > 0:
		return "this kernel has no IPv6"
	case all == "1":
		return "IPv6 is switched off on this host (net.ipv6.conf.all.disable_ipv6)"
	default:
		return ""
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
			if _, grave := b.usedBy(p, n.Bridge); known.Name == n.Name && p.Addr().Is4() == four && !grave {
				return p
			}
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
// publishes.
func (nn *natted) join(b *builder, machine string, n spec.NIC, nic *model.NICConfig, router bool) {
	if n.DHCP {
		four := nn.chooseAddress(b, machine, n.Name)
		if !four.IsValid() {
			b.refuse(machine, fmt.Sprintf("there is no room for it in %s of network %s", nn.four, nn.name), "give the network a larger subnet")
			return
		}
		nic.DHCP, nic.Addresses = false, []netip.Prefix{four}
		if nn.six.IsValid() && nn.six.Bits() == 64 {
			nic.Addresses = append(nic.Addresses, netip.PrefixFrom(interfaceAddress(nn.six, nic.MAC), 64))
		}
	}
	for _, p := range nic.Addresses {
		switch {
		case !router || n.Gateway.IsValid():
		case p.Addr().Is4():
			nic.Gateway = nn.four.Addr().Next()
		case nn.six.IsValid():
			nic.Gateway6 = nn.six.Addr().Next()
		}
		for _, pub := range n.Publish {
			if !pub.Address.IsValid() || pub.Address.Is4() == p.Addr().Is4() {
				nn.publish = append(nn.publish, model.Publish{Protocol: pub.Protocol, Address: pub.Address, Port: pub.Port, To: p.Addr(), ToPort: pub.ToPort})
			}
		}
	}
	for _, pub := range n.Publish {
		if !slices.ContainsFunc(nic.Addresses, func(p netip.Prefix) bool { return !pub.Address.IsValid() || pub.Address.Is4() == p.Addr().Is4() }) {
			b.refuse(machine, fmt.Sprintf("port %d is published at %s, and %s has no address of that family", pub.Port, pub.Address, n.Name), "give it one, or publish at another address")
		}
		b.checkPublished(pub, nn.name)
	}
}

// chooseAddress is the address of a machine's NIC: the one that it has, else one by its name,
// outside of what is given to others where there is room.
func (nn *natted) chooseAddress(b *builder, machine, nic string) netip.Prefix {
	if c := nicConfig(b.now.Machine(machine), nic); c != nil {
		for _, p := range c.Addresses {
			if nn.four.Contains(p.Addr()) && p.Bits() == nn.four.Bits() && !nn.taken[p.Addr()] {
				nn.taken[p.Addr()] = true
				return p
			}
		}
	}
	room := uint64(1)<<(32-nn.four.Bits()) - 3 // the network, the host, the broadcast
	base := binary.BigEndian.Uint32(nn.four.Addr().AsSlice()) + 2
	start := hashed(machine, nic, 0)
	for _, avoid := range []bool{true, false} {
		for try := range min(room, 1<<16) {
			var raw [4]byte
			binary.BigEndian.PutUint32(raw[:], base+uint32((start+try)%room))
			a := netip.AddrFrom4(raw)
			pooled := nn.spec.First.IsValid() && !a.Less(nn.spec.First) && !nn.spec.Last.Less(a)
			if !nn.taken[a] && !(avoid && pooled) {
				nn.taken[a] = true
				return netip.PrefixFrom(a, nn.four.Bits())
			}
		}
	}
	return netip.Prefix{}
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
