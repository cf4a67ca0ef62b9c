// Package relay makes the machines behind one link hosts of a LAN that is behind another,
// through an uplink that takes frames of its own MAC address only: it relays their DHCP and
// the LAN's router advertisements, learns the addresses that they take, asks the LAN first
// whether it has them, and answers neighbour solicitations for everything that is not
// behind the link.
//
// In: packet sockets on both links, opened by somebody with the right to, and what is known
// of the host ([Facts]). Out: frames, and the addresses that were learned; who has the
// rights routes them. It has none itself, and reads nothing but frames.
package relay
