package relay

import (
	"net/netip"
	"slices"
	"time"
)

// learn hears that a machine uses an address. leased: a DHCP server gave it.
func (r *Relay) learn(a netip.Addr, m mac, leased bool) {
	now := time.Now()
	if m == r.link || m[0]&1 != 0 {
		return
	}
	if !r.facts.onLAN(a) && !r.isAdvertised(a) {
		r.isForeign(a, m, now)
		return
	}
	delete(r.foreign, m)
	if slices.Contains(r.facts.Given, a) {
		return // the file says whose it is, whoever else claims it
	}
	if r.facts.taken(a) {
		r.conflict(a, m, "which is the host's or the gateway's")
		return
	}
	k := r.addresses[a]
	switch {
	case k != nil && k.mac == m:
		k.heard, k.asked = now, 0
		k.ready, k.leased = k.ready || leased, k.leased || leased
		if k.rival != (mac{}) {
			r.conflict(a, k.rival, "which is "+m.String()+"'s")
			k.rival, k.next = mac{}, now.Add(time.Second)
		}
		return
	case k != nil && !leased && k.mac != (mac{}):
		if k.rival == (mac{}) {
			k.rival, k.rivalPort, k.asked = m, r.portOf(m), 0
		}
		return
	}
	port := r.portOf(m)
	if k == nil && (len(r.addresses) >= maxAddresses || r.count(func(o *known) bool { return o.mac == m }) >= maxPerMAC ||
		r.count(func(o *known) bool { return o.port == port }) >= maxPerPort) {
		r.conflict(a, m, "one more than it may have")
		return
	}
	ready := leased || k != nil && k.ready
	r.addresses[a] = &known{mac: m, port: port, heard: now, ready: ready, leased: leased}
	delete(r.conflicts, a)
	if ready {
		r.Log("%s is at %s, and routed to it", a, m)
		r.announce(a)
	}
}

// contest asks the holder of an address that somebody else claims. It stays his while he
// answers; whoever makes himself heard the loudest would have it else.
func (r *Relay) contest(a netip.Addr, k *known, now time.Time) {
	if k.asked < askedOften {
		k.asked++
		k.next = now.Add(time.Second)
		r.ask(a, k.mac)
		return
	}
	r.Log("%s does not answer for %s any more: it is at %s, and routed to it", k.mac, a, k.rival)
	k.mac, k.port, k.rival, k.heard, k.asked, k.leased = k.rival, k.rivalPort, mac{}, now, 0, false
	delete(r.conflicts, a)
	r.announce(a)
}

func (r *Relay) count(is func(*known) bool) (n int) {
	for _, k := range r.addresses {
		if is(k) {
			n++
		}
	}
	return n
}

// onLANToo: somebody on the LAN answers for an address that a machine has, or asks for.
func (r *Relay) onLANToo(a netip.Addr, at mac) {
	if at == r.up {
		return
	}
	if _, asked := r.asking[a]; asked {
		r.answerFor(a, everybody, netip.Addr{}, false)
	}
	if k := r.addresses[a]; k != nil && (k.doubt || !k.ready) {
		r.conflict(a, k.mac, "which somebody on the LAN has ("+at.String()+")")
		delete(r.addresses, a)
	}
	if g := r.given[a]; g != nil && !g.free {
		g.at, g.probes, g.next = at, 0, time.Now().Add(givenAgain)
	}
}

// wants: a machine asks whether an address is free. The LAN is asked for it.
func (r *Relay) wants(a netip.Addr, from mac) {
	switch {
	case !r.facts.onLAN(a) || len(r.asking) >= maxPending || !r.allow(r.portOf(from)):
	case r.facts.taken(a) && a.Is6():
		r.answerFor(a, everybody, netip.Addr{}, false)
	case !r.isBehind(a):
		r.asking[a] = time.Now().Add(3 * time.Second)
		r.probeLAN(a)
	}
}
