package spec

import (
	"slices"
	"strings"
)

// claim says that something of the file has a thing that can be had once.
type claim struct {
	at
	key  string // what is had
	what string // by whom, for the message of the next who wants it
	kind string // link, tap, MAC address, address
}

type claims []claim

// taken reports every claim but the first one in the file on each thing.
func (b *builder) taken(list claims, hint string) {
	list = slices.DeleteFunc(slices.Clone(list), func(c claim) bool { return c.path == "" })
	slices.SortStableFunc(list, func(x, y claim) int {
		switch {
		case x.Pos.before(y.Pos):
			return -1
		case y.Pos.before(x.Pos):
			return 1
		}
		return strings.Compare(x.path, y.path)
	})
	first := map[string]claim{}
	for _, c := range list {
		f, is := first[c.key]
		if !is {
			first[c.key] = c
			continue
		}
		thing, better := c.key, hint
		switch {
		case c.kind == "address":
			thing = c.key[strings.LastIndexByte(c.key, ' ')+1:]
		case c.key == Auto:
			thing, better = "the device of the default route", "name another device, or put both networks' machines on one network"
		case c.kind == "tap" && f.kind == "tap":
			better = "a tap is one cable: give each NIC a tap of its own, or leave tap: out"
		}
		b.errorf(c.at, CodeConflict, better, "%s is %s already (line %d)", thing, whose(f), f.Line)
	}
}

func whose(c claim) string {
	if c.kind == "link" || strings.HasPrefix(c.what, "the ") {
		return c.what
	}
	return "the " + c.kind + " of " + c.what
}

// subnetUse is a subnet that is on a segment.
type subnetUse struct {
	placed
	segment string
	// bridged: the segment is a LAN outside, and two of them may be one LAN.
	bridged bool
}

// overlaps reports subnets of one segment that lie in a subnet of another: the host
// would not know which way to send. Prefixes either contain one another or are
// apart, so that in sorted order those that contain the present one are a stack.
func (b *builder) overlaps() {
	// Each link has the link-local subnet, and its addresses name theirs (RFC 4007).
	uses := slices.DeleteFunc(slices.Clone(b.subnets), func(u subnetUse) bool { return u.Addr().Is6() && u.Addr().IsLinkLocalUnicast() })
	slices.SortStableFunc(uses, func(x, y subnetUse) int {
		p, q := x.Masked(), y.Masked()
		if c := p.Addr().Compare(q.Addr()); c != 0 {
			return c
		}
		if p.Bits() != q.Bits() {
			return p.Bits() - q.Bits()
		}
		return x.Line - y.Line
	})
	var open []subnetUse
	told := map[[2]string]bool{}
	for _, u := range uses {
		for len(open) > 0 && !open[len(open)-1].Masked().Overlaps(u.Masked()) {
			open = open[:len(open)-1]
		}
		known := false
		for _, o := range open {
			if o.segment == u.segment {
				known = known || o.Masked() == u.Masked()
				continue
			}
			if o.bridged && u.bridged {
				continue
			}
			b.overlap(o, u, told)
			break
		}
		if !known {
			open = append(open, u)
		}
	}
}

func (b *builder) overlap(x, y subnetUse, told map[[2]string]bool) {
	if y.Pos.before(x.Pos) {
		x, y = y, x
	}
	key := [2]string{x.segment, y.segment}
	if told[key] {
		return
	}
	told[key] = true
	b.errorf(y.at, CodeConflict, "give each network a subnet of its own", "%s overlaps %s of %s (line %d)", y.Masked(), x.Masked(), x.segment, x.Line)
}
