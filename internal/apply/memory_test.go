package apply

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"drawbridge/internal/model"
)

// memory is a host in memory, kernel and machines in one, which can be told to fail.
type memory struct {
	mu   sync.Mutex
	snap model.Snapshot
	n    int
	// slept is how long the machine was suspended.
	slept atomic.Int64
	// fault is asked before and after each operation; an error of it is returned, before
	// without the operation having been done, after with it done.
	fault func(n int, after bool, op model.Operation) error
}

// clock counts a suspend.
func (m *memory) clock() time.Duration {
	return time.Since(processStart) + time.Duration(m.slept.Load())
}

func (m *memory) look() model.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snap.Clone()
}

var errFault = errors.New("injected fault")

func (m *memory) Observe(context.Context) (model.Namespace, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snap.Here().Clone(), nil
}

func (m *memory) do(op model.Operation) (model.Made, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.n
	m.n++
	if m.fault != nil {
		if err := m.fault(n, false, op); err != nil {
			return nil, err
		}
	}
	if err := m.snap.Apply(op); err != nil {
		return nil, err
	}
	made := m.snap.Here().Made(op)
	if m.fault != nil {
		if err := m.fault(n, true, op); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (m *memory) Do(_ context.Context, op model.Operation) (model.Made, error) { return m.do(op) }

// memoryMachines is the machines' side of the same host.
type memoryMachines struct{ *memory }

func (m memoryMachines) Do(_ context.Context, op model.Operation) error {
	_, err := m.do(op)
	return err
}

func (m memoryMachines) List(context.Context) ([]model.Machine, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snap.Clone().Machines, nil
}
