// Package booted boots this machine's own files as a host of its own, in namespaces:
// systemd as PID 1, a D-Bus, and whatever network manager is asked for, the real one.
//
// In: a network namespace that the host is to have, packages to lay over the machine's
// files, units to start. Out: a [Host] that runs commands, reboots, and leaves nothing
// behind. Over the machine's files is an overlay; /run, /tmp, /dev and the processes are
// the host's own; of the kernel's settings it may write those of its network namespace
// only. So a manager can be tried that this machine must never run.
//
// It is for tests and benchmarks, and for `drawbridge persist verify`, which tries the next
// boot of the host that it is run on (docs/decisions/0042). The work of the
// mounts is in boot.sh, to be read like an exercise. It imports the standard library only.
package booted
