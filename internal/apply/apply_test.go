package apply

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/spec"
)

func pageHost() model.Snapshot {
	s := model.Snapshot{Host: "host", Namespaces: []model.Namespace{{
		Links: []model.Link{
			{Name: "lo", Index: 1, Kind: model.Loopback, Up: true, MTU: 65536},
			{Name: "eth0", Index: 2, Kind: model.Physical, MAC: "02:11:22:33:44:55", MTU: 1500, Up: true, Carrier: true},
		},
		Addresses: []model.Address{
			{Link: "eth0", Prefix: netip.MustParsePrefix("198.18.0.5/24"), Origin: model.Static, Scope: "global"},
			{Link: "eth0", Prefix: netip.MustParsePrefix("2001:db8::5/64"), Origin: model.Static, Scope: "global"},
		},
		Routes: []model.Route{
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("198.18.0.0/24"), Protocol: "kernel", Scope: "link", Source: netip.MustParseAddr("198.18.0.5"), NextHops: []model.NextHop{{Link: "eth0"}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"), Protocol: "static", Scope: "global", NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1")}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("2001:db8::/64"), Protocol: "kernel", Scope: "global", Metric: 256, NextHops: []model.NextHop{{Link: "eth0"}}},
		},
		Settings: map[string]string{"ipv4/conf/all/rp_filter": "1", "ipv4/conf/eth0/rp_filter": "1", "ipv4/conf/default/rp_filter": "1", "ipv6/conf/all/disable_ipv6": "0"},
	}}}
	s.Settle()
	return s
}

func bridged() spec.Desired {
	return spec.Desired{
		Networks: []spec.Network{{Name: "lan", Mode: "bridged", Bridge: "br0", Uplink: "auto", Host: spec.HostAddressing{Mode: "move"}}},
		Machines: []spec.Machine{{Name: "web", VMM: "uml", NICs: []spec.NIC{{Name: "eth1", Network: "lan", Tap: "tap0", DHCP: true, Cabled: true,
			Security: spec.Security{Level: model.SecurityStrict, Isolated: true}}}}},
	}
}

// site is a host in memory with a store of its own.
func site(t *testing.T) (*memory, *Transaction) {
	t.Helper()
	m := newMemory()
	store := &Store{Dir: t.TempDir(), Identity: Identity{BootID: "boot", Namespace: 7}}
	return m, &Transaction{Kernel: m, Machines: m.machines(), Store: store, Clock: m.clock, settle: time.Microsecond}
}

