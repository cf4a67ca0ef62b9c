// Package dhcp4 is a DHCPv4 server (RFC 2131) for one network of this host.
//
// In: what to give away, as model.DHCP4Config, and sockets that somebody with the right
// to has opened ([Open]). Out: answers, and leases ([lease.Table]) on disk.
//
// It hears and speaks on packet sockets: a host's firewall that drops what comes in does
// not know of the networks that it cuts off, and a client without an address can be
// answered at its MAC address instead of waking every VM. Before an address is given that
// its client did not have just now, it is asked for by ARP: whoever answers keeps it.
//
// Nothing is answered before it is on disk, where the disk takes it; many answers share
// one write. A full disk does not stop it: a server that no longer serves would be worse
// than one that, killed in that hour, has to ask by ARP again.
package dhcp4
