package trace

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
)

// sourceFor is the address that a stack gives to its own packets to a destination, by a link and
// perhaps a gateway.
func sourceFor(ns *model.Namespace, link string, gateway, dst netip.Addr) netip.Addr {
	if dst.Is4() {
		return source4(ns, link, cmp.Or(gateway, dst))
	}
	return source6(ns, link, dst)
}

// source4 is the primary address of the next hop's subnet, else the first of the link, else the
// first of any (inet_select_addr).
func source4(ns *model.Namespace, link string, next netip.Addr) netip.Addr {
	var of, first netip.Addr
	for _, a := range ns.Addresses {
		x := a.Prefix.Addr()
		if !x.Is4() || a.Scope == "host" || a.Scope == "link" || x.IsLoopback() {
			continue
		}
		if a.Link == link && a.Prefix.Masked().Contains(next) && !a.Flags.Secondary {
			return x
		}
		if a.Link == link && !of.IsValid() {
			of = x
		}
		if !first.IsValid() {
			first = x
		}
	}
	return cmp.Or(of, first)
}

// source6 is that which RFC 6724 chooses (ipv6_dev_get_saddr): its rules as numbers, of which
// the first that differs decides. Of two that are alike the kernel takes that which came last;
// which one that is, a snapshot does not tell.
func source6(ns *model.Namespace, link string, dst netip.Addr) netip.Addr {
	var best netip.Addr
	var most [6]int
	for _, a := range ns.Addresses {
		x := a.Prefix.Addr()
		local := x.IsLinkLocalUnicast()
		if !x.Is6() || x.IsLoopback() || a.Flags.Tentative || a.Flags.DADFailed || a.Link != link && (local || dst.IsLinkLocalUnicast()) {
			continue
		}
		temporary := yesNo(a.Flags.Temporary)
		if v := ns.Settings["ipv6/conf/"+link+"/use_tempaddr"]; v != "2" {
			temporary = -temporary
		}
		rules := [...]int{
			yesNo(x == dst),
			yesNo(local == dst.IsLinkLocalUnicast()),
			-yesNo(a.Flags.Deprecated),
			yesNo(a.Link == link),
			yesNo(label(x) == label(dst)),
			256*temporary + commonBits(x, dst, a.Prefix.Bits()),
		}
		if !best.IsValid() || slices.Compare(rules[:], most[:]) > 0 {
			best, most = x, rules
		}
	}
	return best
}

func yesNo(b bool) int {
	if b {
		return 1
	}
	return 0
}

// label keeps kinds of addresses apart that do not reach each other well (net/ipv6/addrlabel.c).
func label(a netip.Addr) int {
	for i, p := range labels {
		if p.Contains(a) {
			return i
		}
	}
	return len(labels)
}

var labels = []netip.Prefix{
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2001:10::/28"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("::ffff:0:0/96"),
}

// commonBits is how many bits two addresses begin with alike, no more than the source's prefix.
func commonBits(a, b netip.Addr, most int) (n int) {
	x, y := a.As16(), b.As16()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			n += bits.LeadingZeros8(d)
			break
		}
		n += 8
	}
	return min(n, most)
}
