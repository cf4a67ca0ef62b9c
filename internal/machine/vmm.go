package machine

import (
	"context"
	"fmt"
	"io"

	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/namespace"
	"drawbridge/internal/machine/qemu"
	"drawbridge/internal/machine/uml"
	"drawbridge/internal/model"
)

// The VMMs.
const (
	vmmUML       = "uml"
	vmmQEMU      = "qemu"
	vmmNamespace = "namespace"
)

// vmm is what a shim needs of a running machine.
type vmm interface {
	PID() int
	Console() io.ReadWriteCloser
	// Agent is the channel to the guest's agent, nil where the guest is not ours.
	Agent() io.ReadWriteCloser
	// Booted frees what only the boot needed.
	Booted()
	// Plug gives the guest the NIC's device, Unplug takes it away again.
	Plug(ctx context.Context, nic model.NICConfig) error
	Unplug(ctx context.Context, nic string) error
	// Insist asks the VMM to end the machine when the guest's agent did not, and returns
	// when it has ended, or a little after ctx.
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
	case vmmQEMU:
		vm, err := qemu.Start(ctx, k, c.Machine, c.Executable, c.Kept)
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
		return nil, fmt.Errorf("vmm %q: %w (hint: uml, qemu or namespace)", c.Machine.VMM, model.ErrInvalid)
	}
}

// accelOf is what carries out a machine's instructions, "" where that is no question.
func accelOf(v vmm) string {
	if a, ok := v.(interface{ Accel() string }); ok {
		return a.Accel()
	}
	return ""
}
