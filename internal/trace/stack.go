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
	if !ok {
		return
	}
	if link, ok := st.has(p.src); !ok {
		k.may(ByAddress, "%s is not an address of %s", p.src, st.name)
	} else if a := st.addressOf(p.src); a != nil && a.Flags.DADFailed {
		k.die(ByAddress, "", "%s on %s is a duplicate: somebody else has it", p.src, link)
		return
	}
	before := p
	rule := k.hooks(st, "output", seen{packet: &p, oif: r.Link, family: p.family()}, "")
	if rule != nil && !k.answering {
		k.destinationNAT(st, rule, "", &p)
	}
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
	if !p.src.IsValid() {
		k.die(ByAddress, "", "%s has no address to send from by %s", st.name, r.Link)
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
	k.translateBack(st, &p, false)
	if rule := k.hooks(st, "postrouting", seen{packet: &p, iif: iif, oif: r.Link, family: p.family()}, ""); rule != nil && !k.answering {
		k.sourceNAT(st, rule, r, &p)
	}
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
	if rule := k.hooks(st, "postrouting", seen{packet: &p, oif: "lo", family: p.family()}, ""); rule != nil && !k.answering {
		k.sourceNAT(st, rule, way{RouteAnswer: model.RouteAnswer{Link: "lo", Source: p.dst}}, &p)
	}
	k.hooks(st, "prerouting", seen{packet: &p, iif: "lo", family: p.family()}, "")
	k.hooks(st, "input", seen{packet: &p, iif: "lo", family: p.family()}, "")
	k.translateBack(st, &p, true)
	k.translateBack(st, &p, false)
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
	k.translateBack(st, &p, true)
	if rule := k.hooks(st, "prerouting", seen{packet: &p, iif: n.Name, family: p.family()}, ""); rule != nil && !k.answering {
		k.destinationNAT(st, rule, n.Name, &p)
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
	k.translateBack(st, &p, false) // what the stack itself has sent elsewhere answers as whom it asked
	if !k.dead {
		k.pass(ByAddress, "%s is its address on %s", p.dst, link)
		k.deliver(st, p, n)
	}
}

// forward routes a packet on.
func (k *walker) forward(st *stack, n *nic, p packet) {
	path, what := "ipv4/conf/"+n.Name+"/forwarding", "IPv4"
	if !p.dst.Is4() {
		path, what = "ipv6/conf/all/forwarding", "IPv6"
	}
	value, known := st.setting(path)
	if !known && p.dst.Is4() {
		path = "ipv4/ip_forward"
		value, known = st.setting(path)
	}
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
