package doctor

// Checks are all checks, in the order in which findings of one severity are told.
func Checks() []Check {
	return []Check{
		interrupted,
		// The host's own way.
		misplacedAddress, portRoute, bridgeMAC, rpFilter, routerAdvert, leaseUnrenewed, addressDuplicate,
		// The bridges.
		bridgeDown, bridgeLoop, uplinkDown, portBlocked, spanningTree, bridgeFilter, mtu, bridgeFull, multicastQuerier,
		// The machines.
		rulesLost, forwardingOff, forwardBlocked, wayElsewhere, subnetTaken, machineDead, serviceDead, serviceTrouble, tapUnheld, tapShared, tapShape, tapOffload, macDuplicate, dhcpServers,
		// What is beyond the host.
		wifi, switchSTP, hypervisor, macvtapHost,
		// Others on this machine, and its limits.
		managerTakesBack, notPersisted, firewallPort, neighbourTable, conntrack,
	}
}
