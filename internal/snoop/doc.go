// Package snoop hears who uses which address on an Ethernet: ARP, neighbour discovery,
// router advertisements and what DHCP servers say.
//
// In: frames, from a packet socket on a link that a filter in the kernel keeps everything
// else from. Out: sightings. It sends nothing, and changes nothing but the link's
// promiscuous count for as long as it listens.
package snoop
