package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// managedHost is the page's host with an uplink that managers have.
func managedHost(names ...string) model.Snapshot {
	s := host()
	for _, n := range names {
		l := s.Here().Link("eth0")
		l.Managers = append(l.Managers, model.Manager{Name: n, How: model.Asked, Acts: true})
	}
	s.Here().Settings["ipv6/conf/eth0/accept_dad"] = "1"
	return s
}

func indexOfStep(p Plan, op string, object string) int {
	return slices.IndexFunc(p.Steps, func(st Step) bool { return st.Do.Op() == op && st.Do.Object() == object })
}

// NetworkManager, which has made everything at boot, lets go of it before down takes it
// apart, and gets the uplink back at the end; networkd would take the addresses, and is told when
// the uplink has its own again.
func TestDownAfterABoot(t *testing.T) {
	for _, name := range []string{model.NetworkManager, model.Networkd} {
		p, err := Diff(host(), bridgedFile(), Owned{}, options)
		if err != nil {
			t.Fatal(err)
		}
		booted, err := p.After()
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range []string{"eth0", "br0"} {
			booted.Here().Link(link).Managers = []model.Manager{{Name: name, How: model.Asked, Acts: true}}
		}
		if again, err := Diff(booted, bridgedFile(), p.Owned, options); err != nil || len(again.Steps) != 0 {
			t.Errorf("%s: there is %v to do, %v", name, again.Steps, err)
		}
		down, err := Diff(booted, spec.Desired{}, p.Owned, options)
		if err != nil {
			t.Fatal(err)
		}
		told, back := indexOfStep(down, "leave-alone", name), indexOfStep(down, "manage-again", name)
		if name == model.Networkd {
			first := down.Steps[told].Do.(model.LeaveAlone)
			for told++; told < back && down.Steps[told].Do.Op() != "leave-alone"; told++ {
			}
			if len(first.Links) != 0 || !slices.Contains(first.Later, "eth0") || told < indexOfStep(down, "delete-link", "br0") || back <= told {
				t.Errorf("networkd is told at %d, and given back at %d", told, back)
			}
			continue
		}
		if told < 0 || told > indexOfStep(down, "set-master", "eth0") || told > indexOfStep(down, "add-addresses", "eth0") || back < indexOfStep(down, "delete-link", "br0") {
			t.Errorf("told at %d, given back at %d of %d; the uplink gets its addresses at %d", told, back, len(down.Steps), indexOfStep(down, "add-addresses", "eth0"))
		}
		if links := down.Steps[told].Do.(model.LeaveAlone).Links; !slices.Contains(links, "eth0") || !slices.Contains(links, "br0") {
			t.Errorf("told of %v", links)
		}
		kept := options
		kept.Written = true
		if down, err = Diff(booted, spec.Desired{}, p.Owned, kept); err != nil || indexOfStep(down, "leave-alone", name) < 0 || indexOfStep(down, "manage-again", name) >= 0 {
			t.Errorf("with files that bring it back at once: %v, %v", down.Steps, err)
		}
	}
}

// A manager is told of new links before they are made, of the uplink once it has nothing of
// the manager's; and down gives all back, at the end.
func TestBeside(t *testing.T) {
	for _, name := range []string{model.NetworkManager, model.Networkd} {
		p, err := Diff(managedHost(name), bridgedFile(), Owned{}, options)
		if err != nil {
			t.Fatal(err)
		}
		first, made := indexOfStep(p, "leave-alone", name), indexOfStep(p, "create-bridge", "br0")
		last := len(p.Steps) - 1
		for last > 0 && p.Steps[last].Do.Op() != "leave-alone" {
			last--
		}
		plugged, gone := indexOfStep(p, "set-master", "eth0"), indexOfStep(p, "delete-addresses", "eth0")
		if first < 0 || first > made || last < gone || gone < plugged {
			t.Errorf("%s: told at %d and %d, made at %d, plugged at %d, without addresses from %d", name, first, last, made, plugged, gone)
		}
		if told := p.Steps[last].Do.(model.LeaveAlone); !slices.Equal(told.Links, []string{"eth0"}) || len(p.Steps[last].Undo) != 0 {
			t.Errorf("%s: %+v, undo %v", name, told, p.Steps[last].Undo)
		}
		undo := fmt.Sprint(p.Steps[first].Undo)
		if !strings.Contains(undo, "br0") || !strings.Contains(undo, "eth0") || strings.Contains(undo, "accept_dad") != (name == model.NetworkManager) {
			t.Errorf("%s: undo %s", name, undo)
		}
		after, err := p.After()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Diff(after, bridgedFile(), p.Owned, options); err != nil || len(again.Steps) != 0 {
			t.Errorf("%s: a second time there is %v to do, %v", name, again.Steps, err)
		}
		down, err := Diff(after, spec.Desired{}, p.Owned, options)
		if err != nil {
			t.Fatal(err)
		}
		back := indexOfStep(down, "manage-again", name)
		if back < indexOfStep(down, "delete-link", "br0") || back < 0 || len(down.Owned.Beside) != 0 {
			t.Errorf("%s: given back at %d; still beside: %v", name, back, down.Owned.Beside)
		}
		for _, cmds := range [][]string{p.Steps[first].Commands(Modern), p.Steps[last].Commands(Modern), down.Steps[back].Commands(Classic)} {
			if len(cmds) < 2 {
				t.Errorf("%s: commands %v", name, cmds)
			}
		}
	}
}

// Whoever does nothing by himself, or cannot be told, is told nothing.
func TestBesideNobody(t *testing.T) {
	s := managedHost("acme-dhcp")
	s.Here().Link("eth0").Managers = append(s.Here().Link("eth0").Managers, model.Manager{Name: "ifupdown"})
	p, err := Diff(s, bridgedFile(), Owned{}, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range p.Steps {
		if st.Do.Op() == "leave-alone" {
			t.Errorf("%+v", st.Do)
		}
	}
}

// Two at once are both told.
func TestBesideTwo(t *testing.T) {
	p, err := Diff(managedHost(model.NetworkManager, model.Networkd), bridgedFile(), Owned{}, options)
	if err != nil || len(p.Owned.Beside) != 2 {
		t.Errorf("%v, %v", p.Owned.Beside, err)
	}
}
