package doctor

import (
	"net/netip"
	"strconv"
	"strings"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
)

// Fact is a kind of knowledge beside the snapshot, in words.
type Fact string

// The facts.
const (
	FactFirewall   Fact = "the firewall's rules"
	FactProcesses  Fact = "the processes"
	FactManagers   Fact = "the network managers"
	FactOwned      Fact = "what drawbridge did here"
	FactOffloads   Fact = "the offloads of taps"
	FactNeighbours Fact = "the limits of the neighbour tables"
	FactConntrack  Fact = "the connection tracking table"
	FactCounters   Fact = "the counters of the stack"
	FactQueriers   Fact = "the multicast queriers"
	FactHeard      Fact = "what is on the wire (--listen 5s)"
	FactSwitch     Fact = "what the switch says (--listen 35s)"
	FactPersisted  Fact = "what is kept for the next boot"
	FactWays       Fact = "where the kernel sends what comes from machines"
)

// Facts are what checks need beside the snapshot. A fact that could not be had is named in
// Unknown, with the reason.
type Facts struct {
	Unknown map[Fact]string

	// Owned is what earlier runs of drawbridge made or altered here.
	Owned plan.Owned
	// Interrupted: a crash left a change half done.
	Interrupted bool
	// Leases are what keepers of ours renew.
	Leases []Lease
	// Clients are the DHCP clients that run, by the link that they see to.
	Clients   map[string][]string
	Processes []manager.Process
	Firewall  preflight.Firewall
	// Offloads of taps: true for one that is given packets without a checksum.
	Offloads   map[string]bool
	Neighbours []model.NeighbourTable
	Conntrack  *Conntrack
	// Counters are of /proc/net/netstat and snmp, by "TcpExt IPReversePathFilter".
	Counters map[string]uint64
	// Queriers of multicast by bridge: the other one that the kernel has heard.
	Queriers map[string]netip.Addr
	// Heard is what --listen heard on the bridges, Switch what the switch said on uplinks.
	Heard  []Heard
	Switch []preflight.Heard
	// Ways are those that machines' packets take, a network and family each.
	Ways []Way
	// Persisted tells where the network is written for the next boot, "" for nowhere.
	Persisted string
}

// Lease is a DHCP lease that a keeper of ours renews.
type Lease struct {
	Link    string
	Address netip.Prefix
	// Alive: its keeper runs. Failing says why it could not renew it last; Refused, that the
	// server does not grant the address any more.
	Alive   bool
	Failing string
	Refused bool
}

// Conntrack is the table of tracked connections.
type Conntrack struct{ Count, Max uint64 }

// Heard is a sighting on a bridge.
type Heard struct {
	Bridge  string
	Address netip.Addr
	MAC     model.MAC
	By      string // as of internal/snoop
}

// ParseCounters reads the pairs of lines of /proc/net/netstat and /proc/net/snmp: names,
// then values, each behind the name of the protocol.
func ParseCounters(text string) map[string]uint64 {
	out := map[string]uint64{}
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(names) != len(words) || names[0] != words[0] {
			names = words
			continue
		}
		for i := 1; i < len(words); i++ {
			if v, err := strconv.ParseUint(words[i], 10, 64); err == nil {
				out[strings.TrimSuffix(words[0], ":")+" "+names[i]] = v
			}
		}
		names = nil
	}
	return out
}

// FromAfar is what is not known of a host that only a snapshot tells of.
func FromAfar() map[Fact]string {
	out := map[Fact]string{}
	for _, f := range []Fact{FactFirewall, FactProcesses, FactManagers, FactOwned, FactOffloads, FactNeighbours, FactConntrack, FactCounters, FactQueriers, FactHeard, FactSwitch, FactPersisted, FactWays} {
		out[f] = "a snapshot from afar does not tell"
	}
	return out
}
