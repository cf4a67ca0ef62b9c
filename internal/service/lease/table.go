package lease

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/model"
)

// What a client is refused with.
var (
	ErrExhausted = errors.New("the pool is used up")
	ErrPortFull  = errors.New("its port has as many addresses as one may have")
	ErrInUse     = errors.New("its own address is in use by somebody else")
	ErrNotHis    = errors.New("the address is not this client's")
)

const (
	// offerTime is how long an offered address waits to be asked for.
	offerTime = 30 * time.Second
	// conflictTime is how long an address that somebody else was found to use is left alone.
	conflictTime = 10 * time.Minute
	// rememberTime is how long a lease that ran out is kept, so that who comes again gets
	// the same address.
	rememberTime = 30 * 24 * time.Hour
	// perMAC is how many addresses one MAC address may have, under several client
	// identifiers: a boot loader, an installer and a system each have one.
	perMAC = 4
	// defaultPerPort is model.DHCP4Config.PerPort where it is 0.
	defaultPerPort = 16
	defaultLease   = time.Hour
)

// Client is who asks.
type Client struct {
	MAC model.MAC
	// ID is option 61 in hex, "" for none: then the MAC address tells who it is.
	ID string
	// Name is what it calls itself.
	Name string
	// Port of the bridge that it was heard at, "" if that is not known.
	Port string
}

// key tells clients apart. By RFC 2131, 2, the identifier alone would; but anybody may send
// another's, and would take its address away.
func (c Client) key() string { return string(c.MAC) + " " + c.ID }

type state int

const (
	offered state = iota
	bound
	conflict // somebody else uses it
)

// entry is what is known of an address. One whose time is over is nobody's, and is
// remembered for who had it.
type entry struct {
	model.Lease
	key   string
	state state
	until time.Time
}

func (e *entry) active(now time.Time) bool { return now.Before(e.until) }

// Table is the pool of one server. It is for one goroutine at a time.
type Table struct {
	config  model.DHCP4Config
	names   map[string]bool // that nobody may take: the file's
	entries map[netip.Addr]*entry
	byKey   map[string]netip.Addr // the last that a client had
	static  map[model.MAC]model.StaticLease
	kept    map[netip.Addr]model.MAC // addresses of static leases
	now     func() time.Time
	changed bool
}

// NewTable makes an empty one. No client is given one of names.
func NewTable(c model.DHCP4Config, names []string, now func() time.Time) *Table {
	t := &Table{config: c, names: map[string]bool{}, entries: map[netip.Addr]*entry{}, byKey: map[string]netip.Addr{},
		static: map[model.MAC]model.StaticLease{}, kept: map[netip.Addr]model.MAC{}, now: now}
	t.config.PerPort = cmp.Or(c.PerPort, defaultPerPort)
	for _, n := range names {
		t.names[CleanName(n)] = true
	}
	for _, s := range c.Static {
		t.static[s.MAC] = s
		if s.Name != "" {
			t.names[CleanName(s.Name)] = true
		}
		if s.Address.IsValid() {
			t.kept[s.Address] = s.MAC
		}
	}
	return t
}

// Duration is how long a lease lasts.
func (t *Table) Duration() time.Duration {
	if t.config.LeaseSeconds == 0 {
		return defaultLease
	}
	return time.Duration(t.config.LeaseSeconds) * time.Second
}

// Offer finds an address for a client, and keeps it for a while. Fresh tells that the
// client did not have it just now: whether somebody else uses it should be asked first.
func (t *Table) Offer(c Client, wanted netip.Addr) (a netip.Addr, fresh bool, err error) {
	a, err = t.find(c, wanted)
	if err != nil {
		return a, false, err
	}
	e := t.entries[a]
	if e != nil && e.key == c.key() && e.active(t.now()) {
		e.Port = cmp.Or(c.Port, e.Port)
		return a, e.state == offered, nil
	}
	t.put(a, c, offered, offerTime)
	return a, true, nil
}

// Bind gives a client the address that it asks for, if it may have it.
func (t *Table) Bind(c Client, a netip.Addr) error {
	if !t.mayHave(c, a) {
		t.end(a, c) // it is kept for another one since the file was changed
		return fmt.Errorf("%s: %w", a, ErrNotHis)
	}
	if !t.has(c, a) {
		if err := t.room(c); err != nil && !t.isStatic(c, a) {
			return err
		}
	}
	for old, e := range t.entries {
		if old != a && e.key == c.key() && e.state == bound {
			t.end(old, c) // it takes another one
		}
	}
	t.put(a, c, bound, t.Duration())
	t.changed = true
	return nil
}

