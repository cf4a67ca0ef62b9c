package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

func manyTaps(count int) spec.Desired {
	want := bridgedFile()
	want.Machines = nil
	for i := range count {
		want.Taps = append(want.Taps, spec.Tap{Name: fmt.Sprint("tap", i), Network: "lan", Owner: "alice"})
	}
	return want
}

func TestManyTapsAreOneStep(t *testing.T) {
	p, after := mustDiff(t, host(), manyTaps(1000), Owned{})
	last := p.Steps[len(p.Steps)-1]
	if last.Title != "Make 1,000 taps: tap0…tap999, plugged into br0" {
		t.Error(titles(p))
	}
	if n := len(after.Here().Ports("br0")); n != 1001 {
		t.Errorf("%d ports", n)
	}
	group := last.Do.(model.CreateTaps).LinkGroup
	for style, want := range map[Style]string{
		Modern:  fmt.Sprintf("for t in tap{0..999}; do ip tuntap add dev $t mode tap user alice; ip link set $t group %d master br0 up; done", group),
		Classic: "for t in tap{0..999}; do tunctl -u alice -t $t; brctl addif br0 $t; ifconfig $t up; done",
	} {
		if got := last.Commands(style); !slices.Equal(got, []string{want}) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if again, _ := mustDiff(t, after, manyTaps(1000), p.Owned); len(again.Steps) != 0 {
		t.Errorf("a second plan: %v", titles(again))
	}
	down, end := mustDiff(t, after, spec.Desired{}, p.Owned)
	if !slices.Contains(titles(down), "Delete 1,000 taps: tap0…tap999") || !down.Owned.Empty() || !sameButIndexes(host(), end) {
		t.Errorf("down: %v", titles(down))
	}
}

func TestFewTapsAreStepsOfTheirOwn(t *testing.T) {
	p, _ := mustDiff(t, host(), manyTaps(batchFrom-1), Owned{})
	if !slices.Contains(titles(p), "Make the tap tap0") {
		t.Error(titles(p))
	}
}

// A bridge has room for 1,023 ports, its uplink among them.
func TestMorePortsThanABridgeTakes(t *testing.T) {
	mustDiff(t, host(), manyTaps(model.MaxPorts-1), Owned{})
	_, err := Diff(host(), manyTaps(model.MaxPorts), Owned{}, options)
	if err == nil || !strings.Contains(err.Error(), "br0: a bridge takes 1,023 ports, and this one is to have 1,024") || !strings.Contains(err.Error(), "hint: spread") {
		t.Error(err)
	}
}
