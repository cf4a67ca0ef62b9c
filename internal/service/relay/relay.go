package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"drawbridge/internal/model"
)

// Facts are what a relay must know of the host, and cannot find out by itself.
type Facts struct {
	LinkMAC   model.MAC `json:"link_mac"`
	UplinkMAC model.MAC `json:"uplink_mac"`
	// LinkLocal and UplinkLocal are the links' link-local addresses.
	LinkLocal   netip.Addr `json:"link_local,omitzero"`
	UplinkLocal netip.Addr `json:"uplink_local,omitzero"`
	// Away: the uplink is gone, down, or without carrier.
	Away bool `json:"away,omitempty"`
	// LAN are the host's addresses on the uplink, with the prefixes that they are of.
	LAN []netip.Prefix `json:"lan,omitempty"`
	// Taken are addresses that no machine may have: the host's own, and the gateways.
	Taken []netip.Addr `json:"taken,omitempty"`
	// Given are addresses of machines that are routed already.
	Given []netip.Addr `json:"given,omitempty"`
	// Gateways of the LAN.
	Gateways []netip.Addr `json:"gateways,omitempty"`
}

// own is the host's address of a family on the uplink.
func (f Facts) own(six bool) (netip.Addr, bool) {
	for _, p := range f.LAN {
		if p.Addr().Is6() == six {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// onLAN tells whether an address is of the LAN.
func (f Facts) onLAN(a netip.Addr) bool {
	return slices.ContainsFunc(f.LAN, func(p netip.Prefix) bool { return p.Contains(a) && p.Masked().Addr() != a })
}

// isBehind tells whether an address is one of the machines'.
func (r *Relay) isBehind(a netip.Addr) bool {
	return r.addresses[a] != nil || slices.Contains(r.facts.Given, a)
}

// isNetwork tells whether an address is that of one of the LAN's prefixes itself.
func (f Facts) isNetwork(a netip.Addr) bool {
	return slices.ContainsFunc(f.LAN, func(p netip.Prefix) bool { return p.Masked().Addr() == a })
}

func (f Facts) taken(a netip.Addr) bool { return slices.Contains(f.Taken, a) }

const (
	// probes are sent to the LAN, probePause apart, before an address that a machine took by
	// itself is routed to it (RFC 5227 waits longer; the machine itself has asked as well).
	probes     = 2
	probePause = 300 * time.Millisecond
	// silence is after how long without a word an address is asked for, askedOften times.
	silence    = 5 * time.Minute
	askedOften = 4
	// Limits, against a machine that takes all there are.
	maxPerMAC    = 16
	maxPerPort   = 64
	maxAddresses = 1024
	maxPending   = 1024
	// healing is how long frames to MAC addresses of the time before are answered with where
	// their receivers are now.
	healing = 2 * time.Minute
)

// known is an address of a machine.
type known struct {
	mac    mac
	port   string
	heard  time.Time
	leased bool // a DHCP server of the LAN gave it
	ready  bool // it is routed
	doubt  bool // the LAN may be another one by now: it is asked once more
	probes int  // sent to the LAN, until it is ready and not in doubt
	asked  int  // since it was last heard
	next   time.Time
	// rival claims it as well, and has it once its holder does not answer for it any more.
	rival     mac
	rivalPort string
}

// Relay is one relay. Link and Uplink are for its words only.
type Relay struct {
	Link, Uplink string
	Log          func(format string, args ...any)
	// Port tells behind which port of the link a hardware address is, "" if nobody knows; nil:
	// each is on a port of its own.
	Port func(m model.MAC) string

	began      time.Time
	near, far  *wire
	mu         sync.Mutex
	facts      Facts
	link, up   mac
	lan        lan // the last that the host was on
	addresses  map[netip.Addr]*known
	given      map[netip.Addr]*given // the file's
	conflicts  map[netip.Addr]conflict
	foreign    map[mac]foreign
	unanswered map[mac]*silent
	budgets    map[string]*budget // by port
	crowded    map[string]time.Time
	waiting    map[uint32]client // DHCP, by transaction
	routers    map[netip.Addr]advert
	asking     map[netip.Addr]time.Time // what a machine asks of the LAN, before it takes it
	soliciting time.Time
	announced  int // how often the LAN was told of what was known from the start
}

// New makes a relay that knows some addresses already: of those the LAN is not asked.
func New(link string, c model.RelayConfig, facts Facts, learned []model.LearnedAddress, log func(string, ...any)) *Relay {
	r := &Relay{Link: link, Uplink: c.Uplink, Log: log, began: time.Now(), addresses: map[netip.Addr]*known{}, given: map[netip.Addr]*given{},
		conflicts: map[netip.Addr]conflict{}, foreign: map[mac]foreign{}, unanswered: map[mac]*silent{}, budgets: map[string]*budget{}, crowded: map[string]time.Time{},
		waiting: map[uint32]client{}, routers: map[netip.Addr]advert{}, asking: map[netip.Addr]time.Time{}}
	for _, l := range learned {
		m, _ := parseMAC(l.MAC)
		// It is to be heard of soon, or asked for.
		r.addresses[l.Address] = &known{mac: m, ready: true, heard: r.began.Add(-silence + 5*time.Second)}
	}
	r.SetFacts(facts)
	return r
}

// SetFacts tells what has changed on the host.
func (r *Relay) SetFacts(f Facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := f.LinkLocal.IsValid() && !r.facts.LinkLocal.IsValid()
	r.facts = f
	r.link, _ = parseMAC(f.LinkMAC)
	r.up, _ = parseMAC(f.UplinkMAC)
	if fresh && r.near != nil {
		r.answerSolicitation() // machines have waited for it
	}
	r.look4LAN(time.Now())
}

func parseMAC(m model.MAC) (out mac, err error) {
	hw, err := net.ParseMAC(string(m))
	if err == nil && len(hw) == 6 {
		out = mac(hw)
	}
	return out, err
}

// Learned are the addresses that are to be routed to the machines, sorted.
func (r *Relay) Learned() []model.LearnedAddress {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []model.LearnedAddress
	for a, k := range r.addresses {
		if k.ready && r.facts.onLAN(a) && !r.facts.taken(a) {
			out = append(out, model.LearnedAddress{Address: a, MAC: model.MAC(k.mac.String())})
		}
	}
	slices.SortFunc(out, func(x, y model.LearnedAddress) int { return x.Address.Compare(y.Address) })
	return out
}

// Run relays on the sockets of [Open] until ctx ends.
func (r *Relay) Run(ctx context.Context, sockets []*os.File) error {
	if len(sockets) != Sockets {
		return fmt.Errorf("relay on %s: %d sockets: %w", r.Link, len(sockets), model.ErrInvalid)
	}
	var err1, err2 error
	r.near, err1 = newWire(sockets[0])
	r.far, err2 = newWire(sockets[1])
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("relay on %s: %w", r.Link, err)
	}
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		r.resign()
		r.mu.Unlock()
		closeAll(sockets)
	})
	defer stop()
	var readers sync.WaitGroup
	failed := make(chan error, 2)
	read := func(w *wire, heard func([]byte, bool)) {
		buf := make([]byte, 65536)
		for {
			n, other, err := w.read(buf)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && !errors.Is(err, net.ErrClosed) && !isDown(err):
				failed <- err
				return
			case err == nil && n >= etherLen:
				r.mu.Lock()
				heard(buf[:n], other)
				r.mu.Unlock()
			}
		}
	}
	readers.Go(func() { read(r.near, r.fromMachine) })
	readers.Go(func() { read(r.far, func(f []byte, _ bool) { r.fromLAN(f) }) })
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			readers.Wait()
			return nil
		case err := <-failed:
			return fmt.Errorf("relay on %s: %w", r.Link, err)
		case now := <-tick.C:
			r.mu.Lock()
			r.look(now)
			r.mu.Unlock()
		}
	}
}

