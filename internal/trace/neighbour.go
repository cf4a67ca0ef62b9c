package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// resolveMAC finds the MAC that a stack sends to for a next hop: its neighbour's, or that of who
// answers when it asks.
func (k *walker) resolveMAC(st *stack, n *nic, next netip.Addr) (model.MAC, bool) {
	if k.dead {
		return "", false
	}
	owners := k.answerers(n, next)
	if len(owners) > 1 && !sameStack(owners) {
		k.die(ByAddress, "", "%s is at two: %s; who answers first gets the packets", next, namesOf(owners))
		return "", false
	}
	var owner *nic
	if len(owners) > 0 {
		owner = owners[0].nic
	}
	entry := st.neighbour(n.Name, next)
	if entry != nil && entry.MAC != "" && usable(entry.State) {
		if owner != nil && owner.MAC != "" && owner.MAC != entry.MAC && !sameOwner(owners, entry.MAC) {
			mend := fmt.Sprintf("ip neigh del %s dev %s", next, n.Name)
			k.die(ByNeighbour, mend, "the neighbour table has %s at %s (%s), and it is at %s (%s): sent to nobody", next, entry.MAC, entry.State, owner.MAC, owner.name())
			return "", false
		}
		k.pass(ByNeighbour, "%s is at %s (%s)", next, entry.MAC, entry.State)
		return entry.MAC, true
	}
	asks := "ARP asks for it"
	if next.Is6() {
		asks = "neighbour discovery asks for it"
	}
	switch {
	case owner != nil:
		why := owners[0].why
		if entry != nil && entry.State == "failed" {
			why += "; the last time nobody answered"
		}
		k.pass(ByNeighbour, "%s: %s, and %s answers%s", next, asks, owner.name(), why)
		k.t.Hops[len(k.t.Hops)-1].asks = true
		return owner.MAC, true
	case entry != nil && (entry.State == "failed" || entry.State == "incomplete"):
		k.die(ByNeighbour, "", "nobody answers for %s: the neighbour entry is %s", next, entry.State)
		return "", false
	}
	segments, nics := k.domain(n)
	if silent := k.silent(n, nics, next); silent != "" {
		k.die(ByNeighbour, "", "%s: %s, and %s", next, asks, silent)
		return "", false
	}
	if _, ok := k.reachesLAN(segments); ok {
		if want := k.wanted(); want.stack.outside != "" {
			k.pass(ByNeighbour, "%s: %s on the LAN", next, asks)
		} else {
			k.may(ByNeighbour, "%s: %s on the LAN, and nobody in the picture answers", next, asks)
		}
		return "", true
	}
	if slices.ContainsFunc(nics, func(x *nic) bool { return x.stack.ns == nil || x.HolderUnknown || x.WireEnd.In == model.InTunnel }) {
		k.may(ByNeighbour, "%s: %s; whether one of those whose inside is not seen has it is not known", next, asks)
		return k.guess(nics), true
	}
	k.die(ByNeighbour, "", "%s: %s, and nobody there has it", next, asks)
	return "", false
}

// wanted is the end that the packet, or its answer, goes to.
func (k *walker) wanted() *end {
	if k.answering {
		return k.from
	}
	return k.to
}

// guess is the MAC of the only stack whose inside is not seen.
func (k *walker) guess(nics []*nic) model.MAC {
	var mac model.MAC
	for _, x := range nics {
		if x.stack.ns == nil {
			if mac != "" {
				return ""
			}
			mac = x.MAC
		}
	}
	return mac
}

func usable(state string) bool {
	return slices.Contains([]string{"permanent", "reachable", "stale", "delay", "probe", "noarp"}, state)
}

func (st *stack) neighbour(link string, a netip.Addr) *model.Neighbour {
	for i := range st.ns.Neighbours {
		n := &st.ns.Neighbours[i]
		if n.Link == link && n.Address == a && !n.Proxy {
			return n
		}
	}
	return nil
}

