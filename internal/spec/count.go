package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// machineNames are the names of an entry's machines, in order: at least one, whatever
// is wrong with the entry.
func (b *builder) machineNames(e entry, counted bool, count int) []string {
	verb := numberVerb.FindString(e.name)
	if !counted {
		if _, given := e.fields.get("count"); verb != "" && !given {
			b.errorf(e.at, CodeConflict, "add count:, or take the % out", "%s stands for the number of machines that are counted, and these are not", verb)
		}
		return []string{e.name}
	}
	pattern := e.name
	if verb == "" {
		pattern += "%d"
		verb = "%d"
	}
	var names []string
	for i := range count {
		names = append(names, strings.Replace(pattern, verb, fmt.Sprintf(verb, i+1), 1))
	}
	if last := names[count-1]; len(last) > 32 {
		b.errorf(e.at, CodeUnfit, "shorten it", "the last one, %s, has %d characters; a machine's name has 32 at most", last, len(last))
	}
	return names
}

// checkCounted refuses what only one machine can have.
func (b *builder) checkCounted(m Machine, e entry) {
	for _, nic := range e.fields["nics"].entries {
		for _, k := range []struct{ key, hint string }{
			{"tap", "leave it out: " + DefaultTap(m.Name, nic.name) + " and so on"},
			{"mac", "leave it out, and each gets one that is stable and unique"},
			{"host", "put them on a network: of mode host-only"},
		} {
			if v, given := nic.fields.get(k.key); given {
				b.errorf(v.at, CodeConflict, k.hint, "one %s for many machines", k.key)
			}
		}
	}
}

// copies makes the others of counted machines like the first: names and taps of their
// own, addresses that count up. What is wrong with the first is not told again.
func (b *builder) copies(first Machine, names []string, e entry) {
	for i, name := range names {
		m := first
		m.Name, m.Args, m.NICs = name, slices.Clone(first.Args), slices.Clone(first.NICs)
		for n := range m.NICs {
			nic := &m.NICs[n]
			nic.Tap, nic.MAC = DefaultTap(name, nic.Name), ""
			here := at{nic.Pos, e.path + ".nics." + nic.Name}
			b.links = append(b.links, claim{here, nic.Tap, here.path, "tap"})
			if !b.countUp(nic, i+1, len(names)+1, here) {
				return
			}
		}
		b.want.Machines = append(b.want.Machines, m)
	}
}

// countUp gives a NIC of the machine by steps after the first its own addresses.
func (b *builder) countUp(nic *NIC, by, count int, here at) bool {
	first := nic.Addresses
	nic.Addresses = nil
	for _, p := range first {
		a := p.Addr()
		for range by {
			a = a.Next()
		}
		next := netip.PrefixFrom(a, p.Bits())
		if !p.Contains(a) || p.Addr().Is4() && p.Bits() < 31 && lastOf(p) == a {
			b.errorf(here, CodeConflict, "begin lower, or take a larger subnet", "%d machines, beginning with %s, do not fit into %s", count, p.Addr(), p.Masked())
			return false
		}
		nic.Addresses = append(nic.Addresses, next)
		segment := nic.Network
		if segment == "" {
			segment = "tap " + nic.Tap
		}
		b.hosts = append(b.hosts, claim{here, segment + " " + a.String(), here.path, "address"})
	}
	return b.portsUp(nic, by, count, here)
}

// portsUp gives a NIC of the machine by steps after the first ports of the host of its own.
func (b *builder) portsUp(nic *NIC, by, count int, here at) bool {
	first := nic.Publish
	nic.Publish = nil
	for _, p := range first {
		if int(p.Port)+by > 65535 {
			b.errorf(here, CodeConflict, "begin lower", "%d machines, beginning with port %d, need more ports than there are", count, p.Port)
			return false
		}
		p.Port += uint16(by)
		nic.Publish = append(nic.Publish, p)
		b.published = append(b.published, publishing{p, here.path + ".publish", here.path})
	}
	return true
}
