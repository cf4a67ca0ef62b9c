package plan

import (
	"errors"
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// Start leaves of a plan the starts of the named machines. It refuses where those need
// more than to be started: then the host is not as the file wants it.
func (p Plan) Start(names []string) (Plan, error) {
	var errs []error
	out := Plan{Before: p.Before, Owned: p.Owned, Notes: p.Notes}
	missing := slices.Clone(names)
	var left []string // wanted, and not started now
	for _, st := range p.Steps {
		var some []model.MachineConfig
		switch op := st.Do.(type) {
		case model.StartMachine:
			some = []model.MachineConfig{op.Machine}
		case model.StartMachines:
			some = op.Machines
		default:
			errs = append(errs, fmt.Errorf("the host is not as the file wants it: %q comes first: %w (hint: drawbridge plan, and then drawbridge up)", st.Title, model.ErrInvalid))
			continue
		}
		for _, m := range some {
			if !slices.Contains(names, m.Name) {
				left = append(left, m.Name)
				continue
			}
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == m.Name })
			op := model.StartMachine{Machine: m}
			out.Steps = append(out.Steps, Step{Title: "Start the machine " + m.Name, Why: startWhy(m), Do: op, Undo: inverseForMachine(op, &p.Before)})
		}
	}
	for _, name := range missing {
		if m := p.Before.Machine(name); m != nil && m.Lives() {
			errs = append(errs, fmt.Errorf("machine %s runs already: %w", name, model.ErrExists))
			continue
		}
		errs = append(errs, fmt.Errorf("the file has no machine %s: %w", name, model.ErrNotFound))
	}
	out.Owned.Machines = slices.DeleteFunc(slices.Clone(p.Owned.Machines), func(name string) bool { return slices.Contains(left, name) })
	if len(errs) > 1 {
		errs = errs[:1] // the first says what is to be done
	}
	return out, errors.Join(errs...)
}
