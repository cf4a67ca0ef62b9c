// Package fake is a kernel in memory: one namespace that answers Observe and Do like
// internal/kernel's, without root, at once, and with faults on demand.
//
// In: a model.Namespace to begin with. Out: what the operations make of it, by
// model.Snapshot.Apply, the one simulation of the kernel. The contract suite of
// internal/kernel runs on this and on the real one. It imports model only.
package fake

import (
	"context"
	"fmt"
	"sync"

	"drawbridge/internal/model"
)

// Kernel is a namespace in memory. It may be used from several goroutines.
type Kernel struct {
	// Fail is asked twice about every operation: with n = 2i before the i-th one, whose
	// error then stands for a refusal that changed nothing, and with n = 2i+1 after it,
	// whose error comes although the operation was done. nil, or a nil error: no fault.
	Fail func(n int, op model.Operation) error

	mu   sync.Mutex
	snap model.Snapshot
	done int
}

// New makes a kernel that has what ns has.
func New(ns model.Namespace) *Kernel {
	return NewSnapshot(model.Snapshot{Namespaces: []model.Namespace{ns}})
}

// NewSnapshot makes a kernel with several namespaces, the first of which is its own.
func NewSnapshot(s model.Snapshot) *Kernel {
	k := &Kernel{snap: s.Clone()}
	k.snap.Sort()
	return k
}

// Observe copies the namespace.
func (k *Kernel) Observe(ctx context.Context) (model.Namespace, error) {
	if err := ctx.Err(); err != nil {
		return model.Namespace{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.snap.Here().Clone(), nil
}

// Change changes the namespace as somebody else would: a cable pulled out, a route
// added by hand.
func (k *Kernel) Change(fn func(n *model.Namespace)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn(k.snap.Here())
	k.snap.Settle()
}

// Done counts the operations that were asked for.
func (k *Kernel) Done() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.done
}

// Do carries an operation out, and returns the indexes of the links that it made.
func (k *Kernel) Do(ctx context.Context, op model.Operation) (model.Made, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s %s: %w", op.Op(), op.Object(), err)
	}
	if model.ForMachine(op) {
		return nil, fmt.Errorf("%s %s: %w: not an operation of the host's kernel", op.Op(), op.Object(), model.ErrInvalid)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 2 * k.done
	k.done++
	if err := k.fail(n, op); err != nil {
		return nil, err
	}
	if err := k.snap.Apply(op); err != nil {
		return nil, fmt.Errorf("%s: %w", op.Op(), err)
	}
	if err := k.fail(n+1, op); err != nil {
		return nil, err
	}
	return k.snap.Here().Made(op), nil
}

func (k *Kernel) fail(n int, op model.Operation) error {
	if k.Fail == nil {
		return nil
	}
	return k.Fail(n, op)
}
