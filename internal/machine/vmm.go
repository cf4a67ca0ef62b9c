package machine

import (
	"context"
	"fmt"
	"io"

	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/namespace"
	"drawbridge/internal/machine/uml"
	"drawbridge/internal/model"
)

// The VMMs.
const (
	vmmUML       = "uml"
	vmmNamespace = "namespace"
)

// vmm is what a shim needs of a running machine.
type vmm interface {
	PID() int
	Console() io.ReadWriteCloser
	Agent() io.ReadWriteCloser
	// Booted frees what only the boot needed.
	Booted()
	// Plug gives the guest the NIC's device, Unplug takes it away again.
	Plug(ctx context.Context, nic model.NICConfig) error
	Unplug(ctx context.Context, nic string) error
	// Insist asks the VMM to end the machine when the guest's agent did not.
	Insist(ctx context.Context)
	Kill()
	Done() <-chan struct{}
	// Err tells how it ended, nil for a halt; after Done.
	Err() error
	// Close gives back what it had of the host; after Done.
	Close() error
}

// startVMM starts a machine in the working directory, on this locked thread.
func startVMM(ctx context.Context, k *kernel.Kernel, c shimConfig) (vmm, error) {
	// Never a nil pointer in a non-nil interface.
	switch c.Machine.VMM {
	case vmmUML:
		vm, err := uml.Start(ctx, c.Machine, c.Executable, c.Kept)
		if err != nil {
			return nil, err
		}
		return vm, nil
	case vmmNamespace:
		vm, err := namespace.Start(ctx, k, c.Machine, c.Executable)
		if err != nil {
			return nil, err
		}
		return vm, nil
	default:
		return nil, fmt.Errorf("vmm %q: %w (hint: uml or namespace)", c.Machine.VMM, model.ErrInvalid)
	}
}
