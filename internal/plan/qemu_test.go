package plan

import (
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

func qemuWish(cpus int) spec.Desired {
	return spec.Desired{Machines: []spec.Machine{{Name: "db", VMM: spec.QEMU, CPUs: cpus, Memory: 512 << 20, Root: "/srv/db.img", Writes: spec.WritesDiscard,
		NICs: []spec.NIC{{Name: "eth1", Tap: "tap0", Owner: "alice", Cabled: true, Security: spec.Security{Level: model.SecurityOff}}}}}}
}

func TestQEMUPlan(t *testing.T) {
	opt := Options{Users: map[string]uint32{"alice": 1000}}
	now := model.Snapshot{Host: "host", Namespaces: []model.Namespace{{}}}
	p, err := Diff(now, qemuWish(2), Owned{}, opt)
	if err != nil {
		t.Fatal(err)
	}
	var tap model.CreateTap
	var start model.StartMachine
	for _, st := range p.Steps {
		switch op := st.Do.(type) {
		case model.CreateTap:
			tap = op
		case model.StartMachine:
			start = op
		}
	}
	if !tap.MultiQueue || !tap.VnetHeader {
		t.Errorf("the tap of a machine with two processors: %+v", tap)
	}
	if start.Machine.Owner == nil || *start.Machine.Owner != 1000 || start.Machine.CPUs != 2 {
		t.Errorf("the machine: %+v", start.Machine)
	}
	line := strings.Join(Commands(start, Modern), "\n")
	for _, want := range []string{"-smp 2", "-drive if=virtio,file=/srv/db.img,snapshot=on", "ifname=tap0,script=no,downscript=no,queues=2", "mq=on,vectors=6"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %s", want, line)
		}
	}

	// One processor less: the tap is made anew, with one queue. Other addresses: the guest
	// has no agent that could be told.
	after, err := p.After()
	if err != nil {
		t.Fatal(err)
	}
	less, err := Diff(after, qemuWish(1), p.Owned, opt)
	if err != nil || !has(less, "Stop the machine db") || !has(less, "Delete the tap tap0") {
		t.Errorf("one processor less: %v, %v", titles(less), err)
	}
	other := qemuWish(2)
	other.Machines[0].NICs[0].DHCP = true
	anew, err := Diff(after, other, p.Owned, opt)
	if err != nil || !has(anew, "Stop the machine db") || has(anew, "Delete the tap tap0") {
		t.Errorf("other addresses: %v, %v", titles(anew), err)
	}
	if stop := Commands(anew.Steps[0].Do, Modern); len(stop) != 1 || stop[0] != "echo system_powerdown | socat - unix:db.monitor" {
		t.Errorf("stop: %v", stop)
	}
}

// TestQEMUWithoutRights: who cannot make taps uses one that is there.
func TestQEMUWithoutRights(t *testing.T) {
	opt := Options{Users: map[string]uint32{"alice": 1000}, NoTaps: true}
	now := model.Snapshot{Host: "host", Namespaces: []model.Namespace{{}}}
	if _, err := Diff(now, qemuWish(1), Owned{}, opt); err == nil || !strings.Contains(err.Error(), "a QEMU needs the tap tap0") {
		t.Errorf("without a tap: %v", err)
	}
	alice := uint32(1000)
	now.Namespaces[0].Links = []model.Link{{Name: "tap0", Index: 7, Kind: model.TapKind, MTU: 1500, Up: true, Tap: &model.Tap{Owner: &alice, Persistent: true, VnetHeader: true}}}
	p, err := Diff(now, qemuWish(1), Owned{}, opt)
	if err != nil || len(p.Steps) != 1 || !has(p, "Start the machine db") {
		t.Errorf("with one: %v, %v", titles(p), err)
	}
}

func has(p Plan, title string) bool { return slices.Contains(titles(p), title) }
