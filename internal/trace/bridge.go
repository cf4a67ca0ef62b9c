package trace

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// bridge is a frame in a bridge's segment: it came in by a port, or (nil) from the bridge's own
// interface.
func (k *walker) bridge(segment string, in *nic, p packet) {
	if k.dead {
		return
	}
	br := k.bridgeOf(segment)
	if br == nil || br.link == nil {
		k.may(ByFDB, "how this switch forwards is not in the picture")
		return
	}
	if in != nil && !k.enters(br, in, &p) {
		return
	}
	k.atSegment(segment)
	if !br.Up {
		k.die(ByLink, "ip link set "+br.Name+" up", "%s is down, and so it forwards nothing", br.Name)
		return
	}
	vid, ok := k.vlanIn(br, in, &p)
	if !ok {
		return
	}
	if in != nil {
		k.hooks(br.stack, "prerouting", seen{packet: &p, iif: in.Name, family: "bridge", bridge: br.Name}, "")
		if k.isLocal(br, p.dstMAC) {
			k.up(br, in, p)
			return
		}
	}
	k.spread(segment, br, in, vid, p)
}

// bridgeOf is the bridge's own interface.
func (k *walker) bridgeOf(segment string) *nic {
	for _, o := range k.index.WireEnds(model.End{In: model.InSegment, ID: segment}) {
		if o.Kind == model.Bridged && k.nics[o.ID] != nil {
			return k.nics[o.ID]
		}
	}
	return nil
}

// up takes a frame for the bridge's own interface to its stack.
func (k *walker) up(br, in *nic, p packet) {
	k.hooks(br.stack, "input", seen{packet: &p, iif: in.Name, family: "bridge", bridge: br.Name}, "")
	k.pass(ByFDB, "%s is the bridge's own", p.dstMAC)
	k.atNIC(br, true)
	p.dstMAC = br.MAC // whichever of the bridge's own it was for
	if p.vlan != 0 {
		k.untag(br, p)
		return
	}
	k.upFrom(br, p)
}

// isLocal: the bridge's own MAC and those of its ports are for its stack (br_fdb_add_local).
func (k *walker) isLocal(br *nic, mac model.MAC) bool {
	if mac == br.MAC {
		return true
	}
	for _, l := range br.stack.ns.Ports(br.Name) {
		if l.MAC == mac {
			return true
		}
	}
	return false
}

// enters asks the port by which a frame comes in (br_handle_frame, br_handle_frame_finish).
func (k *walker) enters(br, in *nic, p *packet) bool {
	port := portOf(in)
	if port == nil {
		return true
	}
	if !k.forwards(in, port) {
		return false
	}
	if port.Locked && p.srcMAC != "" {
		known := slices.ContainsFunc(br.stack.ns.FDB, func(e model.FDBEntry) bool {
			return e.Link == in.Name && e.MAC == p.srcMAC && e.Master == br.Name
		})
		if !known {
			k.die(ByPort, "", "the port is locked, and %s has no entry at it", p.srcMAC)
			return false
		}
	}
	return true
}

func portOf(n *nic) *model.BridgePort {
	if n.link == nil {
		return nil
	}
	return n.link.Port
}

// forwards tells whether a port is in the state forwarding.
func (k *walker) forwards(n *nic, port *model.BridgePort) bool {
	switch port.State {
	case "forwarding", "":
		k.pass(ByPort, "the port is forwarding")
		return true
	case "listening", "learning":
		k.die(ByPort, "wait for the forward delay, or ip link set "+n.link.Master+" type bridge stp_state 0", "the port is %s: STP lets no frame through yet", port.State)
	default:
		k.die(ByPort, "bridge link set dev "+n.Name+" state 3", "the port is %s", port.State)
	}
	return false
}

