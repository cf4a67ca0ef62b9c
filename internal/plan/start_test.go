package plan

import (
	"errors"
	"slices"
	"testing"

	"drawbridge/internal/model"
)

func TestStartLeavesTheStarts(t *testing.T) {
	web, db, old := model.MachineConfig{Name: "web", VMM: "qemu"}, model.MachineConfig{Name: "db", VMM: "uml"}, model.MachineConfig{Name: "old"}
	p := Plan{
		Before: model.Snapshot{Machines: []model.Machine{{Name: "old", State: model.MachineRunning, Config: &old}}},
		Steps:  []Step{{Do: model.StartMachines{Machines: []model.MachineConfig{web, db}}}},
		Owned:  Owned{Machines: []string{"db", "old", "web"}},
	}
	got, err := p.Start([]string{"web"})
	if err != nil || len(got.Steps) != 1 || got.Steps[0].Do.Object() != "web" || !slices.Equal(got.Owned.Machines, []string{"old", "web"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if undo := got.Steps[0].Undo; len(undo) != 1 || undo[0] != (model.StopMachine{Name: "web", VMM: "qemu"}) {
		t.Errorf("undo: %+v", undo)
	}
	if _, err := p.Start([]string{"old"}); !errors.Is(err, model.ErrExists) {
		t.Errorf("one that runs: %v", err)
	}
	if _, err := p.Start([]string{"web", "nobody"}); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("one that the file has not: %v", err)
	}
	p.Steps = append([]Step{{Title: "Make the tap tap0", Do: model.CreateTap{Name: "tap0"}}}, p.Steps...)
	if _, err := p.Start([]string{"web"}); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("with more to do: %v", err)
	}
}
