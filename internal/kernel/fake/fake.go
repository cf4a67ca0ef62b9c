// Package fake is a kernel in memory: one namespace that answers Observe and Do like
// internal/kernel's, without root, at once, and with faults on demand.
//
// In: a model.Namespace to begin with. Out: what the operations make of it, by
// model.Snapshot.Apply, the one simulation of the kernel. What that leaves out, because the
// kernel does it in its own time or the wire brings it, is here: operational states that
// come later than the change (linkwatch), duplicate address detection, router
// advertisements; and the order of routes, by which NLM_F_REPLACE may hit a stranger's. The contract suite of internal/kernel runs on this and on the real one.
// It imports model only.
package fake

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"drawbridge/internal/model"
)

// Kernel is a namespace in memory. It may be used from several goroutines.
//
// Time passes by being looked at: every Observe is a moment later.
type Kernel struct {
	// Fail is asked twice about every operation: with n = 2i before the i-th one, whose
	// error then stands for a refusal that changed nothing, and with n = 2i+1 after it,
	// whose error comes although the operation was done. nil, or a nil error: no fault.
	Fail func(n int, op model.Operation) error
	// Taken are addresses that another host of the LAN has.
	Taken []netip.Addr

	mu    sync.Mutex
	snap  model.Snapshot
	done  int
	later []event
	// shown are operational states that are over, and still told.
	shown map[string]string
	// routers are those that were heard of, by their last advertisement; own are the default
	// routes that the kernel itself has made of them.
	routers []Advertisement
	own     map[way]bool
	// fib are the routes in the kernel's order: of those of one key the first is in force.
	fib []model.Route
}

// New makes a kernel that has what ns has.
func New(ns model.Namespace) *Kernel {
	return NewSnapshot(model.Snapshot{Namespaces: []model.Namespace{ns}})
}

// NewSnapshot makes a kernel with several namespaces, the first of which is its own.
func NewSnapshot(s model.Snapshot) *Kernel {
	k := &Kernel{snap: s.Clone(), shown: map[string]string{}, own: map[way]bool{}}
	k.snap.Sort()
	k.fib = slices.Clone(k.snap.Here().Routes)
	return k
}

// Observe copies the namespace as it is told at this moment.
func (k *Kernel) Observe(ctx context.Context) (model.Namespace, error) {
	if err := ctx.Err(); err != nil {
		return model.Namespace{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ns := k.snap.Here().Clone()
	for i := range ns.Links {
		if state, late := k.shown[ns.Links[i].Name]; late {
			ns.Links[i].OperState = state
		}
	}
	k.pass()
	return ns, nil
}

// Snapshot is everything as it is once all that is under way has come to its end.
func (k *Kernel) Snapshot() model.Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.later) > 0 {
		k.pass()
	}
	return k.snap.Clone()
}

// Change changes the namespace as somebody else would: a cable pulled out, a route
// added by hand.
func (k *Kernel) Change(fn func(n *model.Namespace)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.alter(func() error {
		fn(k.snap.Here())
		k.snap.Settle()
		return nil
	})
}

// Meddle carries operations out as somebody else would: no fault strikes them, they are not
// counted, and what is refused is refused.
func (k *Kernel) Meddle(ops ...model.Operation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, op := range ops {
		_ = k.carryOut(op)
	}
}

// Done counts the operations that were asked for.
func (k *Kernel) Done() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.done
}

// Do carries an operation out, and returns the indexes of the links that it made.
func (k *Kernel) Do(ctx context.Context, op model.Operation) (model.Made, error) {
	if model.ForMachine(op) || model.ForService(op) {
		return nil, fmt.Errorf("%s %s: %w: not an operation of the host's kernel", op.Op(), op.Object(), model.ErrInvalid)
	}
	return k.do(ctx, op)
}

func (k *Kernel) do(ctx context.Context, op model.Operation) (model.Made, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s %s: %w", op.Op(), op.Object(), err)
	}
	k.mu.Lock()
	n := 2 * k.done
	k.done++
	k.mu.Unlock()
	// Without the lock: who strikes may look, and change things as somebody else would.
	if err := k.fail(n, op); err != nil {
		return nil, err
	}
	made, err := k.carryOutLocked(op)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.Op(), err)
	}
	if err := k.fail(n+1, op); err != nil {
		return nil, err
	}
	return made, nil
}

func (k *Kernel) carryOutLocked(op model.Operation) (model.Made, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.carryOut(op); err != nil {
		return nil, err
	}
	return k.snap.Here().Made(op), nil
}

// carryOut does an operation, and what the kernel does over it.
func (k *Kernel) carryOut(op model.Operation) error {
	apply := func() error { return k.snap.Apply(op) }
	if move, ok := op.(model.MoveRoutes); ok {
		apply = func() error { return k.moveRoutes(move) }
	}
	if err := k.alter(apply); err != nil {
		return err
	}
	switch op := op.(type) {
	case model.WaitUp:
		delete(k.shown, op.Link) // that long it takes
	case model.SolicitRouters:
		k.answerSolicitation(op.Link)
	}
	return nil
}

func (k *Kernel) fail(n int, op model.Operation) error {
	if k.Fail == nil {
		return nil
	}
	return k.Fail(n, op)
}

// Machines are the machines beside the kernel, in the same snapshot and with the same
// faults.
type Machines struct{ Kernel *Kernel }

// List lists the machines.
func (m Machines) List(context.Context) ([]model.Machine, error) {
	m.Kernel.mu.Lock()
	defer m.Kernel.mu.Unlock()
	return m.Kernel.snap.Clone().Machines, nil
}

// Do carries out an operation on a machine.
func (m Machines) Do(ctx context.Context, op model.Operation) error {
	_, err := m.Kernel.do(ctx, op)
	return err
}

// Services are what networks serve, in the same snapshot and with the same faults.
type Services struct{ Kernel *Kernel }

// List lists the services.
func (s Services) List(context.Context) ([]model.Service, error) {
	s.Kernel.mu.Lock()
	defer s.Kernel.mu.Unlock()
	return s.Kernel.snap.Clone().Services, nil
}

// Do carries out an operation on a service.
func (s Services) Do(ctx context.Context, op model.Operation) error {
	_, err := s.Kernel.do(ctx, op)
	return err
}

// sameAddress finds an address of a link again.
func sameAddress(ns *model.Namespace, link string, a netip.Addr) *model.Address {
	i := slices.IndexFunc(ns.Addresses, func(x model.Address) bool { return x.Link == link && x.Prefix.Addr() == a })
	if i < 0 {
		return nil
	}
	return &ns.Addresses[i]
}