// look does what is due: probes of the LAN, questions to silent machines, and asking for a
// router as long as none is known.
func (r *Relay) look(now time.Time) {
	if r.announced < 3 && now.Sub(r.began) > time.Duration(r.announced)*time.Second {
		r.announced++
		for a, k := range r.addresses {
			if k.ready && r.facts.onLAN(a) && !r.facts.taken(a) {
				r.announce(a)
			}
		}
	}
	for a, k := range r.addresses {
		switch {
		case now.Before(k.next) || r.facts.Away:
		case !r.facts.onLAN(a):
			// The host is on another LAN, or about to have its address again.
			if now.Sub(k.heard) > silence {
				delete(r.addresses, a)
			}
		case (k.doubt || !k.ready) && k.probes < probes:
			k.probes++
			k.next = now.Add(probePause)
			r.probeLAN(a)
		case k.doubt || !k.ready:
			if !k.ready {
				r.Log("%s is at %s, and routed to it", a, k.mac)
			}
			k.ready, k.doubt = true, false
			r.announce(a)
		case k.rival != mac{}:
			r.contest(a, k, now)
		case now.Sub(k.heard) > silence && k.asked >= askedOften:
			delete(r.addresses, a)
			r.Log("%s has gone silent: it is routed no longer", a)
		case now.Sub(k.heard) > silence:
			k.asked++
			k.next = now.Add(time.Second)
			r.ask(a, k.mac)
		}
	}
	r.lookAtGiven(now)
	r.lookAtRouters(now)
	r.forget(now)
	for a, until := range r.asking {
		if now.After(until) {
			delete(r.asking, a)
		}
	}
	for id, c := range r.waiting {
		if now.Sub(c.since) > time.Minute {
			delete(r.waiting, id)
		}
	}
	if len(r.routers) == 0 && now.Sub(r.soliciting) > 4*time.Second && now.Sub(r.began) < time.Minute {
		r.solicitRouters(now)
	}
}

