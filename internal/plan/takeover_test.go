package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// upBeside is a host that is up beside a manager, and what is ours there.
func upBeside(t *testing.T, manager string) (model.Snapshot, Owned) {
	t.Helper()
	p, err := Diff(managedHost(manager), bridgedFile(), Owned{}, options)
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.After()
	if err != nil {
		t.Fatal(err)
	}
	p.Owned.TellBeside(after.Here())
	return after, p.Owned
}

// held is how a manager has everything once it has taken it over.
func held(s model.Snapshot, manager, file string, acts bool) model.Snapshot {
	s = s.Clone()
	for i := range s.Here().Links {
		if l := &s.Here().Links[i]; l.Kind != model.Loopback {
			l.Managers = []model.Manager{{Name: manager, How: model.Asked, File: fmt.Sprintf(file, l.Name), Acts: acts}}
		}
	}
	return s
}

// The bridge is handed over before its ports; whatever goes wrong, all is as it was and the
// manager leaves it alone again; and down tells it in its own order.
func TestTakeOver(t *testing.T) {
	files := map[string]string{
		model.NetworkManager: "/etc/NetworkManager/system-connections/drawbridge-%s.nmconnection",
		model.Networkd:       "/etc/systemd/network/05-drawbridge-%s.network",
	}
	for name, file := range files {
		now, own := upBeside(t, name)
		p, err := TakeOver(now, own, name)
		if err != nil || len(p.Steps) != 1 {
			t.Fatalf("%s: %v, %v", name, p.Steps, err)
		}
		op := p.Steps[0].Do.(model.TakeOver)
		if !slices.Equal(op.Bridges, []string{"br0"}) || op.Ports[0] != "eth0" || !slices.Contains(op.Ports, "tap0") {
			t.Errorf("%s: %+v", name, op)
		}
		if len(p.Owned.Beside) != 0 {
			t.Errorf("%s: still told to leave alone: %v", name, p.Owned.Beside)
		}
		undo := p.Steps[0].Undo
		if leave, ok := undo[0].(model.LeaveAlone); !ok || !leave.Taken || !slices.Equal(leave.Links, op.Links()) {
			t.Errorf("%s: undo %v", name, undo)
		}
		var brought []string
		for _, u := range undo {
			switch u := u.(type) {
			case model.AddAddresses:
				brought = append(brought, u.Addresses[0].Prefix.String())
			case model.SetMaster:
				brought = append(brought, u.Link+" in "+u.Master)
			case model.AddRoutes:
				brought = append(brought, "to "+u.Routes[0].Destination.String())
			}
		}
		for _, want := range []string{"198.18.0.5/24", "eth0 in br0", "to 0.0.0.0/0"} {
			if !slices.Contains(brought, want) {
				t.Errorf("%s: a rollback brings %v back, and not %s", name, brought, want)
			}
		}
		for _, cmd := range p.Steps[0].Commands(Modern) {
			if strings.Contains(cmd, "%!") {
				t.Errorf("%s: command %q", name, cmd)
			}
		}
		taken := held(now, name, file, true)
		if again, err := TakeOver(taken, p.Owned, name); err != nil || len(again.Steps) != 0 {
			t.Errorf("%s: a second time there is %v to do, %v", name, again.Steps, err)
		}
		if again, err := Diff(taken, bridgedFile(), p.Owned, options); err != nil || len(again.Steps) != 0 {
			t.Errorf("%s: up again has %v to do, %v", name, again.Steps, err)
		}
		down, err := Diff(taken, spec.Desired{}, p.Owned, options)
		if err != nil {
			t.Fatal(err)
		}
		// Rolled back, it has them by our files again, and nothing is given to it anew.
		if first := down.Steps[indexOfStep(down, "leave-alone", name)]; len(first.Undo) != 1 || first.Undo[0].Op() != "take-over" || !slices.Contains(first.Undo[0].(model.TakeOver).Bridges, "br0") {
			t.Errorf("%s: undo of %+v is %v", name, first.Do, first.Undo)
		}
		if back := indexOfStep(down, "manage-again", name); back != len(down.Steps)-1 && down.Steps[back+1].Do.Op() != "set-setting" {
			t.Errorf("%s: given back at %d of %d", name, back, len(down.Steps))
		}
		kept := options
		kept.Written = true
		if down, err := Diff(taken, spec.Desired{}, p.Owned, kept); err != nil || indexOfStep(down, "manage-again", name) >= 0 ||
			name == model.Networkd && !down.Steps[len(down.Steps)-1].Do.(model.LeaveAlone).Unread {
			t.Errorf("%s: with its files there, down: %v, %v", name, down.Steps, err)
		}
		aside, err := StepAside(taken, p.Owned)
		if err != nil || len(aside.Steps) != 1 || !aside.Steps[0].Do.(model.LeaveAlone).Taken || len(aside.Owned.Beside) != 1 {
			t.Errorf("%s: aside: %v, %v", name, aside.Steps, err)
		}
		if none, err := StepAside(now, own); err != nil || len(none.Steps) != 0 {
			t.Errorf("%s: it does not hold them, and lets go: %v, %v", name, none.Steps, err)
		}
	}
}

// ifupdown notes what is up, and that it is no more.
func TestIfupdownNotes(t *testing.T) {
	now, own := upBeside(t, model.Ifupdown)
	now.Here().Link("eth0").Managers = []model.Manager{{Name: model.Ifupdown, How: model.ByFile}}
	p, err := TakeOver(now, own, model.Ifupdown)
	if err != nil || len(p.Steps) != 1 {
		t.Fatalf("%v, %v", p.Steps, err)
	}
	taken := held(now, model.Ifupdown, "/etc/network/interfaces.d/drawbridge", false)
	if again, err := TakeOver(taken, p.Owned, model.Ifupdown); err != nil || len(again.Steps) != 0 {
		t.Errorf("a second time: %v, %v", again.Steps, err)
	}
	down, err := Diff(taken, spec.Desired{}, p.Owned, options)
	if err != nil {
		t.Fatal(err)
	}
	at := indexOfStep(down, "manage-again", model.Ifupdown)
	if at < indexOfStep(down, "delete-link", "br0") || !slices.Contains(down.Steps[at].Do.(model.ManageAgain).Links, "eth0") {
		t.Errorf("noted at %d: %v", at, down.Steps)
	}
	if undo := down.Steps[at].Undo; len(undo) != 1 || undo[0].Op() != "take-over" {
		t.Errorf("undo %v", undo)
	}
}

// Nobody is here to take anything over, or not the one that files were written for.
func TestNobodyTakesOver(t *testing.T) {
	now, own := upBeside(t, model.Networkd)
	for _, name := range []string{model.NetworkManager, model.Ifupdown, "acme"} {
		if p, err := TakeOver(now, own, name); err != nil || len(p.Steps) != 0 {
			t.Errorf("%s: %v, %v", name, p.Steps, err)
		}
	}
}
