// Package machine gives virtual machines their lives: start, stop, plug, unplug,
// configure, list, console.
//
// In: a model.Operation on a machine. Out: the machine, or an error that wraps one of
// the model's and, where a boot failed, holds the last lines of the console.
//
// Each machine has a folder below the manager's and a process of its own, the shim
// ([RunShim], the hidden command machine-shim), in a session of its own: it outlives
// the command and the login that started it. The shim starts the VMM, keeps its
// console's log, talks to the guest's agent, and answers on a unix socket. The VMM
// ends with it. A lock that the shim holds on its folder tells whether it lives; no
// process id is ever trusted for that.
//
//	machines/web/config.json   what it runs with
//	             lock          held by the shim while it lives
//	             sock          the shim's socket
//	             console.log   bounded
//	             exit.json     why it ended, where nobody asked it to
//	             uml/ initrd   UML's own; initrd and seed.iso are a QEMU's
//
// Below: uml, qemu and namespace (VMMs), guest (what runs inside), initrd (what a UML and
// a QEMU boot it from), agent (the talk with it), procs (processes that end together).
// It may import model and kernel.
package machine
