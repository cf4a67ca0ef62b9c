package trace

import (
	"net/netip"
	"strings"

	"drawbridge/internal/model"
)

// checkSource is what fib_validate_source asks of an IPv4 packet.
func (k *walker) checkSource(st *stack, n *nic, p packet) {
	if k.dead || !p.dst.Is4() {
		return
	}
	if link, own := st.has(p.src); own {
		if v, _ := st.setting("ipv4/conf/" + n.Name + "/accept_local"); v != "1" {
			if all, _ := st.setting("ipv4/conf/all/accept_local"); all != "1" {
				k.die(ByAddress, "", "%s is its own address on %s, and comes from outside: two have it", p.src, link)
			}
		}
		return
	}
	mode, path, known := st.strongest("rp_filter", n.Name)
	if !known {
		k.unknown("rp_filter of %s", st.name)
		return
	}
	if mode == "0" {
		return
	}
	r := lookup(st.ns, model.RouteQuery{Destination: p.src})
	switch {
	case r.Type != "unicast":
		k.die(BySetting, "sysctl net.ipv4.conf."+n.Name+".rp_filter=0, or a route to "+p.src.String(), "%s=%s: there is no route back to %s", path, mode, p.src)
	case mode == "1" && r.Link != n.Name:
		k.die(BySetting, "sysctl "+strings.ReplaceAll(path, "/", ".")+"=2 (loose) for both all and "+n.Name, "%s=1 (strict): %s came in by %s, and the way back to it is by %s (%s)", path, p.src, n.Name, r.Link, r.text)
	}
}

// checkLoopback: an address of 127.0.0.0/8 leaves or enters a stack by a link whose
// route_localnet says so only; one of IPv6 never does (__mkroute_output,
// ip_route_input_slow, ip6_rcv_core).
func (k *walker) checkLoopback(st *stack, a netip.Addr, link string) {
	if a.Is6() {
		k.die(ByAddress, "", "%s does not leave its stack, and would have to by %s", a, link)
		return
	}
	switch value, path, known := st.strongest("route_localnet", link); {
	case !known:
		k.unknown("route_localnet of %s", st.name)
	case value == "0":
		k.die(BySetting, "sysctl net.ipv4.conf."+link+".route_localnet=1", "net/%s=0: %s does not go by %s", strings.TrimPrefix(path, "net/"), a, link)
	default:
		k.pass(BySetting, "net/%s=%s", strings.TrimPrefix(path, "net/"), value)
	}
}

// strongest is the greater one of a setting's values for all links and for one.
func (st *stack) strongest(name, link string) (value, path string, known bool) {
	all, ok := st.setting("ipv4/conf/all/" + name)
	own, ok2 := st.setting("ipv4/conf/" + link + "/" + name)
	if all > own {
		return all, "net/ipv4/conf/all/" + name, ok || ok2
	}
	return own, "net/ipv4/conf/" + link + "/" + name, ok || ok2
}
