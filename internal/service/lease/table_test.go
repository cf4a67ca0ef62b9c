package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drawbridge/internal/model"
)

// clock is a time that a test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }
func addr(s string) netip.Addr        { return netip.MustParseAddr(s) }
func client(mac, id, port string) Client {
	return Client{MAC: model.MAC(mac), ID: id, Port: port}
}

var none netip.Addr

func pool() model.DHCP4Config {
	return model.DHCP4Config{Server: netip.MustParsePrefix("198.18.7.1/24"), First: addr("198.18.7.100"), Last: addr("198.18.7.103"), LeaseSeconds: 600, PerPort: 3,
		Static: []model.StaticLease{{MAC: "02:00:00:00:00:09", Name: "web", Address: addr("198.18.7.9")}, {MAC: "02:00:00:00:00:0a", Name: "db"}}}
}

func newTable(c model.DHCP4Config) (*Table, *clock) {
	t := &clock{time.Unix(1_000_000, 0)}
	return NewTable(c, []string{"gateway"}, t.now), t
}

// take goes the whole way of a client without a wish.
func take(t *testing.T, table *Table, c Client) netip.Addr {
	t.Helper()
	a, _, err := table.Offer(c, none)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	if err := table.Bind(c, a); err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	return a
}

func mac(n int) string { return fmt.Sprintf("02:00:00:00:01:%02x", n) }

// A client gets the same address again: while it has it, after its lease has run out, and
// after the file was lost.
func TestTheSameAddressAgain(t *testing.T) {
	table, now := newTable(pool())
	c := client(mac(1), "", "tap1")
	a := take(t, table, c)
	if _, fresh, err := table.Offer(c, none); fresh || err != nil {
		t.Errorf("fresh %v, %v", fresh, err)
	}
	now.pass(time.Hour)
	if len(table.Leases()) != 0 {
		t.Error("a lease outlives its time")
	}
	if b, fresh, err := table.Offer(c, none); b != a || !fresh || err != nil {
		t.Errorf("%s (fresh %v), not %s: %v", b, fresh, a, err)
	}
	again, _ := newTable(pool())
	if b := take(t, again, c); b != a {
		t.Errorf("without the file it gets %s, not %s", b, a)
	}
}

// One port, whatever it claims to be, gets so many addresses and no more: offered, given
// and declined ones. Another port still gets some.
func TestOnePortDoesNotTakeThePool(t *testing.T) {
	table, now := newTable(pool())
	take(t, table, client(mac(1), "", "tap1"))
	offered, _, err := table.Offer(client(mac(2), "", "tap1"), none)
	if err != nil {
		t.Fatal(err)
	}
	declined, _, err := table.Offer(client(mac(3), "", "tap1"), none)
	if err != nil {
		t.Fatal(err)
	}
	table.Conflict(client(mac(3), "", "tap1"), declined)
	if a, _, err := table.Offer(client(mac(4), "", "tap1"), none); !errors.Is(err, ErrPortFull) {
		t.Errorf("the fourth gets %s, %v", a, err)
	}
	if err := table.Bind(client(mac(5), "", "tap1"), addr("198.18.7.100")); err == nil {
		t.Error("it is bound without an offer")
	}
	other := take(t, table, client(mac(6), "", "tap2"))
	if other == offered || other == declined {
		t.Errorf("the other port gets %s", other)
	}
	now.pass(offerTime)
	if _, _, err := table.Offer(client(mac(4), "", "tap1"), none); err != nil {
		t.Errorf("the offer is over, and there is no room: %v", err)
	}
}

// One MAC address under many client identifiers takes its own oldest.
func TestOneMACUnderManyNames(t *testing.T) {
	c := pool()
	c.PerPort, c.Last = 100, addr("198.18.7.150")
	table, now := newTable(c)
	seen := map[netip.Addr]int{}
	for i := range 20 {
		now.pass(time.Second)
		seen[take(t, table, client(mac(1), fmt.Sprintf("%02x", i), "tap1"))]++
	}
	if len(seen) != perMAC {
		t.Errorf("it had %d addresses: %v", len(seen), seen)
	}
}

