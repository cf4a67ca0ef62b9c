package relay

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// Types of neighbour discovery, RFC 4861.
const (
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighbourSolicitation = 135
	neighbourAdvertisment = 136
)

// advert is a router's last word, ready for the machines.
type advert struct {
	body []byte
	till time.Time
	// ours: the host itself has an address of a prefix of it, or had; gone: since when not.
	ours bool
	gone time.Time
}

const (
	advertAge  = 30 * time.Minute // of one that was heard and not taken back
	maxRouters = 8
)

// discovery reads a message of neighbour discovery: it comes with a hop limit of 255, or
// through a router that should not have passed it on.
func discovery(b []byte) (source netip.Addr, body []byte, ok bool) {
	if len(b) < ip6Len+4 || b[0]>>4 != 6 || b[6] != icmp6 || b[7] != 255 {
		return source, nil, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < 4 || ip6Len+size > len(b) {
		return source, nil, false
	}
	return netip.AddrFrom16([16]byte(b[8:24])), b[ip6Len : ip6Len+size], true
}

func (r *Relay) icmpFromMachine(from mac, b []byte) {
	source, body, ok := discovery(b)
	if !ok {
		return
	}
	switch body[0] {
	case routerSolicitation:
		if r.allow(r.portOf(from)) {
			r.answerSolicitation()
		}
	case neighbourSolicitation:
		if len(body) >= 24 {
			r.machineSolicits(from, source, netip.AddrFrom16([16]byte(body[8:24])))
		}
	case neighbourAdvertisment:
		if len(body) >= 24 {
			r.learn(netip.AddrFrom16([16]byte(body[8:24])), from, false)
		}
	}
}

// machineSolicits: one who asks from :: is about to take the address (RFC 4862, 5.4.2), and
// one who asks from an address wants to talk. Whoever is not behind the link is at it.
func (r *Relay) machineSolicits(from mac, source, target netip.Addr) {
	if source.IsUnspecified() {
		r.wants(target, from)
		if !r.facts.taken(target) {
			r.learn(target, from, false)
		}
		return
	}
	r.learn(source, from, false)
	if r.facts.onLAN(target) && !r.isBehind(target) {
		r.answerFor(target, from, source, true)
	}
}

func (r *Relay) icmpFromLAN(from mac, b []byte) {
	source, body, ok := discovery(b)
	if !ok || from == r.up {
		return
	}
	switch body[0] {
	case routerAdvertisement:
		r.advertised(source, body)
	case neighbourAdvertisment:
		if len(body) >= 24 {
			r.onLANToo(netip.AddrFrom16([16]byte(body[8:24])), from)
		}
	}
}

// advertised takes a router's word to the machines.
func (r *Relay) advertised(router netip.Addr, body []byte) {
	changed, ok := behind(body, r.link)
	if !ok || !router.IsLinkLocalUnicast() || r.routers[router].body == nil && len(r.routers) >= maxRouters {
		return
	}
	now, age := time.Now(), advertAge
	if life := time.Duration(binary.BigEndian.Uint16(body[6:])) * time.Second; life > 0 {
		age = min(age, life) // a router that has died must not be told of for longer
	}
	r.routers[router] = advert{body: changed, till: now.Add(age), ours: r.isOurs(changed)}
	r.advertise(changed)
}

// isOurs tells whether the host has an address of one of the prefixes.
func (r *Relay) isOurs(body []byte) bool {
	return hasPrefix(body, func(p netip.Prefix) bool {
		return slices.ContainsFunc(r.facts.LAN, func(own netip.Prefix) bool { return own.Masked() == p })
	})
}

// isAdvertised tells whether an address is of a prefix that a router advertises. A machine is
// often faster in making one than the host itself, or than we are in hearing of it.
func (r *Relay) isAdvertised(a netip.Addr) bool {
	for _, known := range r.routers {
		if hasPrefix(known.body, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return true
		}
	}
	return false
}

func hasPrefix(body []byte, fits func(netip.Prefix) bool) (has bool) {
	eachOption(body, func(o []byte) {
		if o[0] == optionPrefix && len(o) >= 32 && o[2] > 0 && o[2] <= 128 {
			has = has || fits(netip.PrefixFrom(netip.AddrFrom16([16]byte(o[16:32])), int(o[2])).Masked())
		}
	})
	return has
}

// lookAtRouters takes back what a router said whose prefix the host is not in any more: it
// has gone to another LAN, or the LAN has another prefix, and nothing finds the way back to
// such an address.
func (r *Relay) lookAtRouters(now time.Time) {
	for router, a := range r.routers {
		if r.facts.Away {
			continue
		}
		switch is := r.isOurs(a.body); {
		case is:
			a.ours, a.gone = true, time.Time{}
		case a.ours && a.gone.IsZero():
			a.gone = now
		}
		r.routers[router] = a
		if !a.gone.IsZero() && now.Sub(a.gone) > goneAfter {
			r.Log("the prefixes of the router %s are not of the LAN of %s any more: taken back", router, r.Uplink)
			delete(r.routers, router)
			r.advertise(withdrawn(a.body))
			r.solicitRouters(now)
		}
	}
}

// withdrawn is an advertisement that ends what it told: the router, its prefixes (machines
// keep the addresses for two hours at most, and begin nothing with them: RFC 4862, 5.5.3),
// and its name servers.
func withdrawn(body []byte) []byte {
	last := slices.Clone(body)
	clear(last[6:8]) // the router's lifetime
	eachOption(last, func(o []byte) {
		switch {
		case o[0] == optionPrefix && len(o) >= 32:
			clear(o[4:12]) // valid, preferred
		case o[0] == optionDNS || o[0] == optionSearch:
			clear(o[4:8])
		}
	})
	return last
}

// eachOption calls f with each option of an advertisement that is well-formed.
func eachOption(body []byte, f func(option []byte)) {
	for o := body[advertLen:]; len(o) >= 8 && o[1] > 0 && int(o[1])*8 <= len(o); {
		size := int(o[1]) * 8
		f(o[:size])
		o = o[size:]
	}
}

func (r *Relay) advertise(body []byte) {
	if r.facts.LinkLocal.IsValid() {
		r.near.write(icmp(groupMAC(allNodes), r.link, r.facts.LinkLocal, allNodes, slices.Clone(body)))
	}
}

// resign tells the machines that the host is their router no longer (RFC 4861, 6.2.5).
func (r *Relay) resign() {
	for _, a := range r.routers {
		last := slices.Clone(a.body)
		last[6], last[7] = 0, 0 // the router's lifetime
		r.advertise(last)
	}
}

// answerSolicitation tells a machine what routers last said, and asks them where none has.
func (r *Relay) answerSolicitation() {
	now := time.Now()
	for router, a := range r.routers {
		if now.After(a.till) {
			delete(r.routers, router)
			continue
		}
		r.advertise(a.body)
	}
	if len(r.routers) == 0 && now.Sub(r.soliciting) > time.Second {
		r.solicitRouters(now)
	}
}

func (r *Relay) solicitRouters(now time.Time) {
	r.soliciting = now
	if source := r.facts.UplinkLocal; source.IsValid() {
		r.far.write(icmp(groupMAC(allRouters), r.up, source, allRouters, append([]byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0, 1, 1}, r.up[:]...)))
	}
}

// The options of an advertisement that are changed on the way.
const (
	optionSource = 1
	optionPrefix = 3
	optionDNS    = 25
	optionSearch = 31
	flagOnLink   = 0x80
	advertLen    = 16 // without options
)

// behind is a router advertisement as it is behind the host: the router is the host, and
// the LAN's prefix is not on the link, so that machines send what is for the LAN's other
// hosts to the router, and need not ask for each. They make addresses of it all the same.
// false: it is malformed.
func behind(body []byte, at mac) ([]byte, bool) {
	if len(body) < advertLen {
		return nil, false
	}
	out := slices.Clone(body)
	for o := out[advertLen:]; len(o) > 0; {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) {
			return nil, false
		}
		size := int(o[1]) * 8
		switch {
		case o[0] == optionSource:
			copy(o[2:8], at[:])
		case o[0] == optionPrefix && size >= 32:
			o[3] &^= flagOnLink
		}
		o = o[size:]
	}
	return out, true
}