// Holds tells whether a client has an address just now, or was offered it.
func (t *Table) Holds(c Client, a netip.Addr) bool {
	e := t.entries[a]
	return e != nil && e.key == c.key() && e.state != conflict && e.active(t.now())
}

// has is Holds at the client's own port: what moves to another one must find room there.
func (t *Table) has(c Client, a netip.Addr) bool { return t.Holds(c, a) && t.entries[a].Port == c.Port }

// Known tells whether there is an address that is this client's.
func (t *Table) Known(c Client) bool {
	a, ok := t.byKey[c.key()]
	return ok && t.Holds(c, a)
}

// Release ends a client's lease before its time. Only who is heard at the port that has
// it may.
func (t *Table) Release(c Client, a netip.Addr) bool {
	e := t.entries[a]
	if !t.Holds(c, a) || e.Port != "" && c.Port != "" && e.Port != c.Port {
		return false
	}
	if e.state == offered {
		delete(t.entries, a)
		return true
	}
	e.until = t.now()
	e.Until = e.until.Unix()
	t.changed = true
	return true
}

// Conflict notes that somebody else uses an address which was offered or given to c: it
// is left alone for a while, and counts as one that c's port has.
func (t *Table) Conflict(c Client, a netip.Addr) {
	t.put(a, c, conflict, conflictTime)
	delete(t.byKey, c.key())
	t.changed = true
}

// find chooses an address: the one kept for the client, the one that it has or had, the
// one that it wants, any.
func (t *Table) find(c Client, wanted netip.Addr) (netip.Addr, error) {
	if s, ok := t.static[c.MAC]; ok && s.Address.IsValid() {
		if e := t.entries[s.Address]; e != nil && e.state == conflict && e.active(t.now()) {
			return netip.Addr{}, fmt.Errorf("%s: %w", s.Address, ErrInUse)
		}
		return s.Address, nil
	}
	had := t.byKey[c.key()]
	if t.has(c, had) {
		return had, nil
	}
	if err := t.room(c); err != nil {
		return netip.Addr{}, err
	}
	if own := t.ownOldest(c.MAC); own.IsValid() {
		return own, nil
	}
	for _, a := range []netip.Addr{had, wanted} {
		if t.mayHave(c, a) {
			return a, nil
		}
	}
	return t.search(c)
}

// mayHave tells whether an address is one that a client may be given.
func (t *Table) mayHave(c Client, a netip.Addr) bool {
	if !a.IsValid() || a == t.config.Server.Addr() {
		return false
	}
	if mac, kept := t.kept[a]; kept {
		e := t.entries[a]
		return mac == c.MAC && (e == nil || e.state != conflict || !e.active(t.now()))
	}
	if s, ok := t.static[c.MAC]; ok && s.Address.IsValid() {
		return false // it has one of its own
	}
	if a.Less(t.config.First) || t.config.Last.Less(a) {
		return false
	}
	e := t.entries[a]
	return e == nil || !e.active(t.now()) || e.key == c.key() && e.state != conflict || e.MAC == c.MAC && e.state == bound
}

func (t *Table) isStatic(c Client, a netip.Addr) bool { return t.kept[a] == c.MAC && c.MAC != "" }

// room tells whether a client's port may have one more.
func (t *Table) room(c Client) error {
	n := 0
	for _, e := range t.entries {
		if e.Port == c.Port && e.active(t.now()) {
			n++
		}
	}
	if n >= t.config.PerPort {
		return fmt.Errorf("%s: %d: %w", cmp.Or(c.Port, "unknown port"), n, ErrPortFull)
	}
	return nil
}

// ownOldest is the address that a MAC address with too many takes again.
func (t *Table) ownOldest(mac model.MAC) netip.Addr {
	var own []*entry
	for _, e := range t.entries {
		if e.MAC == mac && e.active(t.now()) && e.state == bound && !e.Static {
			own = append(own, e)
		}
	}
	if len(own) < perMAC {
		return netip.Addr{}
	}
	return slices.MinFunc(own, func(x, y *entry) int {
		return cmp.Or(x.until.Compare(y.until), x.Address.Compare(y.Address))
	}).Address
}

