package relay

import (
	"net/netip"
	"slices"
	"time"

	"drawbridge/internal/model"
)

// lan is what a host knows of a LAN by: its own prefixes there, and the gateways.
type lan struct {
	known    bool
	away     bool // the uplink was unplugged since
	prefixes []netip.Prefix
	gateways []netip.Addr
}

func lanOf(f Facts) lan {
	l := lan{known: true, gateways: slices.Clone(f.Gateways)}
	for _, p := range f.LAN {
		l.prefixes = append(l.prefixes, p.Masked())
	}
	slices.SortFunc(l.gateways, netip.Addr.Compare)
	slices.SortFunc(l.prefixes, netip.Prefix.Compare)
	l.gateways, l.prefixes = slices.Compact(l.gateways), slices.Compact(l.prefixes)
	return l
}

// given is an address that the file gives to a machine.
type given struct {
	free   bool // nobody else on this LAN has it
	at     mac  // somebody who has
	probes int
	next   time.Time
}

const (
	// givenAgain is after how long the LAN is asked again for an address of the file's that
	// somebody else there has.
	givenAgain = 30 * time.Second
	// goneAfter is how long a prefix is missing from the uplink before machines are told that
	// it is over: an uplink that was unplugged has its addresses again after a while.
	goneAfter = 5 * time.Second
)

// look4LAN compares the LAN that the host is on with the one that it was on. A cable that was
// unplugged may be in another LAN now, with the very same prefix: whoever has an address there
// must not lose it to a machine of ours that had it elsewhere.
func (r *Relay) look4LAN(now time.Time) {
	for a := range r.given {
		if !slices.Contains(r.facts.Given, a) {
			delete(r.given, a)
		}
	}
	for _, a := range r.facts.Given {
		if r.given[a] == nil {
			r.given[a] = &given{free: true}
		}
	}
	if r.facts.Away || len(r.facts.LAN) == 0 {
		r.lan.away = r.lan.known
		return
	}
	was := r.lan
	r.lan = lanOf(r.facts)
	if was.known && (was.away || !slices.Equal(was.prefixes, r.lan.prefixes) || !slices.Equal(was.gateways, r.lan.gateways)) {
		r.arrive(now)
	}
}

// arrive: the host is on a LAN that may be another one.
func (r *Relay) arrive(now time.Time) {
	clear(r.conflicts)
	clear(r.waiting)
	clear(r.unanswered)
	for a, k := range r.addresses {
		k.doubt, k.probes, k.next, k.rival = true, 0, now, mac{}
		if !r.facts.onLAN(a) {
			r.isForeign(a, k.mac, now)
			if f, ok := r.foreign[k.mac]; ok && k.leased {
				f.leased = true
				r.foreign[k.mac] = f
			}
		}
	}
	for _, g := range r.given {
		*g = given{next: now}
	}
	if r.far != nil {
		r.solicitRouters(now)
	}
}

// lookAtGiven asks the LAN for the addresses that the file gives, where it may be another one.
func (r *Relay) lookAtGiven(now time.Time) {
	for a, g := range r.given {
		switch {
		case g.free || now.Before(g.next) || r.facts.Away || !r.facts.onLAN(a):
		case g.probes < probes:
			g.probes++
			g.next = now.Add(probePause)
			r.probeLAN(a)
		default:
			g.free, g.at = true, mac{}
			r.announce(a)
		}
	}
}

// foreign is an address of another LAN that a machine uses.
type foreign struct {
	address netip.Addr
	heard   time.Time
	leased  bool // a DHCP server gave it, of the LAN that the host was on before
}

// isForeign notes that a machine uses an address which is not of the LAN.
func (r *Relay) isForeign(a netip.Addr, m mac, now time.Time) {
	if _, ok := r.facts.own(false); !ok || r.facts.Away || !a.Is4() || !a.IsGlobalUnicast() || r.facts.isNetwork(a) {
		return
	}
	f, known := r.foreign[m]
	if !known && len(r.foreign) >= maxTold {
		return
	}
	r.foreign[m] = foreign{a, now, f.leased && f.address == a}
}

// Report is what a relay wants done by who has the rights.
type Report struct {
	// Learned are the addresses that are to be routed to the machines, sorted.
	Learned []model.LearnedAddress `json:"learned,omitempty"`
	// Answers are the addresses of the file that the uplink is to answer for: those of this
	// LAN that nobody else there has, sorted.
	Answers []netip.Addr `json:"answers,omitempty"`
	// Stranded are the machines whose address by DHCP is of a LAN that the host has left: they
	// ask anew when their cable is unplugged and plugged in.
	Stranded []model.MAC `json:"stranded,omitempty"`
}

// Report tells what is to be done now.
func (r *Relay) Report() Report {
	out := Report{Learned: r.Learned()}
	r.mu.Lock()
	defer r.mu.Unlock()
	for a, g := range r.given {
		if g.free && !r.facts.Away && r.facts.onLAN(a) {
			out.Answers = append(out.Answers, a)
		}
	}
	for m, f := range r.foreign {
		if f.leased {
			out.Stranded = append(out.Stranded, model.MAC(m.String()))
		}
	}
	slices.SortFunc(out.Answers, netip.Addr.Compare)
	slices.Sort(out.Stranded)
	return out
}
