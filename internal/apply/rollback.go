package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"drawbridge/internal/model"
)

// rollBack undoes what a journal has begun, newest first, and verifies that the host
// is as it was. An undo that fails does not stop the ones before it: the rest of the
// host is still worth bringing back.
func (t *Transaction) rollBack(j *Journal, cause error) error {
	f := &Failure{Err: cause, Changed: j.begun > 0}
	if !f.Changed {
		if err := j.discard(); err != nil {
			f.Left = append(f.Left, err)
		}
		return f
	}
	if t.RollingBack != nil {
		t.RollingBack(cause)
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	for i := j.begun - 1; i >= 0; i-- {
		for _, op := range j.Steps[i].Undo {
			// The last step begun may not have been done at all: what its undo shall
			// bring back may still be there, what it shall remove may be absent. The
			// verification below tells whether that is all.
			_, err := t.do(ctx, withIndexes(op, j.made[i]))
			if err != nil && !errors.Is(err, model.ErrNotFound) && !errors.Is(err, model.ErrExists) {
				f.Left = append(f.Left, fmt.Errorf("undo of %q: %w", j.Steps[i].Title, err))
			}
		}
	}
	if err := t.verify(ctx, j.Before, j.touchable()); err != nil {
		f.Left = append(f.Left, err)
	}
	remade, err := t.remade(ctx, j)
	if err != nil {
		f.Left = append(f.Left, err)
	}
	if err := t.Store.restoreOwned(j.OwnedBefore.WithIndexes(remade)); err != nil {
		f.Left = append(f.Left, err)
	}
	if len(f.Left) == 0 {
		if err := j.discard(); err != nil {
			f.Left = append(f.Left, err)
		}
	} else {
		j.f.Close()
	}
	return f
}

// remade are the indexes of the links that the undo of a journal has made anew, now or in an
// earlier attempt that did not live to note them: their MACs tell.
func (t *Transaction) remade(ctx context.Context, j *Journal) (model.Made, error) {
	ns, err := t.Kernel.Observe(ctx)
	if err != nil {
		return nil, err
	}
	out := model.Made{}
	for _, st := range j.Steps[:j.begun] {
		for _, op := range st.Undo {
			for name, mac := range model.MACsMadeBy(op) {
				if l := ns.Link(name); l != nil && l.MAC == mac {
					out[name] = l.Index
				}
			}
		}
	}
	return out, nil
}

// withIndexes makes the undo of a link's making refuse any other link of that name.
func withIndexes(op model.Operation, made model.Made) model.Operation {
	switch op := op.(type) {
	case model.DeleteLink:
		op.Index = made[op.Name]
		return op
	case model.DeleteLinks:
		op.Links = slices.Clone(op.Links)
		for i := range op.Links {
			op.Links[i].Index = made[op.Links[i].Name]
		}
		return op
	default:
		return op
	}
}

// Recover rolls back what a crash interrupted. It returns what was done: the titles
// of the steps that were undone, none if there was no open journal.
func (t *Transaction) Recover() (undone []string, err error) {
	j, err := t.Store.openJournal()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, ErrForeignJournal):
		return nil, t.Store.dropJournal() // a reboot, or the namespace's end, has rolled everything back
	case err != nil:
		return nil, err
	case j.commit:
		return nil, j.discard()
	}
	for _, st := range j.Steps[:j.begun] {
		undone = append(undone, st.Title)
	}
	slices.Reverse(undone)
	var f *Failure
	if errors.As(t.rollBack(j, fmt.Errorf("process %d ended in the middle", j.PID)), &f) && len(f.Left) > 0 {
		return undone, f
	}
	return undone, nil
}

// touchable are the operations whose objects must be as they were: those that were begun,
// and of the others those on links that were there before. A link that the plan would
// only have made may meanwhile be a stranger's.
func (j *Journal) touchable() []model.Operation {
	ops := operations(j.Steps[:j.begun])
	for _, op := range operations(j.Steps[j.begun:]) {
		if j.Before.Here().Link(op.Object()) != nil {
			ops = append(ops, op)
		}
	}
	return ops
}
