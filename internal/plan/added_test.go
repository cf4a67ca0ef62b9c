package plan

import (
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"

	"pgregory.net/rapid"
)

func mustAdd(t *testing.T, now model.Snapshot, tap NewTap, own Owned) (Plan, model.Snapshot) {
	t.Helper()
	p, err := AddTap(now, tap, own, options)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	after, err := p.After()
	if err != nil {
		t.Fatalf("after: %v", err)
	}
	return p, after
}

func TestAnAddedTapOutlivesTheFileAndGoesWithDown(t *testing.T) {
	before := host()
	up, now := mustDiff(t, before, bridgedFile(), Owned{})
	add, now := mustAdd(t, now, NewTap{Network: "lan", Owner: "alice", Added: AddedTap{By: ByCommand}}, up.Owned)
	l := now.Here().Link("tap1") // tap0 is the file's
	if l == nil || l.Master != "br0" || !l.Up || l.Tap.OwnerName != "alice" {
		t.Fatalf("the tap is %+v", l)
	}
	last := add.Owned.Links[len(add.Owned.Links)-1]
	if last.Name != "tap1" || last.Added == nil || last.Added.Network != "lan" || !last.Added.MAC.Valid() {
		t.Fatalf("owned: %+v %+v", last, last.Added)
	}
	if again, _ := mustDiff(t, now, bridgedFile(), add.Owned); len(again.Steps) != 0 {
		t.Errorf("up with the file touches what was added beside it: %v", titles(again))
	}
	// The bridge goes, and the tap with it.
	other := spec.Desired{Networks: []spec.Network{{Name: "private", Mode: "host-only", Bridge: "br1", Host: spec.HostAddressing{Mode: "none"}}}}
	p, moved := mustDiff(t, now, other, add.Owned)
	if moved.Here().Link("tap1") != nil || p.Owned.link("tap1") != nil {
		t.Error("a tap of a bridge that is gone is still there, or still owned")
	}
	down, end := mustDiff(t, now, spec.Desired{}, add.Owned)
	if !down.Owned.Empty() || !sameButIndexes(before, end) {
		t.Errorf("after down: owned %+v\n%s", down.Owned, difference(before, end))
	}
}

func TestTheFileTakesAnAddedTapOver(t *testing.T) {
	up, now := mustDiff(t, host(), bridgedFile(), Owned{})
	add, now := mustAdd(t, now, NewTap{Name: "tap7", Network: "br0", Owner: "alice", Added: AddedTap{By: ByCommand}}, up.Owned)
	file := bridgedFile()
	file.Taps = []spec.Tap{{Name: "tap7", Network: "lan", Owner: "alice"}}
	p, _ := mustDiff(t, now, file, add.Owned)
	if len(p.Steps) != 0 || p.Owned.link("tap7").Added != nil {
		t.Errorf("steps %v, added %+v", titles(p), p.Owned.link("tap7").Added)
	}
	// One that the broker gave away ends with its holder.
	add.Owned.link("tap7").Added.By, add.Owned.link("tap7").Added.Holder = ByBroker, &TapHolder{UID: 1000, User: "alice"}
	if _, err := Diff(now, file, add.Owned, options); err == nil || !strings.Contains(err.Error(), "the broker gave to alice") {
		t.Errorf("error %v", err)
	}
}

