// Package qemu runs a QEMU: with the guest of internal/machine/guest on a kernel of the
// host's distribution, or with whatever system a disk image holds.
//
// In: a model.MachineConfig, and the machine's folder as the working directory. Out: a
// [VM]: its process, its console, its agent's channel where it has one; NICs that come
// and go by QMP.
//
// The QEMU is given everything by descriptor: its taps (opened here, so that it needs
// neither rights nor a helper), its console, its monitor. So there is no socket's path
// that somebody else could connect to, and nothing of it stays in the file system. It
// runs as the owner of its taps where the shim is root.
//
// It imports model, kernel (to open taps), machine/guest, machine/initrd and
// machine/procs.
package qemu
