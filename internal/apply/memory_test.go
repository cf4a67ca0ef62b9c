package apply

import (
	"errors"
	"sync/atomic"
	"time"

	"drawbridge/internal/kernel/fake"
	"drawbridge/internal/model"
)

// memory is a host in memory, kernel and machines in one, which can be told to fail.
type memory struct {
	*fake.Kernel
	// fault is asked before and after each operation; an error of it is returned, before
	// without the operation having been done, after with it done.
	fault func(n int, after bool, op model.Operation) error
	// slept is how long the machine was suspended.
	slept atomic.Int64
}

func newMemory() *memory {
	m := &memory{Kernel: fake.NewSnapshot(pageHost())}
	m.Fail = func(n int, op model.Operation) error {
		if m.fault == nil {
			return nil
		}
		return m.fault(n/2, n%2 == 1, op)
	}
	return m
}

func (m *memory) machines() fake.Machines { return fake.Machines{Kernel: m.Kernel} }

// here is the namespace as it is now.
func (m *memory) here() *model.Namespace {
	s := m.Snapshot()
	return s.Here()
}

// link is a link as it is now, nil if there is none.
func (m *memory) link(name string) *model.Link { return m.here().Link(name) }

// clock counts a suspend.
func (m *memory) clock() time.Duration {
	return time.Since(processStart) + time.Duration(m.slept.Load())
}

var errFault = errors.New("injected fault")