// vlanIn finds the VLAN of a frame in a bridge that keeps them apart, 0 in another one.
func (k *walker) vlanIn(br, in *nic, p *packet) (vid uint16, ok bool) {
	if !br.link.Bridge.VLANFiltering {
		return 0, true
	}
	name, vlans, known := br.Name, br.link.Bridge.VLANs, br.link.Bridge.VLANs != nil
	if in != nil {
		name, vlans, known = in.Name, nil, portOf(in) != nil
		if known {
			vlans = portOf(in).VLANs
		}
	}
	if !known {
		k.unknown("the VLANs of %s", name)
		return 1, true
	}
	vid = p.vlan
	if vid == 0 {
		i := slices.IndexFunc(vlans, func(v model.PortVLAN) bool { return v.PVID })
		if i < 0 {
			k.die(ByVLAN, "bridge vlan add dev "+name+" vid VID pvid untagged", "%s has no VLAN for untagged frames", name)
			return 0, false
		}
		vid = vlans[i].ID
	}
	if !slices.ContainsFunc(vlans, func(v model.PortVLAN) bool { return v.ID == vid }) {
		k.die(ByVLAN, fmt.Sprintf("bridge vlan add dev %s vid %d", name, vid), "%s is not in VLAN %d: the frame is not let in", name, vid)
		return 0, false
	}
	k.pass(ByVLAN, "it is of VLAN %d by %s", vid, name)
	return vid, true
}

// vlanOut tells whether a port lets a VLAN out, and tags the frame or takes the tag off.
func (k *walker) vlanOut(br, out *nic, vid uint16, p *packet) bool {
	if !br.link.Bridge.VLANFiltering {
		return true
	}
	port := portOf(out)
	if port == nil {
		return true
	}
	i := slices.IndexFunc(port.VLANs, func(v model.PortVLAN) bool { return v.ID == vid })
	if i < 0 {
		k.die(ByVLAN, fmt.Sprintf("bridge vlan add dev %s vid %d", out.Name, vid), "%s is not in VLAN %d, where the frame is: %s", out.Name, vid, vlansOf(port.VLANs))
		return false
	}
	p.vlan = vid
	if port.VLANs[i].Untagged {
		p.vlan = 0
	}
	return true
}

func vlansOf(list []model.PortVLAN) string {
	if len(list) == 0 {
		return "it is in none"
	}
	var ids []string
	for _, v := range list {
		ids = append(ids, fmt.Sprint(v.ID))
	}
	return "it is in " + strings.Join(ids, ", ")
}

// spread finds the port by which a frame goes on: by the forwarding database, or by all
// ports, where that does not know the MAC.
func (k *walker) spread(segment string, br, in *nic, vid uint16, p packet) {
	out, known := k.portOfMAC(br, vid, p.dstMAC)
	switch {
	case known && out == nil: // an entry of the bridge's own interface, where we came from
		if in != nil {
			k.up(br, in, p)
			return
		}
	case known:
		k.pass(ByFDB, "the forwarding database has %s at %s", p.dstMAC, out.Name)
	default:
		out = k.flood(segment, br, in, p)
		if out == nil {
			k.die(ByFDB, "", "nobody on %s has the MAC %s", br.Name, orWord(string(p.dstMAC), "asked for"))
			return
		}
		k.pass(ByFDB, "the forwarding database does not know %s: it goes out of all ports", orWord(string(p.dstMAC), "its MAC"))
	}
	if k.dead {
		return
	}
	if in != nil && out == in {
		if port := portOf(in); port == nil || !port.Hairpin {
			k.die(ByFDB, "", "it would have to go back out of %s, by which it came", in.Name)
			return
		}
	}
	if in != nil && isIsolated(in) && isIsolated(out) {
		k.die(ByPort, fmt.Sprintf("bridge link set dev %s isolated off", out.Name), "%s and %s are both isolated ports", in.Name, out.Name)
		return
	}
	if in != nil {
		k.bridgeHooks(br, in, out, &p)
	} else {
		k.hooks(br.stack, "output", seen{packet: &p, oif: out.Name, family: "bridge", bridge: br.Name}, "")
	}
	if k.dead {
		return
	}
	k.atNIC(out, false)
	if port := portOf(out); port != nil && !k.forwards(out, port) {
		return
	}
	if !k.vlanOut(br, out, vid, &p) {
		return
	}
	k.transmit(out, p)
}

func isIsolated(n *nic) bool {
	port := portOf(n)
	return port != nil && port.Isolated
}

