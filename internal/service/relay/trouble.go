package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxTold is how many machines, or addresses, are told of.
	maxTold = 16
	// toldFor is how long after it was last so.
	toldFor = 5 * time.Minute
	// silentAfter is how long a DHCP server may take: clients ask again after 4 s, then 8 s.
	silentAfter = 10 * time.Second
)

// conflict is an address that a machine took and may not have.
type conflict struct {
	why  string
	seen time.Time
}

// silent is a machine that no DHCP server has answered.
type silent struct {
	since, last time.Time // it asked
	said        bool
}

func (r *Relay) conflict(a netip.Addr, m mac, why string) {
	if _, known := r.conflicts[a]; known || len(r.conflicts) < maxTold {
		r.conflicts[a] = conflict{fmt.Sprintf("the machine with %s uses %s, %s: it is not routed to it", m, a, why), time.Now()}
	}
}

// asks notes that a machine asks for an address by DHCP, answered that it has been answered.
func (r *Relay) asks(m mac) {
	now := time.Now()
	s := r.unanswered[m]
	switch {
	case s != nil:
		s.last = now
	case len(r.unanswered) < maxTold:
		r.unanswered[m] = &silent{since: now, last: now}
	}
}

func (r *Relay) answered(m mac) {
	if s := r.unanswered[m]; s != nil && s.said {
		r.Log("the DHCP server of the LAN of %s answers %s", r.Uplink, m)
	}
	delete(r.unanswered, m)
}

// is tells whether nobody has answered for longer than it may take. The last question must
// have had its time, too.
func (s *silent) is(now time.Time) bool {
	return now.Sub(s.since) > silentAfter
}

// forget leaves out what is over, and tells once of what lasts.
func (r *Relay) forget(now time.Time) {
	for a, c := range r.conflicts {
		if now.Sub(c.seen) > toldFor {
			delete(r.conflicts, a)
		}
	}
	for m, f := range r.foreign {
		if now.Sub(f.heard) > toldFor {
			delete(r.foreign, m)
		}
	}
	for p, at := range r.crowded {
		if now.Sub(at) > toldFor {
			delete(r.crowded, p)
		}
	}
	for m, s := range r.unanswered {
		switch {
		case now.Sub(s.last) > toldFor:
			delete(r.unanswered, m)
		case s.is(now) && !s.said:
			s.said = true
			r.Log("no DHCP server of the LAN of %s answers %s", r.Uplink, m)
		}
	}
}

// Troubles are what is not as it should be, each a sentence.
func (r *Relay) Troubles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	tell := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, c := range r.conflicts {
		out = append(out, c.why)
	}
	now := time.Now()
	for m, s := range r.unanswered {
		if s.is(now) {
			tell("no DHCP server of the LAN of %s has answered the machine with %s since %s; it is heard as soon as there is one", r.Uplink, m, s.since.Format(time.TimeOnly))
		}
	}
	for port := range r.crowded {
		tell("behind %s more than %d clients ask for addresses by DHCP: the others are not heard", port, maxClients)
	}
	for m, f := range r.foreign {
		tell("the machine with %s uses %s, which is not of the LAN of %s: nothing reaches it there. It has an address of this LAN once its DHCP client asks anew, as when its cable is pulled and plugged in (drawbridge machine unplug, plug)", m, f.address, r.Uplink)
	}
	for a, g := range r.given {
		switch {
		case g.at != (mac{}):
			tell("%s, which the file gives to a machine, somebody else on the LAN has (%s)", a, g.at)
		case !r.facts.Away && !r.facts.onLAN(a) && r.hasFamily(a.Is6()):
			tell("%s, which the file gives to a machine, is not of the LAN of %s", a, r.Uplink)
		}
	}
	if r.facts.Away {
		tell("%s is down, or has no carrier: the machines reach this host only", r.Uplink)
	} else if !r.hasFamily(false) {
		tell("%s has no IPv4 address: DHCP is not relayed", r.Uplink)
	}
	slices.Sort(out)
	return out
}

func (r *Relay) hasFamily(six bool) bool {
	_, ok := r.facts.own(six)
	return ok
}
