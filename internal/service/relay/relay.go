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
	maxAddresses = 1024
	maxPending   = 1024
	// healing is how long frames to MAC addresses of the time before are answered with where
	// their receivers are now.
	healing = 2 * time.Minute
)

// known is an address of a machine.
type known struct {
	mac    mac
	heard  time.Time
	ready  bool // it is routed
	probes int  // sent to the LAN, until it is ready
	asked  int  // since it was last heard
	next   time.Time
}

// Relay is one relay. Link and Uplink are for its words only.
type Relay struct {
	Link, Uplink string
	Log          func(format string, args ...any)

	began      time.Time
	near, far  *wire
	mu         sync.Mutex
	facts      Facts
	link, up   mac
	addresses  map[netip.Addr]*known
	conflicts  map[netip.Addr]string
	waiting    map[uint32]client // DHCP, by transaction
	routers    map[netip.Addr]advert
	asking     map[netip.Addr]time.Time // what a machine asks of the LAN, before it takes it
	soliciting time.Time
	announced  int // how often the LAN was told of what was known from the start
}

// New makes a relay that knows some addresses already: of those the LAN is not asked.
func New(link string, c model.RelayConfig, facts Facts, learned []model.LearnedAddress, log func(string, ...any)) *Relay {
	r := &Relay{Link: link, Uplink: c.Uplink, Log: log, began: time.Now(), addresses: map[netip.Addr]*known{}, conflicts: map[netip.Addr]string{},
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
			out = append(out, model.LearnedAddress{Address: a, MAC: model.MAC(net.HardwareAddr(k.mac[:]).String())})
		}
	}
	slices.SortFunc(out, func(x, y model.LearnedAddress) int { return x.Address.Compare(y.Address) })
	return out
}

// Troubles are the addresses that machines took and may not have, each in a sentence.
func (r *Relay) Troubles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, why := range r.conflicts {
		out = append(out, why)
	}
	if _, ok := r.facts.own(false); !ok {
		out = append(out, fmt.Sprintf("%s has no IPv4 address: DHCP is not relayed", r.Uplink))
	}
	slices.Sort(out)
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
		case now.Before(k.next):
		case !k.ready && k.probes < probes:
			k.probes++
			k.next = now.Add(probePause)
			r.probeLAN(a)
		case !k.ready:
			k.ready = true
			r.Log("%s is at %s, and routed to it", a, net.HardwareAddr(k.mac[:]))
			r.announce(a)
		case now.Sub(k.heard) > silence && k.asked >= askedOften:
			delete(r.addresses, a)
			r.Log("%s has gone silent: it is routed no longer", a)
		case now.Sub(k.heard) > silence:
			k.asked++
			k.next = now.Add(time.Second)
			r.ask(a, k.mac)
		}
	}
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

// learn hears that a machine uses an address. given: a DHCP server gave it.
func (r *Relay) learn(a netip.Addr, m mac, given bool) {
	now := time.Now()
	if m == r.link || m[0]&1 != 0 || !r.facts.onLAN(a) || slices.Contains(r.facts.Given, a) {
		return
	}
	if r.facts.taken(a) {
		r.conflict(a, m, "which is the host's or the gateway's")
		return
	}
	k := r.addresses[a]
	switch {
	case k != nil && k.mac == m:
		k.heard, k.asked = now, 0
		k.ready = k.ready || given
		return
	case k != nil && !given && now.Sub(k.heard) < time.Minute && k.mac != (mac{}):
		r.conflict(a, m, "which is "+net.HardwareAddr(k.mac[:]).String()+"'s")
		return
	}
	if k == nil && (len(r.addresses) >= maxAddresses || r.of(m) >= maxPerMAC) {
		r.conflict(a, m, "one more than it may have")
		return
	}
	ready := given || k != nil && k.ready
	r.addresses[a] = &known{mac: m, heard: now, ready: ready}
	delete(r.conflicts, a)
	if ready {
		r.Log("%s is at %s, and routed to it", a, net.HardwareAddr(m[:]))
		r.announce(a)
	}
}

func (r *Relay) of(m mac) (n int) {
	for _, k := range r.addresses {
		if k.mac == m {
			n++
		}
	}
	return n
}

func (r *Relay) conflict(a netip.Addr, m mac, why string) {
	if len(r.conflicts) < maxPerMAC {
		r.conflicts[a] = fmt.Sprintf("the machine with %s uses %s, %s: it is not routed to it", net.HardwareAddr(m[:]), a, why)
	}
}

// onLANToo: somebody on the LAN answers for an address that a machine has, or asks for.
func (r *Relay) onLANToo(a netip.Addr, at mac) {
	if at == r.up {
		return
	}
	if _, asked := r.asking[a]; asked {
		r.answerFor(a, everybody, netip.Addr{}, false)
	}
	if k := r.addresses[a]; k != nil && !k.ready {
		r.conflict(a, k.mac, "which somebody on the LAN has ("+net.HardwareAddr(at[:]).String()+")")
		delete(r.addresses, a)
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
			r.wants(asked)
		} else if ok && mac(b[8:14]) == from {
			r.learn(sender, from, false)
		}
	case kind == typeIPv4:
		r.dhcpFromMachine(f[0:6], b)
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

// wants: a machine asks whether an address is free. The LAN is asked for it.
func (r *Relay) wants(a netip.Addr) {
	switch {
	case !r.facts.onLAN(a) || len(r.asking) >= maxPending:
	case r.facts.taken(a) && a.Is6():
		r.answerFor(a, everybody, netip.Addr{}, false)
	case !r.isBehind(a):
		r.asking[a] = time.Now().Add(3 * time.Second)
		r.probeLAN(a)
	}
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
