package apply

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
	"drawbridge/internal/verify"

	"pgregory.net/rapid"
)

// The fault walk: a change on a host in memory, struck at one operation of the kernel's or
// at one write of the journal's by everything that may happen then. Whatever it is: the host
// ends as it was or as it was wanted, and the one that survives says which. What somebody
// else has done meanwhile is left alone, and told where it is in the way.

// blow is something that happens in the middle of a change.
type blow struct {
	// meddle changes the host, as somebody else would; what it touched may then differ from
	// both.
	meddle func(s *scene)
	// error: the kernel refuses.
	error bool
	// fullDisk: from now on nothing more can be written.
	fullDisk bool
	// up and guard are killed. (SIGHUP kills up; the guard does not hear it.)
	up, guard bool
}

var blows = map[string]blow{
	"kernel error":                                             {error: true},
	"kill -9 of up":                                            {up: true},
	"kill -9 of the guard":                                     {guard: true},
	"kill -9 of both":                                          {up: true, guard: true},
	"SIGHUP":                                                   {up: true},
	"the disk under the journal is full":                       {fullDisk: true},
	"a full disk, and a kernel error":                          {fullDisk: true, error: true},
	"a full disk, and kill -9 of both":                         {fullDisk: true, up: true, guard: true},
	"the uplink vanishes":                                      {meddle: meddling(model.DeleteLink{Name: "eth0"})},
	"the uplink vanishes, and up as well":                      {up: true, meddle: meddling(model.DeleteLink{Name: "eth0"})},
	"the uplink is taken down":                                 {meddle: meddling(model.SetUp{Link: "eth0"})},
	"somebody takes the uplink out again":                      {meddle: meddling(model.SetMaster{Link: "eth0"})},
	"somebody adds an address":                                 {meddle: meddling(model.AddAddresses{Link: "br0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.0.99/24"), Origin: model.Static, Scope: "global"}}})},
	"somebody deletes an address":                              {meddle: meddling(model.DeleteAddresses{Link: "br0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.0.5/24")}}})},
	"somebody deletes the tap":                                 {meddle: deleteOurs("tap0")},
	"somebody deletes the bridge":                              {meddle: deleteOurs("br0")},
	"somebody makes the tap anew":                              {meddle: makeAnew("tap0")},
	"somebody makes the tap anew, and up and guard are killed": {up: true, guard: true, meddle: makeAnew("tap0")},
	"somebody makes the bridge anew":                           {meddle: makeAnew("br0")},
}

func meddling(op model.Operation) func(*scene) {
	return func(s *scene) { s.m.Meddle(op) } // what is not there yet is not meddled with
}

const strangersMAC = "02:ff:ff:ff:ff:ff"

func deleteOurs(name string) func(*scene) {
	return func(s *scene) {
		if l := s.m.link(name); l != nil && !s.strangers[l.Index] {
			s.m.Meddle(model.DeleteLink{Name: name})
		}
	}
}

// makeAnew puts a link of a stranger's in the place of one of that name, or before it.
func makeAnew(name string) func(*scene) {
	return func(s *scene) {
		deleteOurs(name)(s)
		s.m.Meddle(model.CreateTap{Name: fmt.Sprint("spare", s.m.Done())}) // so that it gets another index
		if name == "br0" {
			s.m.Meddle(model.CreateBridge{Name: name, MAC: strangersMAC})
		} else {
			s.m.Meddle(model.CreateTap{Name: name, MAC: strangersMAC})
		}
		for _, l := range s.m.here().Links {
			if l.MAC == strangersMAC {
				s.strangers[l.Index] = true
			}
		}
	}
}

// killed is the panic of an up that was killed.
type killed struct{}

// scene is one host with one change under way.
type scene struct {
	m     *memory
	store *Store
	// written is how many writes the journal has had, full whether the disk is.
	written int
	full    bool
	// onWrite is told of each write before and after; torn is then half-written.
	onWrite func(n int, after bool) (torn bool)
	guard   *mortalGuard
	// strangers are the indexes of the links that somebody else has made.
	strangers map[int]bool
}

type mortalGuard struct {
	died  chan struct{}
	alive bool
}

func (g *mortalGuard) Died() <-chan struct{}        { return g.died }
func (g *mortalGuard) HandOver(time.Duration) error { return nil }
func (g *mortalGuard) Release()                     { g.alive = false }

func (g *mortalGuard) kill() {
	if g.alive {
		g.alive = false
		close(g.died)
	}
}

// disk is a file on a disk that may be full, and whose writer may be killed in the middle.
type disk struct {
	file
	s *scene
}

func (d disk) Sync() error { return nil } // nobody pulls the plug here