// search looks for an address that nobody ever had, beginning where the MAC address
// points to, so that a client gets the same one even when the leases are lost; else for
// the one that ran out the longest ago.
func (t *Table) search(c Client) (netip.Addr, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.MAC))
	size := distance(t.config.First, t.config.Last) + 1
	start := add(t.config.First, h.Sum32()%size)
	var oldest *entry
	for a, n := start, uint32(0); n < size; n++ {
		if e := t.entries[a]; t.mayHave(c, a) {
			if e == nil {
				return a, nil
			}
			if oldest == nil || e.until.Before(oldest.until) {
				oldest = e
			}
		}
		if a = a.Next(); t.config.Last.Less(a) {
			a = t.config.First
		}
	}
	if oldest == nil {
		return netip.Addr{}, fmt.Errorf("%s to %s: %w", t.config.First, t.config.Last, ErrExhausted)
	}
	return oldest.Address, nil
}

func distance(first, last netip.Addr) uint32 { return number(last) - number(first) }

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func add(a netip.Addr, n uint32) netip.Addr {
	n += number(a)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// put makes an address a client's.
func (t *Table) put(a netip.Addr, c Client, s state, length time.Duration) {
	if was := t.entries[a]; was != nil && t.byKey[was.key] == a {
		delete(t.byKey, was.key)
	}
	e := &entry{key: c.key(), state: s, until: t.now().Add(length)}
	e.Lease = model.Lease{Address: a, MAC: c.MAC, ClientID: c.ID, Until: e.until.Unix(), Port: c.Port, Static: t.isStatic(c, a)}
	t.entries[a] = e
	if s == conflict {
		return
	}
	t.byKey[c.key()] = a
	e.Name = t.nameFor(c, a)
}

// end gives back what a client had before it took another address.
func (t *Table) end(old netip.Addr, c Client) {
	if e := t.entries[old]; e != nil && e.key == c.key() && e.state != conflict && e.active(t.now()) {
		e.until = t.now()
		e.Until = e.until.Unix()
	}
}

// nameFor is a client's name: the file's, or its own where nobody else has it.
func (t *Table) nameFor(c Client, a netip.Addr) string {
	if s, ok := t.static[c.MAC]; ok && s.Name != "" {
		return CleanName(s.Name)
	}
	name := CleanName(c.Name)
	if name == "" || t.names[name] {
		return ""
	}
	for _, e := range t.entries {
		if e.Name == name && e.Address != a && e.MAC != c.MAC && e.active(t.now()) {
			return ""
		}
	}
	return name
}

// CleanName is a host's name in lower case without its domain, "" where it is none (RFC
// 1123, 2.1): what comes from a client goes into others' answers.
func CleanName(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(s), ".")
	s = strings.ReplaceAll(s, "_", "-")
	if len(s) > 63 || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") {
		return ""
	}
	for _, r := range s {
		if r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return ""
		}
	}
	return s
}

// Leases lists those in force, by address.
func (t *Table) Leases() []model.Lease {
	var out []model.Lease
	for _, e := range t.entries {
		if e.state == bound && e.active(t.now()) {
			out = append(out, e.Lease)
		}
	}
	slices.SortFunc(out, func(a, b model.Lease) int { return a.Address.Compare(b.Address) })
	return out
}

// Records are what must not be forgotten: leases in force, and those that ran out not
// too long ago.
func (t *Table) Records() []model.Lease {
	var out []model.Lease
	for _, a := range slices.SortedFunc(maps.Keys(t.entries), netip.Addr.Compare) {
		e := t.entries[a]
		if e.state == bound && t.now().Before(e.until.Add(rememberTime)) {
			out = append(out, e.Lease)
		}
	}
	return out
}

// Restore takes up what was written down. What no longer is of the pool is left out; a
// client whose address is kept for another one now loses it.
func (t *Table) Restore(records []model.Lease) {
	for _, l := range records {
		c := Client{MAC: l.MAC, ID: l.ClientID, Name: l.Name, Port: l.Port}
		if !l.Address.Is4() || t.entries[l.Address] != nil || !t.mayHave(c, l.Address) {
			continue
		}
		t.put(l.Address, c, bound, l.Ends().Sub(t.now()))
		t.entries[l.Address].Until = l.Until
	}
}

// Changed tells whether the records have changed since it was last asked.
func (t *Table) Changed() bool {
	was := t.changed
	t.changed = false
	return was
}
