package model

import "strings"

// StartMachines starts many machines at once, as many at a time as the host's
// processors and memory bear. When one fails, those that were started are stopped.
type StartMachines struct {
	Machines []MachineConfig `json:"machines"`
}

// StopMachines stops many machines at once. What is gone already is no error.
type StopMachines struct {
	Machines []string `json:"machines"`
	VMM      string   `json:"vmm,omitempty"` // of all of them; as in StopMachine
}

// Op implements [Operation].
func (StartMachines) Op() string { return "start-machines" }

// Op implements [Operation].
func (StopMachines) Op() string { return "stop-machines" }

// Object implements [Operation].
func (o StartMachines) Object() string { return strings.Join(NameRuns(o.Names()), " ") }

// Object implements [Operation].
func (o StopMachines) Object() string { return strings.Join(NameRuns(o.Machines), " ") }

// Names are the names of the machines.
func (o StartMachines) Names() []string {
	out := make([]string, len(o.Machines))
	for i, m := range o.Machines {
		out[i] = m.Name
	}
	return out
}

func (o StartMachines) apply(s *Snapshot) error {
	for _, m := range o.Machines {
		if err := (StartMachine{m}).apply(s); err != nil {
			return err
		}
	}
	return nil
}

func (o StopMachines) apply(s *Snapshot) error {
	for _, name := range o.Machines {
		if err := (StopMachine{Name: name}).apply(s); err != nil {
			return err
		}
	}
	return nil
}
