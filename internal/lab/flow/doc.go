// Package flow measures what a change of a network does to the traffic through it:
// a steady 1,000 probes a second, and what became of each.
//
// In: a [Target] for each flow (a namespace to speak from, an address where [Serve]
// answers), and a context for how long. Out: a [Result] for each flow: sent, lost, the
// longest silence in milliseconds, as data. [Standard] are the four flows that this
// program judges a cutover by: IPv4 on the link, IPv4 and IPv6 through a router, and a
// TCP connection.
//
// It changes nothing on any link, and prints nothing. It is told how to open a socket
// in a namespace, and does not enter one by itself.
package flow
