// Package keeper is about what lasts only as long as a process of ours does, and is noted
// in the state folder: DHCP leases, and multicast groups ([Groups]).
//
// A lease is kept when its address has moved away from the client that asked for it: an
// address never runs out because of us. The client (dhclient, udhcpc, dhcpcd ...) sits on the uplink, and since the cutover the
// uplink is a port of the bridge: the client may no longer hear its server, and knows
// nothing of the bridge. So a small process of ours renews the lease on the bridge, under
// the same identity (client identifier, MAC address, host name) and thus the same lease,
// until the address leaves the bridge again.
//
// In: a [Lease], found and tried out before the cutover ([Find], [Try]). Out: lifetimes set
// on the address, and a [State] in a file. It imports no netlink: its kernel is a small
// interface.
package keeper