func (d disk) Write(b []byte) (int, error) {
	n := d.s.written
	d.s.written++
	torn := d.s.onWrite != nil && d.s.onWrite(n, false)
	if d.s.full || torn {
		k, err := d.file.Write(b[:len(b)/2])
		if torn {
			panic(killed{})
		}
		return k, errors.Join(err, syscall.ENOSPC)
	}
	k, err := d.file.Write(b)
	if d.s.onWrite != nil {
		d.s.onWrite(n, true)
	}
	return k, err
}

func newScene(t testing.TB) *scene {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{m: newMemory(), strangers: map[int]bool{}}
	s.store = &Store{Dir: dir, Identity: Identity{BootID: "boot", Namespace: 7}, disk: func(f file) file { return disk{f, s} }}
	return s
}

// process is a new drawbridge on this host: up, the guard, or a later command.
func (s *scene) process() *Transaction {
	return &Transaction{Kernel: s.m, Machines: s.m.machines(), Store: s.store, settle: time.Microsecond}
}

// strike lets a blow fall; the error is the kernel's.
func (s *scene) strike(b blow) error {
	if b.meddle != nil {
		b.meddle(s)
	}
	if b.fullDisk {
		s.full = true
	}
	if b.guard {
		s.guard.kill()
	}
	if b.up {
		panic(killed{})
	}
	if b.error {
		return errFault
	}
	return nil
}

// change goes the way to want, survives what happens, and is brought to its end: by up
// itself, by its guard, or by the next command. died: up has said nothing.
func (s *scene) change(t rapid.TB, want spec.Desired) (p verdict, died bool, err error) {
	pl, err := planOf(s.m, s.store, want)
	if err != nil {
		return verdict{}, false, fmt.Errorf("%w: %w", errNotReady, err)
	}
	ops := make([]model.Operation, 0, len(pl.Steps))
	for _, st := range pl.Steps {
		ops = append(ops, st.Do)
	}
	v := verdict{before: s.m.Snapshot(), objects: verify.ObjectsOf(ops), wanted: pl.After}
	up := s.process()
	s.guard = &mortalGuard{died: make(chan struct{}), alive: true}
	up.StartGuard = func() (Guard, error) { return s.guard, nil }
	func() {
		defer func() {
			if r := recover(); r != nil {
				if _, died = r.(killed); !died {
					panic(r)
				}
			}
		}()
		err = up.Run(context.Background(), pl)
	}()
	s.m.fault, s.onWrite = nil, nil
	if died {
		if s.guard.alive { // it hears the wire's end
			err = s.process().Watch(context.Background(), &emptyWire{})
		} else {
			s.full = false // somebody has made room by then
			_, err = s.process().Recover()
		}
	}
	s.full = false
	var f *Failure
	if errors.As(err, &f) && len(f.Left) > 0 {
		_, _ = s.process().Recover() // there is room again: it may come to its end now
	}
	v.now = s.m.Snapshot()
	return v, died, err
}

var errNotReady = errors.New("this host is not ready")

type emptyWire struct{ strings.Reader }

func (*emptyWire) Write(b []byte) (int, error) { return len(b), nil }

type verdict struct {
	before, now model.Snapshot
	objects     verify.Objects
	wanted      func() (model.Snapshot, error)
}

func (v verdict) isBefore() bool { return same(v.before, v.now) }

func (v verdict) isWanted(t rapid.TB) bool {
	want, err := v.wanted()
	if err != nil {
		t.Fatal(err)
	}
	return len(verify.Check(want, v.now, v.objects)) == 0
}

// judge holds what is said of a change against the host.
func (v verdict) judge(t rapid.TB, what string, b blow, died bool, err error) {
	t.Helper()
	var f *Failure
	switch {
	case errors.Is(err, errNotReady):
		return // refused before anything is touched
	case err != nil && !errors.As(err, &f):
		t.Fatalf("%s: an error of no kind: %v", what, err)
	case b.meddle == nil && !v.isBefore() && !v.isWanted(t):
		t.Fatalf("%s: the host ended between (%v)", what, err)
	case b.meddle == nil && f != nil && len(f.Left) > 0 && !b.fullDisk:
		t.Fatalf("%s: nobody has meddled, and it says that something is left: %v", what, err)
	case err == nil && !died && !v.isWanted(t):
		t.Fatalf("%s: it says done, and is not", what)
	case err != nil && len(f.Left) == 0, err == nil && died && !v.isWanted(t):
		found := slices.DeleteFunc(verify.Check(v.before, v.now, v.objects), func(mm verify.Mismatch) bool {
			l := v.now.Here().Link(mm.Object)
			return l != nil && l.MAC == strangersMAC // his, and none of our business
		})
		if len(found) > 0 {
			t.Fatalf("%s: it says rolled back (%v), but %v", what, err, found)
		}
		if err != nil && !f.Changed && !v.isBefore() && b.meddle == nil {
			t.Fatalf("%s: it says that nothing was changed", what)
		}
	}
}

