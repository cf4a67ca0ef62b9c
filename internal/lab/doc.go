// Package lab is the laboratory: a pretend LAN with a pretend host in it, made of
// network namespaces, in which everything that this program does can be run without
// risk and without rights.
//
// In: [Options] (a name, lease times). Out: a running [Lab], and a [Client] to run
// commands in its namespaces, pull the host's uplink out and plug it in again.
//
//	lan        the switch: a bridge, one port for each cable
//	router     198.18.0.1/24 and 2001:db8::1/64: DHCP server, router advertisements,
//	           and the way to a second subnet
//	far        198.18.1.2/24 and 2001:db8:1::2/64 in that second subnet, with a web page
//	neighbour  198.18.0.20/24 and 2001:db8::20/64
//	host       198.18.0.5/24 and 2001:db8::5/64 on eth0: the machine to work on
//
// How it lives, from the outside in:
//
//   - The keeper is the process that called [Start]. It holds the control socket,
//     judges who may connect (only out here user ids mean what they say), and hands
//     the connections in. When it dies the supervisor is killed (PR_SET_PDEATHSIG).
//   - The supervisor is PID 1 of a PID namespace with mount, network and UTS
//     namespaces of its own, and a user namespace where the caller has no rights.
//     When it ends, the kernel ends everything in the lab: pid_namespaces(7).
//   - A command is started by the supervisor through a short re-exec that enters the
//     network namespace and then becomes the command.
//
// So nothing is left of a lab after "lab down", Ctrl-C, or a kill -9 of either, and
// two labs, or a lab and the machine's own "ip netns" names, cannot collide: the
// names are in a /run of the lab's own.
//
// It may use x/sys/unix for processes, mounts and descriptors; links, addresses and
// routes it makes through internal/kernel alone. It never touches the namespaces or
// interfaces that it was started in.
package lab
