package trace

import (
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// What a stack does with a packet: sends it, takes it in, routes it on, is where it ends.

// send is a packet of a stack's own on its way out.
func (k *walker) send(st *stack, p packet) {
	k.atStack(st)
	r, ok := k.ownRoute(st, &p)
	if !k.answering && !k.source.IsValid() {
		k.source = p.src
	}
	if !ok {
		return
	}
	if link, ok := st.has(p.src); !ok && !p.src.IsLoopback() {
		k.may(ByAddress, "%s is not an address of %s", p.src, st.name)
	} else if a := st.addressOf(p.src); a != nil && a.Flags.DADFailed {
		k.die(ByAddress, "", "%s on %s is a duplicate: somebody else has it", p.src, link)
		return
	}
	before := p
	k.hooks(st, "output", seen{packet: &p, oif: r.Link, family: p.family()}, "")
	if p.dst != before.dst || p.mark != before.mark { // it is routed once more (ip_route_me_harder)
		if r, ok = k.ownRoute(st, &p); !ok {
			return
		}
	}
	k.emit(st, r, "", p)
}

// ownRoute is the way of a stack's own packet, which gets its source by it.
func (k *walker) ownRoute(st *stack, p *packet) (r way, ok bool) {
	if _, own := st.has(p.dst); own || p.dst.IsLoopback() {
		r = way{RouteAnswer: model.RouteAnswer{Type: "local", Link: "lo", Source: p.dst}}
		k.pass(ByAddress, "%s is its own address", p.dst)
	} else if r = k.route(st, model.RouteQuery{Destination: p.dst, Source: p.src}, p.mark); !k.routed(st, r, *p) {
		return r, false
	}
	if !p.src.IsValid() {
		p.src = r.Source
	}
	switch {
	case !p.src.IsValid():
		k.die(ByAddress, "", "%s has no address to send from by %s", st.name, r.Link)
	case p.src.IsLoopback() && r.Link != "lo":
		k.checkLoopback(st, p.src, r.Link)
	}
	return r, !k.dead
}

// routed notes the route, and tells whether there is one.
func (k *walker) routed(st *stack, r way, p packet) bool {
	switch {
	case r.reaches() && r.doubt != "":
		k.may(ByRoute, "%s; %s", r.text, r.doubt)
	case r.reaches():
		k.pass(ByRoute, "%s", r.text)
	case r.Type == "":
		back := ""
		if k.answering {
			back = ", and so no way back"
		}
		k.die(ByRoute, "ip route add "+netip.PrefixFrom(p.dst, p.dst.BitLen()).String()+" via GATEWAY", "%s has no route to %s%s", st.name, p.dst, back)
	default:
		k.die(ByRoute, "", "%s: the route is %s", r.text, r.Type)
	}
	return !k.dead
}

// emit sends a packet out of a link: past the firewall's last hook, to the next hop's MAC.
func (k *walker) emit(st *stack, r way, iif string, p packet) {
	if k.dead {
		return
	}
	if r.Type == "local" {
		k.loop(st, p)
		return
	}
	n := st.nic(r.Link)
	if n == nil {
		k.may(ByWire, "%s is not in the picture", r.Link)
		return
	}
	k.hooks(st, "postrouting", seen{packet: &p, iif: iif, oif: r.Link, family: p.family(), way: r}, "")
	if n.hasLink() && (!n.Up || !n.Carrier) { // nobody is asked by such a link
		k.atNIC(n, false)
		k.carries(n)
		return
	}
	if n.MTU > 0 && p.size > n.MTU { // a stack knows its links' MTUs: it is no silent loss, as at a bridge
		k.pass(ByLink, "%s has an MTU of %d: it goes in fragments, or the sender is told so", n.Name, n.MTU)
		p.size = n.MTU
	}
	next := r.Gateway
	if !next.IsValid() {
		next = p.dst
	}
	if n.hasLink() && hasNoFrames(n.link.Kind) {
		k.transmit(n, p)
		return
	}
	mac, ok := k.resolveMAC(st, n, next)
	if !ok {
		return
	}
	p.srcMAC, p.dstMAC, p.vlan = n.MAC, mac, 0
	k.transmit(n, p)
}

// loop is a packet from a stack to itself, by its loopback.
func (k *walker) loop(st *stack, p packet) {
	r := way{RouteAnswer: model.RouteAnswer{Link: "lo", Source: p.dst}}
	k.hooks(st, "postrouting", seen{packet: &p, oif: "lo", family: p.family(), way: r}, "")
	p.looped = true
	k.hooks(st, "prerouting", seen{packet: &p, iif: "lo", family: p.family()}, "")
	k.hooks(st, "input", seen{packet: &p, iif: "lo", family: p.family()}, "")
	k.deliver(st, p, nil)
}

// input is a packet that has come in by an interface whose host end is in a stack.
func (k *walker) input(n *nic, p packet) {
	if k.dead {
		return
	}
	st := n.stack
	if p.dstMAC != "" && n.MAC != "" && p.dstMAC != n.MAC {
		k.die(ByNeighbour, "", "the frame is for %s, and %s is %s: it is not taken", p.dstMAC, n.name(), n.MAC)
		return
	}
	k.legs++
	k.atStack(st)
	if k.legs > most {
		k.die(ByRoute, "", "the packet goes in a circle")
		return
	}
	if st.ns == nil {
		k.deliver(st, p, n)
		return
	}
	k.hooks(st, "prerouting", seen{packet: &p, iif: n.Name, family: p.family()}, "")
	if p.dst.IsLoopback() {
		k.checkLoopback(st, p.dst, n.Name)
	}
	k.checkSource(st, n, p)
	if k.dead {
		return
	}
	if link, own := st.has(p.dst); own {
		k.local(st, n, link, p)
		return
	}
	k.forward(st, n, p)
}

// local is a packet for the stack's own address.
func (k *walker) local(st *stack, n *nic, link string, p packet) {
	if a := st.addressOf(p.dst); a != nil && (a.Flags.DADFailed || a.Flags.Tentative) {
		k.die(ByAddress, "", "%s on %s may not be used: it is %s", p.dst, link, map[bool]string{true: "a duplicate", false: "tentative"}[a.Flags.DADFailed])
		return
	}
	k.hooks(st, "input", seen{packet: &p, iif: n.Name, family: p.family()}, "")
	if !k.dead {
		k.pass(ByAddress, "%s is its address on %s", p.dst, link)
		k.deliver(st, p, n)
	}
}

// forward routes a packet on.
func (k *walker) forward(st *stack, n *nic, p packet) {
	what := map[bool]string{true: "IPv4", false: "IPv6"}[p.dst.Is4()]
	path, value, known := st.forwards(n, p.dst.Is4())
	switch {
	case !known:
		k.unknown("net/%s of %s", path, st.name)
		k.may(BySetting, "whether %s forwards is not known", st.name)
	case value == "0":
		k.die(BySetting, "sysctl net."+strings.ReplaceAll(path, "/", ".")+"=1", "net/%s=0: %s does not forward %s that comes in by %s", path, st.name, what, n.Name)
		return
	default:
		k.pass(BySetting, "net/%s=%s", path, value)
	}
	r := k.route(st, model.RouteQuery{Destination: p.dst, Source: p.src, IIF: n.Name}, p.mark)
	if !k.routed(st, r, p) {
		return
	}
	k.hooks(st, "forward", seen{packet: &p, iif: n.Name, oif: r.Link, family: p.family()}, "")
	k.emit(st, r, n.Name, p)
}

// forwards is the setting that says whether a stack forwards what comes in by a link: IPv4's
// link has its own; of IPv6 all have one, which a link may overrule since Linux 6.17
// (ip6_forward).
func (st *stack) forwards(n *nic, is4 bool) (path, value string, known bool) {
	if is4 {
		path = "ipv4/conf/" + n.Name + "/forwarding"
		if value, known = st.setting(path); !known {
			path = "ipv4/ip_forward"
			value, known = st.setting(path)
		}
		return path, value, known
	}
	forced := "ipv6/conf/" + n.Name + "/force_forwarding"
	path = "ipv6/conf/all/forwarding"
	if value, known = st.setting(path); value == "0" {
		if v, _ := st.setting(forced); v == "1" {
			return forced, v, true
		}
	}
	return path, value, known
}

// deliver ends a way at a stack.
func (k *walker) deliver(st *stack, p packet, n *nic) {
	if k.dead {
		return
	}
	want := k.to
	if k.answering {
		want = k.from
	}
	if st != want.stack && !k.isTranslated(st, p) {
		k.die(ByAddress, "", "it arrives at %s, and %s was meant", st.name, want.stack.name)
		return
	}
	k.delivered, k.arrived, k.by = st, p, n
}

// isTranslated: a rule of the firewall has sent it here.
func (k *walker) isTranslated(st *stack, p packet) bool {
	return slices.ContainsFunc(k.translations, func(t translation) bool { return t.newDst != t.dst && (t.newDst == p.dst || t.stack == st) })
}
