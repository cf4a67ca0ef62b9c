package apply

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
	"drawbridge/internal/verify"

	"pgregory.net/rapid"
)

// disturbances are what may happen in the middle of a change, at one operation.
var disturbances = map[string]func(m *memory, s *Store) error{
	"kernel error": func(*memory, *Store) error { return errFault },
	"the uplink vanishes": func(m *memory, _ *Store) error {
		_ = m.snap.Apply(model.DeleteLink{Name: "eth0"})
		return nil
	},
	"somebody adds an address to the bridge": func(m *memory, _ *Store) error {
		_ = m.snap.Apply(model.AddAddresses{Link: "br0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.0.99/24"), Origin: model.Static, Scope: "global"}}})
		return nil
	},
	"somebody takes the uplink out again": func(m *memory, _ *Store) error {
		_ = m.snap.Apply(model.SetMaster{Link: "eth0"})
		return nil
	},
	"somebody deletes the tap": func(m *memory, _ *Store) error {
		if l := m.snap.Here().Link("tap0"); l != nil && l.MAC != strangersMAC {
			_ = m.snap.Apply(model.DeleteLink{Name: "tap0"})
		}
		return nil
	},
	"somebody makes the tap anew": func(m *memory, _ *Store) error {
		_ = m.snap.Apply(model.DeleteLink{Name: "tap0"})
		_ = m.snap.Apply(model.CreateTap{Name: "spare"}) // so that it gets another index
		_ = m.snap.Apply(model.CreateTap{Name: "tap0", MAC: strangersMAC})
		return nil
	},
	"the disk under the journal is full": func(_ *memory, s *Store) error {
		return os.RemoveAll(s.Dir) // what cannot be written to fails in the same way
	},
}

const strangersMAC = "02:ff:ff:ff:ff:ff"

// Ups and downs in a row, each disturbed at some operation or not. Whatever happens: a
// change that says it is done is done, one that says it was rolled back was, all that is
// neither is told, and what is a stranger's is never deleted.
func TestDisturbedChangesSayWhatTheyAre(t *testing.T) {
	names := make([]string, 0, len(disturbances))
	for name := range disturbances {
		names = append(names, name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := &memory{snap: pageHost()}
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		store := &Store{Dir: dir, Identity: Identity{BootID: "boot", Namespace: 7}}
		tx := &Transaction{Kernel: m, Machines: memoryMachines{m}, Store: store, settle: time.Microsecond}
		for step := range rapid.IntRange(1, 3).Draw(rt, "changes") {
			want := spec.Desired{}
			if rapid.Bool().Draw(rt, "up") {
				want = bridged()
			}
			p, err := planOf(m, store, want)
			if err != nil {
				return // this host is no longer ready for it: refused before anything is touched
			}
			name := rapid.SampledFrom(append(names, "nothing")).Draw(rt, "disturbance")
			at, after := m.n+rapid.IntRange(0, len(p.Steps)).Draw(rt, "at"), rapid.Bool().Draw(rt, "after")
			m.fault = func(n int, isAfter bool, _ model.Operation) error {
				if n != at || isAfter != after || disturbances[name] == nil {
					return nil
				}
				return disturbances[name](m, store)
			}
			before := m.snap.Clone()
			err = tx.Run(context.Background(), p)
			m.fault = nil
			what := fmt.Sprintf("change %d, %s at operation %d", step, name, at)
			ops := make([]model.Operation, 0, len(p.Steps))
			for _, st := range p.Steps {
				ops = append(ops, st.Do)
			}
			judge(rt, what, err, verdict{before: before, now: m.snap, objects: verify.ObjectsOf(ops), wanted: p.After})
			if l := m.snap.Here().Link("tap0"); m.snap.Here().Link("spare") != nil && (l == nil || l.MAC != strangersMAC) {
				rt.Fatalf("%s: the stranger's tap0 is gone", what)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

type verdict struct {
	before, now model.Snapshot
	objects     verify.Objects
	wanted      func() (model.Snapshot, error)
}

// judge holds what a change says of itself against the host.
func judge(t *rapid.T, what string, err error, v verdict) {
	var f *Failure
	switch {
	case err == nil:
		want, err := v.wanted()
		if err != nil {
			t.Fatal(err)
		}
		if found := verify.Check(want, v.now, v.objects); len(found) > 0 {
			t.Fatalf("%s: it says done, but %v", what, found)
		}
	case !errors.As(err, &f):
		t.Fatalf("%s: an error of no kind: %v", what, err)
	case len(f.Left) == 0:
		found := slices.DeleteFunc(verify.Check(v.before, v.now, v.objects), func(mm verify.Mismatch) bool {
			l := v.now.Here().Link(mm.Object)
			return l != nil && l.MAC == strangersMAC // his, and none of our business
		})
		if len(found) > 0 {
			t.Fatalf("%s: it says rolled back (%v), but %v", what, err, found)
		}
	}
}