// probeLAN asks the LAN whether it has an address, in nobody's name.
func (r *Relay) probeLAN(a netip.Addr) {
	if a.Is4() {
		r.far.write(arp(arpRequest, everybody, r.up, netip.IPv4Unspecified(), a))
	} else {
		r.far.write(solicitation(r.up, netip.IPv6Unspecified(), a))
	}
}

// announce tells the LAN that an address is at the uplink, for those who knew it elsewhere.
func (r *Relay) announce(a netip.Addr) {
	if a.Is4() {
		r.far.write(arp(arpRequest, everybody, r.up, a, a))
		return
	}
	if source := r.facts.UplinkLocal; source.IsValid() {
		r.far.write(advertisement(groupMAC(allNodes), r.up, source, allNodes, a, override))
	}
}

// ask asks a machine whether it still has an address.
func (r *Relay) ask(a netip.Addr, m mac) {
	own, ok := r.facts.own(a.Is6())
	if m == (mac{}) {
		m = everybody
	}
	switch {
	case a.Is4() && ok:
		r.near.write(arp(arpRequest, m, r.link, own, a))
	case a.Is6() && r.facts.LinkLocal.IsValid():
		r.near.write(solicitation(r.link, r.facts.LinkLocal, a))
	}
}

// answerFor tells the machines that an address is at the link.
func (r *Relay) answerFor(a netip.Addr, to mac, destination netip.Addr, answer bool) {
	if a.Is4() {
		r.near.write(arp(arpReply, to, r.link, a, a))
		return
	}
	flags := byte(isRouter | override)
	if answer {
		flags |= solicited
	} else {
		to, destination = groupMAC(allNodes), allNodes
	}
	r.near.write(advertisement(to, r.link, a, destination, a, flags))
}

// fromMachine hears a frame of the link.
func (r *Relay) fromMachine(f []byte, other bool) {
	from, b := mac(f[6:12]), f[etherLen:]
	kind := binary.BigEndian.Uint16(f[12:])
	switch {
	case other && kind != typeARP && len(b) > 0:
		if time.Since(r.began) < healing {
			r.heal(kind, from, b)
		}
	case kind == typeARP:
		if sender, asked, ok := parseARP(b); ok && sender.IsUnspecified() {
			r.wants(asked, from)
		} else if ok && mac(b[8:14]) == from {
			r.learn(sender, from, false)
		}
	case kind == typeIPv4:
		r.dhcpFromMachine(mac(f[0:6]), from, b)
	case kind == typeIPv6:
		r.icmpFromMachine(from, b)
	}
}

func parseARP(b []byte) (sender, target netip.Addr, ok bool) {
	if len(b) < 28 || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != typeIPv4 || b[4] != 6 || b[5] != 4 {
		return sender, target, false
	}
	return netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28])), true
}

// heal answers a frame to somebody whom the machine knew at another MAC address, while its
// network was bridged: without it the machine would find out only after half a minute.
func (r *Relay) heal(kind uint16, from mac, b []byte) {
	switch {
	case kind == typeIPv4 && len(b) >= ip4Len:
		to := netip.AddrFrom4([4]byte(b[16:20]))
		r.tell(to, from, netip.AddrFrom4([4]byte(b[12:16])))
	case kind == typeIPv6 && len(b) >= ip6Len:
		to := netip.AddrFrom16([16]byte(b[24:40]))
		r.tell(to, from, netip.AddrFrom16([16]byte(b[8:24])))
	}
}

func (r *Relay) tell(to netip.Addr, from mac, source netip.Addr) {
	// Of one that was known from the start the MAC address may not be.
	if k := r.addresses[source]; (k == nil || k.mac != from && k.mac != (mac{})) && !slices.Contains(r.facts.Given, source) {
		return
	}
	targets := []netip.Addr{to}
	if !r.facts.onLAN(to) {
		targets = r.facts.Gateways
	}
	for _, a := range targets {
		switch {
		case a.Is6() != source.Is6() || r.isBehind(a):
		case a.Is4(): // a request for oneself: an answer is not believed at once (arp_process, LOCKTIME)
			r.near.write(arp(arpRequest, from, r.link, a, a))
		default:
			r.answerFor(a, from, source, true)
		}
	}
}

// fromLAN hears a frame of the uplink.
func (r *Relay) fromLAN(f []byte) {
	from, b := mac(f[6:12]), f[etherLen:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case typeARP:
		if sender, _, ok := parseARP(b); ok {
			r.onLANToo(sender, from)
		}
	case typeIPv4:
		r.dhcpFromLAN(b)
	case typeIPv6:
		r.icmpFromLAN(from, b)
	}
}
