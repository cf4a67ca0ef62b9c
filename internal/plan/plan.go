// Package plan turns what is and what is wanted into ordered steps.
//
// In: a model.Snapshot, a spec.Desired, and what earlier runs own. Out: a [Plan]:
// steps that each tell what, why, the command a person would type, the snapshot
// before and after, and the undo. It imports model and spec, and does no I/O.
package plan

import "drawbridge/internal/model"

// Plan is an ordered list of steps from a snapshot to what is wanted.
type Plan struct {
	Before model.Snapshot
	Steps  []Step
	// Notes are what a person should know but need not do anything about.
	Notes []string
}

// After is the snapshot that the whole plan leads to.
func (p Plan) After() model.Snapshot {
	if len(p.Steps) == 0 {
		return p.Before
	}
	return p.Steps[len(p.Steps)-1].After
}

// Step is one step of a plan.
type Step struct {
	// Title says what is done: "Make the bridge br0".
	Title string
	// Why explains it to a learner in one or two sentences.
	Why string
	Do  model.Operation
	// Undo brings back what was before Do, given that nothing else happened since;
	// empty where there is nothing to undo.
	Undo model.Operations
	// Before and After are the snapshots around the step, as predicted.
	Before, After model.Snapshot
}