// requireStrangers: what is a stranger's is never deleted.
func (s *scene) requireStrangers(t rapid.TB, what string) {
	t.Helper()
	for index := range s.strangers {
		if !slices.ContainsFunc(s.m.here().Links, func(l model.Link) bool { return l.Index == index }) {
			t.Fatalf("%s: what the stranger made is gone", what)
		}
	}
}

// requireKnown: what is ours is known to be, whatever has happened: `down` takes it away.
func (s *scene) requireKnown(t rapid.TB, what string) {
	t.Helper()
	if _, _, err := s.change(t, spec.Desired{}); err != nil {
		t.Fatalf("%s: down afterwards: %v", what, err)
	}
	if !same(pageHost(), s.m.Snapshot()) {
		t.Fatalf("%s: down afterwards leaves something", what)
	}
}

// The matrix: every operation and every write of up and of down, before and after, with
// each blow.
func TestFaultMatrixInMemory(t *testing.T) {
	cases := 0
	for _, way := range []struct {
		name string
		want spec.Desired
	}{{"up", bridged()}, {"down", spec.Desired{}}} {
		for name, b := range blows {
			for _, after := range []bool{false, true} {
				for at := 0; ; at++ {
					s := newScene(t)
					if way.name == "down" {
						if _, _, err := s.change(t, bridged()); err != nil {
							t.Fatal(err)
						}
					}
					first, struck := s.m.Done(), false
					s.m.fault = func(n int, isAfter bool, _ model.Operation) error {
						if n != first+at || isAfter != after {
							return nil
						}
						struck = true
						return s.strike(b)
					}
					v, died, err := s.change(t, way.want)
					if !struck {
						break
					}
					cases++
					what := fmt.Sprintf("%s: %s at operation %d, after=%v", way.name, name, at, after)
					v.judge(t, what, b, died, err)
					s.requireStrangers(t, what)
					if b.meddle == nil {
						s.requireKnown(t, what)
					}
				}
			}
		}
	}
	t.Logf("%d faults at operations, none ended between", cases)
	if cases < 900 {
		t.Errorf("only %d cases", cases)
	}
}

// Likewise each write of the journal and of the note of what is owned: before it, in the
// middle of it, after it.
func TestFaultMatrixOfTheJournal(t *testing.T) {
	cases := 0
	for _, way := range []struct {
		name string
		want spec.Desired
	}{{"up", bridged()}, {"down", spec.Desired{}}} {
		for _, name := range []string{"kill -9 of up", "kill -9 of the guard", "kill -9 of both", "the disk under the journal is full"} {
			for _, when := range []string{"before", "in the middle of", "after"} {
				if when == "in the middle of" && !blows[name].up {
					continue
				}
				for at := 0; ; at++ {
					s := newScene(t)
					if way.name == "down" {
						if _, _, err := s.change(t, bridged()); err != nil {
							t.Fatal(err)
						}
					}
					first, struck := s.written, false
					s.onWrite = func(n int, after bool) (torn bool) {
						if n != first+at || after != (when == "after") {
							return false
						}
						struck = true
						if when == "in the middle of" {
							if blows[name].guard {
								s.guard.kill()
							}
							return true
						}
						_ = s.strike(blows[name])
						return false
					}
					v, died, err := s.change(t, way.want)
					if !struck {
						break
					}
					cases++
					what := fmt.Sprintf("%s: %s %s write %d", way.name, name, when, at)
					v.judge(t, what, blows[name], died, err)
					s.requireKnown(t, what)
				}
			}
		}
	}
	t.Logf("%d faults at writes, none ended between", cases)
	if cases < 300 {
		t.Errorf("only %d cases", cases)
	}
}

// Ups and downs in a row, each struck somewhere or not.
func TestDisturbedChangesSayWhatTheyAre(t *testing.T) {
	names := make([]string, 0, len(blows)+1)
	for name := range blows {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t)
		for step := range rapid.IntRange(1, 4).Draw(rt, "changes") {
			want := spec.Desired{}
			if rapid.Bool().Draw(rt, "up") {
				want = bridged()
			}
			name := rapid.SampledFrom(append(names, "nothing")).Draw(rt, "blow")
			b := blows[name]
			at, after := s.m.Done()+rapid.IntRange(0, 25).Draw(rt, "at"), rapid.Bool().Draw(rt, "after")
			s.m.fault = func(n int, isAfter bool, _ model.Operation) error {
				if n != at || isAfter != after {
					return nil
				}
				return s.strike(b)
			}
			v, died, err := s.change(rt, want)
			what := fmt.Sprintf("change %d, %s at operation %d", step, name, at)
			v.judge(rt, what, b, died, err)
			s.requireStrangers(rt, what)
			if errors.Is(err, errNotReady) {
				return
			}
			// What could not be undone is in the way of the next change, until it is given up.
			if open, ierr := s.store.Interrupted(); ierr != nil {
				rt.Fatalf("%s: %v", what, ierr)
			} else if open {
				if _, err := s.store.DropJournal(); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
}
