package router

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// offerTime is how long an address is kept for a client that was offered it.
const offerTime = 30 * time.Second

// declineTime is how long an address is left alone after a client found it in use
// (RFC 2131, 4.3.3).
const declineTime = 10 * time.Minute

// Lease is an address that belongs to a client for a time.
type Lease struct {
	Address  netip.Addr
	MAC      net.HardwareAddr
	ClientID string // option 61 in hexadecimal, "" if it sent none
	Hostname string
	Expires  time.Time
	// Bound: asked for and acknowledged, not offered only.
	Bound bool
	// key is the client's identity: its client identifier, else its MAC (RFC 2131, 2).
	key string
}

// table is who has which address of a pool. A client keeps its address for as long as
// the pool has room, also after its lease ran out: that is what a person expects.
type table struct {
	mu          sync.Mutex
	first, last netip.Addr
	leaseTime   time.Duration
	now         func() time.Time
	byKey       map[string]*Lease
	declined    map[netip.Addr]time.Time // until when
}

func newTable(first, last netip.Addr, leaseTime time.Duration, now func() time.Time) *table {
	return &table{first: first, last: last, leaseTime: leaseTime, now: now, byKey: map[string]*Lease{}, declined: map[netip.Addr]time.Time{}}
}

// client is who asks.
type client struct {
	key      string
	mac      net.HardwareAddr
	id       string
	hostname string
}

// offer chooses an address: the client's own, else the one it wishes for, else one
// that nobody ever had, else the one that ran out longest ago. False if none is free.
func (t *table) offer(c client, wish netip.Addr) (netip.Addr, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if l, ok := t.byKey[c.key]; ok && !t.isDeclined(l.Address) {
		l.Expires = later(l.Expires, now.Add(offerTime))
		return l.Address, true
	}
	a, ok := t.choose(wish)
	if !ok {
		return netip.Addr{}, false
	}
	t.assign(c, a, now.Add(offerTime), false)
	return a, true
}

// bind gives the client the address that it asks for, if it is in the pool and
// nobody else's.
func (t *table) bind(c client, a netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.contains(a) || t.isDeclined(a) {
		return false
	}
	if holder := t.holder(a); holder != nil && holder.key != c.key {
		return false
	}
	t.assign(c, a, t.now().Add(t.leaseTime), true)
	return true
}

// release ends a client's lease; the address is remembered for it.
func (t *table) release(key string, a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.byKey[key]; ok && l.Address == a {
		l.Expires, l.Bound = t.now(), false
	}
}

// decline notes that somebody else uses an address.
func (t *table) decline(key string, a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.byKey[key]; ok && l.Address == a {
		delete(t.byKey, key)
		t.declined[a] = t.now().Add(declineTime)
	}
}

// leases lists those in force, by address.
func (t *table) leases() []Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Lease
	for _, l := range t.byKey {
		if l.Bound && l.Expires.After(t.now()) {
			out = append(out, *l)
		}
	}
	slices.SortFunc(out, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return out
}

func (t *table) choose(wish netip.Addr) (netip.Addr, bool) {
	if wish.IsValid() && t.contains(wish) && t.holder(wish) == nil && !t.isDeclined(wish) {
		return wish, true
	}
	var oldest *Lease
	for a := t.first; a.Compare(t.last) <= 0; a = a.Next() {
		if t.isDeclined(a) {
			continue
		}
		h := t.holder(a)
		if h == nil {
			return a, true
		}
		if !h.Expires.After(t.now()) && (oldest == nil || h.Expires.Before(oldest.Expires)) {
			oldest = h
		}
	}
	if oldest == nil {
		return netip.Addr{}, false
	}
	delete(t.byKey, oldest.key)
	return oldest.Address, true
}

func (t *table) assign(c client, a netip.Addr, expires time.Time, bound bool) {
	if h := t.holder(a); h != nil && h.key != c.key {
		delete(t.byKey, h.key)
	}
	t.byKey[c.key] = &Lease{Address: a, MAC: c.mac, ClientID: c.id, Hostname: c.hostname, Expires: expires, Bound: bound, key: c.key}
}

func (t *table) contains(a netip.Addr) bool {
	return a.Compare(t.first) >= 0 && a.Compare(t.last) <= 0
}

func (t *table) isDeclined(a netip.Addr) bool {
	return t.declined[a].After(t.now())
}

func (t *table) holder(a netip.Addr) *Lease {
	for _, l := range t.byKey {
		if l.Address == a {
			return l
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
