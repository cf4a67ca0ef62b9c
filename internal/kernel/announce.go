package kernel

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// When a network is bridged, or routed, from now on, whoever knew somebody on the other side
// of the uplink sends to a MAC address that is not on his Ethernet any more. He would find
// out by himself only when his entry has gone stale and all questions to the old place were
// without an answer (neigh_timer_handler). So both sides are told. It is a kindness: a frame
// that is lost is no error.

// place is where an address is on an Ethernet.
type place struct {
	address netip.Addr
	mac     []byte
	router  bool
}

var (
	everybody = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
)

// announcement tells that an address is at a MAC address, unasked. For IPv4 it is a
// request for oneself: Linux believes that at once, an answer not within a second of the
// entry's last change (arp_process, LOCKTIME).
func announcement(to, from []byte, p place) []byte {
	if p.address.Is4() {
		a := p.address.AsSlice()
		return slices.Concat(to, from, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, p.mac, a, make([]byte, 6), a)
	}
	if slices.Equal(to, everybody) {
		to = []byte{0x33, 0x33, 0, 0, 0, 1}
	}
	flags := byte(0x20) // override
	if p.router {
		flags |= 0x80
	}
	a, all := p.address.AsSlice(), allNodes.AsSlice()
	body := slices.Concat([]byte{136, 0, 0, 0, flags, 0, 0, 0}, a, []byte{2, 1}, p.mac)
	binary.BigEndian.PutUint16(body[2:], checksum6(a, all, body))
	head := []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 255}
	return slices.Concat(to, from, head, a, all, body)
}

// checksum6 is that of an ICMPv6 message, of an even length, with its pseudo header.
func checksum6(source, destination, body []byte) uint16 {
	sum := uint32(unix.IPPROTO_ICMPV6) + uint32(len(body)) //nolint:gosec // a few bytes
	for _, b := range [][]byte{source, destination, body} {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// wordsTo are announcements on one link.
type wordsTo struct {
	index int
	words [][]byte
}

func (k *Kernel) announce(lists ...wordsTo) {
	_ = k.inside(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, l := range lists {
			for _, w := range l.words {
				_ = unix.Sendto(fd, w, 0, &unix.SockaddrLinklayer{Ifindex: l.index})
			}
		}
		return nil
	})
}

// neighboursOf are those whose place is known on a link.
func neighboursOf(ns *model.Namespace, link string) []place {
	var out []place
	for _, nb := range ns.Neighbours {
		if mac, err := parseMAC(nb.MAC); err == nil && nb.Link == link && !nb.Proxy && len(mac) == 6 && !nb.Address.IsMulticast() {
			out = append(out, place{nb.Address, mac, nb.Router})
		}
	}
	return out
}

// tellBridged is for after a network was plugged into the LAN: its machines, whose places
// the plan knew, are where they are, and so are the LAN's hosts that the host knows. These
// are those that machines talked to, for it has routed between them.
func (k *Kernel) tellBridged(ns *model.Namespace, o model.ForgetLearned) {
	uplink, bridge := ns.Link(o.Uplink), ns.Link(o.Link)
	if uplink == nil || bridge == nil || uplink.Master != o.Link {
		return
	}
	own, err := parseMAC(bridge.MAC)
	if err != nil {
		return
	}
	lan, near := wordsTo{index: uplink.Index}, wordsTo{index: bridge.Index}
	told := map[string]bool{}
	for _, m := range o.Machines {
		mac, err := parseMAC(m.MAC)
		if err != nil {
			continue
		}
		lan.words = append(lan.words, announcement(everybody, mac, place{address: m.Address, mac: mac}))
		if told[string(mac)] {
			continue
		}
		told[string(mac)] = true
		for _, h := range neighboursOf(ns, o.Link) {
			if !slices.ContainsFunc(o.Machines, func(m model.LearnedAddress) bool { return m.Address == h.address }) {
				near.words = append(near.words, announcement(mac, own, h))
			}
		}
	}
	k.announce(lan, near)
	_ = k.sendSolicitation(bridge.Index) // what routers answer, all machines hear
}

// tellRouted is for when a link begins to answer for addresses of machines: on the LAN they
// are at the link, and for the machines the LAN's hosts that this one knows are at theirs.
func (k *Kernel) tellRouted(ns *model.Namespace, o model.AddProxies) {
	uplink := ns.Link(o.Link)
	if uplink == nil {
		return
	}
	own, err := parseMAC(uplink.MAC)
	if err != nil {
		return
	}
	lists := []wordsTo{{index: uplink.Index}}
	told := map[string]bool{}
	for _, a := range o.Addresses {
		lists[0].words = append(lists[0].words, announcement(everybody, own, place{address: a, mac: own}))
		r := slices.IndexFunc(ns.Routes, func(r model.Route) bool {
			return r.Table != model.TableLocal && r.Destination.IsSingleIP() && r.Destination.Addr() == a && r.Link() != o.Link
		})
		if r < 0 {
			continue
		}
		link := ns.Link(ns.Routes[r].Link())
		if link == nil {
			continue
		}
		near, err := parseMAC(link.MAC)
		if err != nil {
			continue
		}
		to := everybody
		if i := slices.IndexFunc(neighboursOf(ns, link.Name), func(p place) bool { return p.address == a }); i >= 0 {
			to = neighboursOf(ns, link.Name)[i].mac
		}
		if key := link.Name + string(to); !told[key] {
			told[key] = true
			l := wordsTo{index: link.Index}
			for _, h := range neighboursOf(ns, o.Link) {
				l.words = append(l.words, announcement(to, near, place{h.address, near, true}))
			}
			lists = append(lists, l)
		}
	}
	k.announce(lists...)
}