func TestPoolUsedUp(t *testing.T) {
	table, now := newTable(pool())
	var had []netip.Addr
	for i := range 4 {
		had = append(had, take(t, table, client(mac(i), "", fmt.Sprint("tap", i))))
		now.pass(time.Minute)
	}
	if _, _, err := table.Offer(client(mac(9), "", "tap9"), none); !errors.Is(err, ErrExhausted) {
		t.Errorf("%v", err)
	}
	now.pass(8 * time.Minute) // the first two have run out
	if a := take(t, table, client(mac(9), "", "tap9")); a != had[0] {
		t.Errorf("it gets %s, not the one that ran out the longest ago, %s", a, had[0])
	}
}

// An address of the file's is its machine's alone, also against who has it from before.
func TestStatic(t *testing.T) {
	table, _ := newTable(pool())
	if a := take(t, table, client("02:00:00:00:00:09", "ff01", "tap0")); a != addr("198.18.7.9") {
		t.Errorf("web gets %s", a)
	}
	thief := client(mac(1), "", "tap1")
	if err := table.Bind(thief, addr("198.18.7.9")); !errors.Is(err, ErrNotHis) {
		t.Errorf("%v", err)
	}
	if a, _, _ := table.Offer(thief, addr("198.18.7.9")); a == addr("198.18.7.9") {
		t.Error("it is offered to somebody else")
	}
	if err := table.Bind(client("02:00:00:00:00:09", "", "tap0"), addr("198.18.7.101")); !errors.Is(err, ErrNotHis) {
		t.Errorf("web gets another one: %v", err)
	}
	table.Conflict(client("02:00:00:00:00:09", "ff01", "tap0"), addr("198.18.7.9"))
	if _, _, err := table.Offer(client("02:00:00:00:00:09", "ff01", "tap0"), none); !errors.Is(err, ErrInUse) {
		t.Errorf("somebody else uses it: %v", err)
	}

	had, _ := newTable(pool())
	squatter := client(mac(2), "", "tap2")
	a := take(t, had, squatter)
	c := pool()
	c.Static = append(c.Static, model.StaticLease{MAC: "02:00:00:00:00:0b", Name: "mail", Address: a})
	changed, _ := newTable(c)
	changed.Restore(had.Records())
	if err := changed.Bind(squatter, a); !errors.Is(err, ErrNotHis) {
		t.Errorf("who had it keeps it: %v", err)
	}
}

// A name is the file's machine's, else whose it was first.
func TestNames(t *testing.T) {
	c := pool()
	c.Last = addr("198.18.7.120")
	table, _ := newTable(c)
	for i, x := range []struct{ mac, says, gets string }{
		{"02:00:00:00:00:09", "localhost", "web"},
		{"02:00:00:00:00:0a", "", "db"},
		{mac(1), "Alice.lan", "alice"},
		{mac(2), "alice", ""},
		{mac(3), "web", ""},
		{mac(4), "gateway", ""},
		{mac(5), "bad name", ""},
		{mac(6), "-x", ""},
		{mac(7), "under_score", "under-score"},
	} {
		cl := client(x.mac, "", fmt.Sprint("tap", i))
		cl.Name = x.says
		a := take(t, table, cl)
		l := table.entries[a].Lease
		if l.Name != x.gets {
			t.Errorf("%s says %q, and is %q", x.mac, x.says, l.Name)
		}
	}
}

// Only who has it, at his port, gives an address back.
func TestRelease(t *testing.T) {
	table, _ := newTable(pool())
	c := client(mac(1), "", "tap1")
	a := take(t, table, c)
	if table.Release(client(mac(2), "", "tap1"), a) || table.Release(client(mac(1), "", "tap2"), a) {
		t.Error("somebody else gave it back")
	}
	if !table.Release(c, a) || len(table.Leases()) != 0 {
		t.Errorf("%+v", table.Leases())
	}
	if len(table.Records()) != 1 {
		t.Error("it is forgotten whose it was")
	}
}

