// Package uml runs a User-Mode Linux with the guest of internal/machine/guest.
//
// In: a model.MachineConfig, and the machine's folder as the working directory (UML's
// and mconsole's sockets are named relative to it: a unix socket's path has 108 bytes
// only). Out: a [VM]: its processes, its console, its agent's channel; NICs that come
// and go by mconsole.
//
// UML is several processes. They get a PID namespace where that is permitted, so that
// all of them end with the first; see [Start].
//
// It imports model, machine/guest (for the initrd) and machine/procs; it speaks no netlink.
package uml