func TestTapsThatCannotBeAdded(t *testing.T) {
	up, now := mustDiff(t, host(), bridgedFile(), Owned{})
	full := now.Clone()
	for range model.MaxPorts {
		full.Here().Links = append(full.Here().Links, model.Link{Name: "p", Kind: model.Veth, Master: "br0"})
	}
	for _, tc := range []struct {
		name string
		now  model.Snapshot
		tap  NewTap
		opt  Options
		want string
	}{
		{"no network", now, NewTap{Network: "lam"}, options, "no such network here, and no such bridge\n  hint: there are: lan, br0"},
		{"no bridge", now, NewTap{Network: "eth0"}, options, "neither a network nor a bridge"},
		{"taken", now, NewTap{Name: "tap0"}, options, "exists already, and is a tap"},
		{"long", now, NewTap{Name: "a-name-of-sixteen"}, options, "is no name for a link"},
		{"nobody", now, NewTap{Owner: "bob"}, options, "bob: no such user"},
		{"no taps", now, NewTap{}, Options{NoTaps: true}, "taps cannot be made here"},
		{"full", full, NewTap{Network: "lan"}, options, "has its 1,023 ports"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := AddTap(tc.now, tc.tap, up.Owned, tc.opt)
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(p.Steps) != 0 {
				t.Errorf("error %v lacks %q; steps %v", err, tc.want, titles(p))
			}
		})
	}
}

func TestDropTaps(t *testing.T) {
	file := bridgedFile()
	file.Taps = []spec.Tap{{Name: "tap7", Network: "lan", Owner: "alice"}}
	up, now := mustDiff(t, host(), file, Owned{})
	add, now := mustAdd(t, now, NewTap{Network: "lan", Added: AddedTap{By: ByCommand}}, up.Owned)
	now.Here().Links = append(now.Here().Links, model.Link{Name: "vnet0", Kind: model.TapKind, Tap: &model.Tap{}})
	for name, want := range map[string]string{
		"tap7": "is a tap of the file", "vnet0": "is a tap that is not ours", "br0": "is a bridge, not a tap", "nothing": "no such tap",
	} {
		if _, err := DropTaps(now, []string{name}, false, add.Owned, options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v lacks %q", name, err, want)
		}
	}
	if p, err := DropTaps(now, []string{"tap7"}, true, add.Owned, options); err != nil || len(p.Steps) != 1 || p.Owned.link("tap7") != nil {
		t.Errorf("forced: %v %v", titles(p), err)
	}
	held := now.Clone()
	held.Here().Link("tap1").Tap.Holders = []model.Holder{{PID: 77, Command: "qemu"}}
	if _, err := DropTaps(held, []string{"tap1"}, false, add.Owned, options); err == nil || !strings.Contains(err.Error(), "is held by qemu (pid 77)") {
		t.Errorf("held: %v", err)
	}
	p, err := DropTaps(held, []string{"tap1", "tap1"}, true, add.Owned, options)
	if err != nil || len(p.Steps) != 1 {
		t.Errorf("held, forced: %v %v", titles(p), err)
	}
}

// Taps come and go beside files that come and go: no plan of a file is disturbed by
// them, every undo brings back what was, and 'down' leaves nothing.
func TestRandomWalksWithAddedTaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := host()
		now, own := start.Clone(), Owned{}
		for range rapid.IntRange(1, 5).Draw(t, "length") {
			want := wishes(t)
			p, after := walk(t, now, own, want)
			now, own = after, p.Owned
			for range rapid.IntRange(0, 3).Draw(t, "added") {
				tap := NewTap{Owner: "alice", Added: AddedTap{By: ByCommand}}
				if len(want.Networks) > 0 && rapid.Bool().Draw(t, "bridged") {
					tap.Network = rapid.SampledFrom(want.Networks).Draw(t, "network").Name
				}
				p, err := AddTap(now, tap, own, options)
				if err != nil {
					t.Fatal(err)
				}
				checkUndo(t, p)
				if now, err = p.After(); err != nil {
					t.Fatal(err)
				}
				own = p.Owned
			}
			again, err := Diff(now, want, own, options)
			if err != nil || len(again.Steps) != 0 && len(want.Networks)+len(want.Machines)+len(want.Taps) > 0 {
				t.Fatalf("second plan: %v %v", err, titles(again))
			}
		}
		_, end := walk(t, now, own, spec.Desired{})
		if !sameButIndexes(start, end) {
			t.Fatalf("down left (-want +got)\n%s", difference(start, end))
		}
	})
}