// bridgeHooks is the firewall between two ports: the bridge family, and with br_netfilter that of
// IP as well (br_nf_pre_routing, br_nf_forward_ip, br_nf_post_routing), which sees the bridge itself
// as the link.
func (k *walker) bridgeHooks(br, in, out *nic, p *packet) {
	k.hooks(br.stack, "forward", seen{packet: p, iif: in.Name, oif: out.Name, family: "bridge", bridge: br.Name}, "")
	name := "bridge/bridge-nf-call-iptables"
	if !p.dst.Is4() {
		name = "bridge/bridge-nf-call-ip6tables"
	}
	if v, _ := br.stack.setting(name); v != "1" || k.dead {
		return
	}
	before, src, dst := len(k.t.Hops[len(k.t.Hops)-1].Decisions), p.src, p.dst
	k.hooks(br.stack, "prerouting", seen{packet: p, iif: br.Name, family: p.family()}, "")
	k.hooks(br.stack, "forward", seen{packet: p, iif: br.Name, oif: br.Name, family: p.family()}, "")
	k.hooks(br.stack, "postrouting", seen{packet: p, oif: br.Name, family: p.family(), way: way{RouteAnswer: model.RouteAnswer{Link: br.Name}}}, "")
	if !k.answering && (p.src != src || p.dst != dst) {
		k.may(ByFirewall, "a packet that is translated while it is bridged is not followed")
	}
	h := &k.t.Hops[len(k.t.Hops)-1]
	for i := before; i < len(h.Decisions); i++ {
		d := &h.Decisions[i]
		d.Text = fmt.Sprintf("net/%s=1 sends bridged packets through the rules of IP: %s", name, d.Text)
		if d.Result == Dies {
			d.Mend = "sysctl net." + strings.ReplaceAll(name, "/", ".") + "=0"
		}
	}
}

// portOfMAC looks into the forwarding database; out is nil for the bridge itself.
func (k *walker) portOfMAC(br *nic, vid uint16, mac model.MAC) (out *nic, known bool) {
	if mac == "" {
		return nil, false
	}
	for _, e := range br.stack.ns.FDB {
		if e.MAC != mac || e.Master != br.Name && e.Link != br.Name || e.VLAN != vid && e.VLAN != 0 {
			continue
		}
		if e.Link == br.Name {
			return nil, true
		}
		l := br.stack.ns.Link(e.Link)
		if l == nil || l.Master != br.Name || l.MAC == mac {
			continue
		}
		if n := br.stack.nic(e.Link); n != nil {
			return n, true
		}
	}
	return nil, false
}

// flood finds the port behind which a MAC is, as a frame that is sent to all of them does;
// for a MAC that nobody in the picture has, a port that leads to a LAN. One that does not
// flood is as if it were not there.
func (k *walker) flood(segment string, br, in *nic, p packet) *nic {
	var lan *nic
	for _, o := range k.index.HostEnds(model.End{In: model.InSegment, ID: segment}) {
		n := k.nics[o.ID]
		if n == nil || n == in {
			continue
		}
		if k.behind(n, p.dstMAC, segment) {
			return n
		}
		port := portOf(n)
		if n.WireEnd.In == model.InSegment && lan == nil && (port == nil || port.Flood) {
			if s := k.index.Segment(n.WireEnd.ID); s != nil && s.Kind == "lan" {
				lan = n
			}
		}
	}
	if lan == nil {
		want := k.to
		if k.answering {
			want = k.from
		}
		if want.stack.outside != "" && (k.snap.Unseen > 0 || k.hasOpaque(segment)) {
			return nil
		}
	}
	_ = br
	return lan
}

func (k *walker) hasOpaque(segment string) bool {
	for _, o := range k.index.HostEnds(model.End{In: model.InSegment, ID: segment}) {
		if o.HolderUnknown {
			return true
		}
	}
	return false
}

// behind tells whether the owner of a MAC is reached by an interface's wire end.
func (k *walker) behind(n *nic, mac model.MAC, not string) bool {
	if mac == "" {
		return false
	}
	seenSegments := map[string]bool{not: true}
	var from func(e model.End, by string) bool
	from = func(e model.End, by string) bool {
		switch e.In {
		case model.InInterface:
			x := k.nics[e.ID]
			return x != nil && x.ID != by && (x.MAC == mac || from(x.WireEnd, x.ID))
		case model.InSegment:
		default:
			return false
		}
		if seenSegments[e.ID] {
			return false
		}
		seenSegments[e.ID] = true
		for _, o := range k.index.WireEnds(e) {
			x := k.nics[o.ID]
			if x == nil || o.ID == by {
				continue
			}
			if x.MAC == mac && x.HostEnd.In == model.InStack || x.HostEnd.In != model.InStack && from(x.HostEnd, x.ID) {
				return true
			}
		}
		for _, o := range k.index.HostEnds(e) {
			x := k.nics[o.ID]
			if x != nil && o.ID != by && from(x.WireEnd, x.ID) {
				return true
			}
		}
		return false
	}
	return from(n.WireEnd, n.ID)
}
