package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"drawbridge/internal/model"
)

// names are the network's own, as they are at one moment. They do not change.
type names struct {
	zone      string // lower case, without the final dot
	prefixes  []netip.Prefix
	addresses map[string][]netip.Addr // by name without the zone
	reverse   map[netip.Addr]string
}

// newNames takes the file's names before those that clients gave themselves.
func newNames(c model.DNSConfig, static []model.StaticLease, leases []model.Lease) *names {
	n := &names{zone: canonical(c.Zone), prefixes: c.Clients, addresses: map[string][]netip.Addr{}, reverse: map[netip.Addr]string{}}
	fixed := map[string]bool{}
	for _, x := range c.Names {
		fixed[canonical(x.Name)] = true
		for _, a := range x.Addresses {
			n.add(x.Name, a)
		}
	}
	for _, s := range static {
		if s.Name != "" && s.Address.IsValid() {
			n.add(s.Name, s.Address)
		}
	}
	for _, l := range leases {
		if l.Name != "" && !fixed[l.Name] {
			n.add(l.Name, l.Address)
		}
	}
	return n
}

func (n *names) add(name string, a netip.Addr) {
	name = canonical(name)
	if slices.Contains(n.addresses[name], a) {
		return
	}
	n.addresses[name] = append(n.addresses[name], a)
	if _, taken := n.reverse[a]; !taken {
		n.reverse[a] = name
	}
}

// canonical is a name as it is compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// local tells whether a name is answered here, and which of the network's own it is; a
// name of one label is, since no name server of the world has it.
func (n *names) local(name string) (own string, local bool) {
	switch {
	case n.zone != "" && name == n.zone:
		return "", true
	case n.zone != "" && strings.HasSuffix(name, "."+n.zone):
		return strings.TrimSuffix(name, "."+n.zone), true
	case name != "" && !strings.Contains(name, "."):
		return name, true
	default:
		return "", false
	}
}

// full is a name with its zone, as DNS writes it.
func (n *names) full(own string) (dnsmessage.Name, error) {
	if n.zone != "" && own != "" {
		own += "."
	}
	return dnsmessage.NewName(own + n.zone + ".")
}

// reverseOf reads 1.7.18.198.in-addr.arpa, or the 32 digits of ip6.arpa.
func reverseOf(name string) (a netip.Addr, ok bool) {
	if v4, is := strings.CutSuffix(name, ".in-addr.arpa"); is {
		labels := strings.Split(v4, ".")
		slices.Reverse(labels)
		a, err := netip.ParseAddr(strings.Join(labels, "."))
		return a, err == nil && a.Is4()
	}
	v6, is := strings.CutSuffix(name, ".ip6.arpa")
	if !is || len(v6) != 63 {
		return a, false
	}
	var b strings.Builder
	for i := 62; i >= 0; i-- {
		c := v6[i]
		if i%2 == 1 {
			if c != '.' {
				return a, false
			}
			continue
		}
		b.WriteByte(c)
		if digit := (62 - i) / 2; digit%4 == 3 && digit != 31 {
			b.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil && a.Is6()
}

// ownReverse tells whether an address is of the network: nobody else is asked who has it.
func (n *names) ownReverse(a netip.Addr) bool {
	return slices.ContainsFunc(n.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ParseResolvConf reads the name servers of resolv.conf(5).
func ParseResolvConf(text string) []netip.AddrPort {
	const most = 3 // MAXNS
	var out []netip.AddrPort
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(out) == most {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a, port))
		}
	}
	return out
}

// sorted puts IPv4 before IPv6, and each in order, so that an answer is always the same.
func sorted(as []netip.Addr) []netip.Addr {
	as = slices.Clone(as)
	slices.SortFunc(as, func(x, y netip.Addr) int { return cmp.Or(cmp.Compare(x.BitLen(), y.BitLen()), x.Compare(y)) })
	return as
}