func planFor(t *testing.T, m *memory, store *Store, want spec.Desired) plan.Plan {
	t.Helper()
	p, err := planOf(m, store, want)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func planOf(m *memory, store *Store, want spec.Desired) (plan.Plan, error) {
	owned, err := store.Owned()
	if err != nil {
		return plan.Plan{}, err
	}
	return plan.Diff(m.Snapshot(), want, owned, plan.Options{Seed: "seed"})
}

func interrupted(t *testing.T, s *Store) bool {
	t.Helper()
	is, err := s.Interrupted()
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func same(a, b model.Snapshot) bool {
	clean := func(s model.Snapshot) model.Snapshot {
		s = s.Clone()
		for i := range s.Here().Links {
			s.Here().Links[i].Index = 0
		}
		if len(s.Machines) == 0 {
			s.Machines = nil
		}
		s.Settle()
		return s
	}
	return clean(a).Equal(clean(b))
}

func TestUpCommitsAndDownBringsBack(t *testing.T) {
	m, tx := site(t)
	before := m.Snapshot()
	p := planFor(t, m, tx.Store, bridged())
	if err := tx.Run(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if interrupted(t, tx.Store) {
		t.Error("the journal is still open after a commit")
	}
	owned, err := tx.Store.Owned()
	if err != nil || len(owned.Links) != 2 || owned.Links[0].Index == 0 {
		t.Errorf("owned: %+v %v", owned, err)
	}
	if again := planFor(t, m, tx.Store, bridged()); len(again.Steps) != 0 {
		t.Errorf("a second up has steps: %v", again.Steps)
	}
	if err := tx.Run(context.Background(), planFor(t, m, tx.Store, spec.Desired{})); err != nil {
		t.Fatal(err)
	}
	if !same(before, m.Snapshot()) {
		t.Errorf("down left another host:\n%+v\n%+v", before, m.Snapshot())
	}
	if _, err := os.Stat(tx.Store.ownedPath()); !os.IsNotExist(err) {
		t.Error("something is still owned after down")
	}
}

// Every single operation of up and of down fails in turn, before it is done and after:
// the host ends as it was, and the error says so.
func TestEveryFaultRollsBack(t *testing.T) {
	for _, way := range []string{"up", "down"} {
		for _, after := range []bool{false, true} {
			for n := 0; ; n++ {
				m, tx := site(t)
				if way == "down" {
					if err := tx.Run(context.Background(), planFor(t, m, tx.Store, bridged())); err != nil {
						t.Fatal(err)
					}
				}
				want := bridged()
				if way == "down" {
					want = spec.Desired{}
				}
				before, first, fired := m.Snapshot(), m.Done(), false
				ownedBefore, _ := tx.Store.Owned()
				m.fault = func(i int, isAfter bool, _ model.Operation) error {
					if i == first+n && isAfter == after {
						fired = true
						return errFault
					}
					return nil
				}
				err := tx.Run(context.Background(), planFor(t, m, tx.Store, want))
				if !fired {
					if err != nil || n == 0 {
						t.Fatalf("%s without a fault: %v", way, err)
					}
					break
				}
				name := fmt.Sprintf("%s, operation %d, after=%v", way, n, after)
				var f *Failure
				if !errors.As(err, &f) || !errors.Is(err, errFault) || !f.Changed || len(f.Left) != 0 {
					t.Fatalf("%s: %v", name, err)
				}
				if !same(before, m.Snapshot()) {
					t.Fatalf("%s: not rolled back:\n%+v\n%+v", name, before, m.Snapshot())
				}
				owned, _ := tx.Store.Owned()
				if len(owned.Links) != len(ownedBefore.Links) || interrupted(t, tx.Store) {
					t.Fatalf("%s: ownership or journal left over: %+v", name, owned)
				}
			}
		}
	}
}

func TestInterruptRollsBack(t *testing.T) {
	m, tx := site(t)
	before := m.Snapshot()
	ctx, cancel := context.WithCancel(context.Background())
	tx.Progress = func(step, _ int, _ string) {
		if step == 5 {
			cancel()
		}
	}
	err := tx.Run(ctx, planFor(t, m, tx.Store, bridged()))
	if err == nil || !strings.Contains(err.Error(), "rolled back") || !same(before, m.Snapshot()) {
		t.Errorf("%v", err)
	}
}

// A crash at any point leaves a journal; recover brings the host back.
func TestRecoverAfterACrashAtEveryStep(t *testing.T) {
	m, tx := site(t)
	steps := len(planFor(t, m, tx.Store, bridged()).Steps)
	for crash := range steps + 1 {
		m, tx := site(t)
		before := m.Snapshot()
		p := planFor(t, m, tx.Store, bridged())
		func() {
			defer func() { _ = recover() }()
			m.fault = func(n int, after bool, _ model.Operation) error {
				if n == crash && after {
					panic("crash")
				}
				return nil
			}
			if crash == steps { // after the last step, before the commit
				tx.Kernel = crashOnObserve{m}
			}
			_ = tx.Run(context.Background(), p)
		}()
		m.fault, tx.Kernel = nil, m
		if !interrupted(t, tx.Store) {
			t.Fatalf("crash %d left no open journal", crash)
		}
		undone, err := tx.Recover()
		if err != nil || len(undone) == 0 || !same(before, m.Snapshot()) || interrupted(t, tx.Store) {
			t.Fatalf("crash %d: %v %v\n%+v", crash, undone, err, m.Snapshot())
		}
	}
}

type crashOnObserve struct{ *memory }

func (crashOnObserve) Observe(context.Context) (model.Namespace, error) { panic("crash") }

func TestAStrangersLinkIsNeverDeleted(t *testing.T) {
	m, tx := site(t)
	meddled := false
	m.fault = func(_ int, after bool, op model.Operation) error {
		if _, ok := op.(model.SetUp); ok && !after && !meddled {
			meddled = true
			// somebody deletes our tap and makes one of his own of that name
			m.Meddle(model.DeleteLink{Name: "tap0"}, model.CreateTap{Name: "spare"}, model.CreateTap{Name: "tap0"})
			return errFault
		}
		return nil
	}
	err := tx.Run(context.Background(), planFor(t, m, tx.Store, bridged()))
	var f *Failure
	if !errors.As(err, &f) || len(f.Left) == 0 {
		t.Fatalf("what is left is to be told: %v", err)
	}
	if !errors.Is(errors.Join(f.Left...), model.ErrNotOurs) || m.link("tap0") == nil {
		t.Errorf("left: %v", f.Left)
	}
}

func TestFullDiskUnderTheJournalChangesNothing(t *testing.T) {
	m, tx := site(t)
	before := m.Snapshot()
	p := planFor(t, m, tx.Store, bridged())
	tx.Store.Dir = filepath.Join(tx.Store.Dir, "missing")
	err := tx.Run(context.Background(), p)
	var f *Failure
	if !errors.As(err, &f) || f.Changed || !same(before, m.Snapshot()) {
		t.Errorf("%v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	_, tx := site(t)
	if err := tx.Store.Lock(); err != nil {
		t.Fatal(err)
	}
	defer tx.Store.Unlock()
	other := *tx.Store
	if err := other.Lock(); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a second lock: %v", err)
	}
}

// deadGuard dies as soon as the transaction has begun.
type deadGuard struct{ died chan struct{} }

func (g deadGuard) Died() <-chan struct{}        { return g.died }
func (g deadGuard) HandOver(time.Duration) error { return nil }
func (g deadGuard) Release()                     {}

func TestADeadGuardStopsTheChange(t *testing.T) {
	m, tx := site(t)
	before := m.Snapshot()
	g := deadGuard{make(chan struct{})}
	tx.StartGuard = func() (Guard, error) { return g, nil }
	tx.Progress = func(step, _ int, _ string) {
		if step == 4 {
			close(g.died)
		}
	}
	err := tx.Run(context.Background(), planFor(t, m, tx.Store, bridged()))
	if err == nil || !strings.Contains(err.Error(), "guard") || !same(before, m.Snapshot()) {
		t.Errorf("%v", err)
	}
}