// Whatever clients do: no address is two clients', none is outside the pool but a static
// one, no port has more than it may; and the file brings everything back.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, now := newTable(pool())
		holds := map[netip.Addr]string{} // by our own count
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			c := client(rapid.SampledFrom([]string{mac(1), mac(2), mac(3), "02:00:00:00:00:09"}).Draw(t, "mac"), rapid.SampledFrom([]string{"", "01", "02"}).Draw(t, "id"),
				rapid.SampledFrom([]string{"tap1", "tap2"}).Draw(t, "port"))
			a := rapid.SampledFrom([]netip.Addr{none, addr("198.18.7.1"), addr("198.18.7.9"), addr("198.18.7.100"), addr("198.18.7.101"), addr("198.18.7.200")}).Draw(t, "wish")
			switch rapid.IntRange(0, 5).Draw(t, "does") {
			case 0, 1:
				if got, _, err := table.Offer(c, a); err == nil {
					a = got
					if table.Bind(c, a) == nil {
						holds[a] = c.key()
					}
				}
			case 2:
				if table.Bind(c, a) == nil {
					holds[a] = c.key()
				}
			case 3:
				table.Release(c, a)
			case 4:
				if table.Holds(c, a) {
					table.Conflict(c, a)
				}
			case 5:
				now.pass(time.Duration(rapid.IntRange(1, 700).Draw(t, "seconds")) * time.Second)
			}
			leases := table.Leases()
			ports := map[string]int{}
			for _, l := range leases {
				ports[l.Port]++
				inside := !l.Address.Less(pool().First) && !pool().Last.Less(l.Address)
				if !inside && !(l.Address == addr("198.18.7.9") && l.MAC == "02:00:00:00:00:09") {
					t.Fatalf("%+v", l)
				}
				if e := table.entries[l.Address]; e.key != holds[l.Address] {
					t.Fatalf("%s is %s's, and was given to %s", l.Address, e.key, holds[l.Address])
				}
			}
			for port, n := range ports {
				if n > pool().PerPort+1 { // a static one is given always
					t.Fatalf("%s has %d: %+v", port, n, leases)
				}
			}
		}
		back, _ := newTable(pool())
		back.now = now.now
		back.Restore(table.Records())
		if a, b := table.Leases(), back.Leases(); !slices.Equal(a, b) {
			t.Fatalf("restored\n%+v\nhad\n%+v", b, a)
		}
	})
}

func root(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

// The file is whole at any time: a write that does not come to its end leaves the old one.
func TestFile(t *testing.T) {
	r, dir := root(t)
	if l, err := Load(r); l != nil || err != nil {
		t.Errorf("no file: %v %v", l, err)
	}
	one := []model.Lease{{Address: addr("198.18.7.100"), MAC: "02:00:00:00:00:01", Name: "alice", Until: 1_000_600, Port: "tap1"}}
	if err := Save(r, one); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, newName), 0o700); err != nil { // in the way of the next write
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, newName, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(r, nil); err == nil {
		t.Error("it is said to be written")
	}
	if got, err := Load(r); err != nil || !slices.Equal(got, one) {
		t.Errorf("%+v %v", got, err)
	}
}

// A damaged file is put aside, and said so.
func TestDamagedFile(t *testing.T) {
	for _, text := range []string{"", "{", `{"version": 9, "leases": []}`, `{"version": 1, "leases": [{"address": "x"}]}`} {
		r, dir := root(t)
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Load(r); err == nil || l != nil {
			t.Errorf("%q: %v %v", text, l, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, damagedName)); err != nil || string(b) != text {
			t.Errorf("%q is not put aside: %v", text, err)
		}
		if _, err := Load(r); err != nil {
			t.Errorf("the second time: %v", err)
		}
	}
}
