// Package manager tells who sees to the links of a host beside this program: which network
// manager holds the uplink and every other link, how that is known, and what it would do
// to a link whose place in the network changes.
//
// In: a snapshot's namespace, and the small interfaces of a [System]: the file system, the
// system's D-Bus, the processes. Out: a model.Manager for each link and manager. It asks,
// and reads; it changes nothing, starts nothing (a manager that does not run is not
// activated by the question), and waits for nobody longer than [AskTime].
//
// Surest is a manager's own word: NetworkManager and systemd-networkd are asked. The others
// are known by what they keep: ifupdown's state, netplan's and cloud-init's names of files,
// a DHCP client's arguments and sockets. A program that nobody knows is told by the name of
// its process when it has a DHCP client's socket.
package manager