// answerer is an interface at which somebody answers for an address, and why.
type answerer struct {
	*nic
	why string
}

func sameStack(list []answerer) bool {
	return !slices.ContainsFunc(list, func(a answerer) bool { return a.stack != list[0].stack })
}

func sameOwner(list []answerer, mac model.MAC) bool {
	return slices.ContainsFunc(list, func(a answerer) bool { return a.MAC == mac })
}

func namesOf(list []answerer) string {
	var names []string
	for _, a := range list {
		names = append(names, fmt.Sprintf("%s (%s)", a.name(), a.MAC))
	}
	return strings.Join(names, " and ")
}

// answerers are those who answer on the Ethernet of an interface when it asks for an address: its
// owners, and who is its proxy.
func (k *walker) answerers(from *nic, a netip.Addr) []answerer {
	_, nics := k.domain(from)
	var own, proxies []answerer
	for _, n := range nics {
		if n == from || n.stack == from.stack && n.HostEnd.In == model.InStack || n.HostEnd.In != model.InStack {
			continue
		}
		if n.stack.ns == nil {
			if _, ok := n.stack.has(a); ok || k.learned[a] == n {
				own = append(own, answerer{n, ""})
			}
			continue
		}
		if link, ok := n.stack.has(a); ok && n.Up {
			if link == n.Name || a.Is4() && !n.stack.ignores(n.Name) {
				own = append(own, answerer{n, ""})
			}
			continue
		}
		if why := n.stack.proxies(n, a); why != "" {
			proxies = append(proxies, answerer{n, why})
		}
	}
	// Of one stack's several interfaces the one with the address.
	slices.SortStableFunc(own, func(x, y answerer) int {
		return yesNo(y.holds(a)) - yesNo(x.holds(a))
	})
	if len(own) > 0 {
		return own
	}
	return proxies
}

func (n *nic) holds(a netip.Addr) bool {
	return slices.ContainsFunc(n.Addresses, func(w model.WiredAddress) bool { return w.Address.Addr() == a })
}

// ignores: arp_ignore of 1 and more answers for the link's own addresses only (arp_ignore in
// net/ipv4/arp.c; 8 for none).
func (st *stack) ignores(link string) bool {
	v, _, _ := st.strongest("arp_ignore", link)
	return v != "" && v != "0"
}

// proxies tells why a stack answers for an address of somebody else, "" if it does not.
func (st *stack) proxies(n *nic, a netip.Addr) string {
	for _, x := range st.ns.Neighbours {
		if x.Proxy && x.Link == n.Name && x.Address == a {
			if v, known := st.setting("ipv6/conf/" + n.Name + "/proxy_ndp"); a.Is6() && known && v == "0" {
				if all, _ := st.setting("ipv6/conf/all/proxy_ndp"); all != "1" {
					continue
				}
			}
			return " in its stead: it has a proxy neighbour for it"
		}
	}
	if !a.Is4() {
		return ""
	}
	v, path, _ := st.strongest("proxy_arp", n.Name)
	if v != "1" {
		return ""
	}
	r := lookup(st.ns, model.RouteQuery{Destination: a, IIF: n.Name})
	if r.Type == "unicast" && r.Link != n.Name {
		return " in its stead: " + path + "=1"
	}
	return ""
}

// silent tells why the owner of an address does not answer, where it is on the same
// Ethernet; "" where nobody there has it.
func (k *walker) silent(from *nic, nics []*nic, a netip.Addr) string {
	for _, n := range nics {
		if n == from || n.HostEnd.In != model.InStack || n.stack.ns == nil || n.stack == from.stack {
			continue
		}
		link, ok := n.stack.has(a)
		switch {
		case !ok:
		case !n.Up:
			return fmt.Sprintf("%s has it, and is down", n.name())
		case a.Is4() && link != n.Name && n.stack.ignores(n.Name):
			return fmt.Sprintf("%s does not answer for an address of %s: arp_ignore", n.name(), link)
		}
	}
	return ""
}
