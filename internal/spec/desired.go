package spec

import (
	"net/netip"
	"time"

	"drawbridge/internal/model"
)

// Desired is what a file asks for. Each list is sorted by name, as
// model.NaturalCompare orders names.
type Desired struct {
	Networks []Network
	Machines []Machine
	Taps     []Tap
	Probes   []Probe
	// Heal: what others change is mended while somebody watches.
	Heal bool
}

// The modes of a network.
const (
	Bridged  = "bridged"
	HostOnly = "host-only"
	NAT      = "nat"
	Isolated = "isolated"
	Routed   = "routed"
	AutoMode = "auto" // bridged, or routed where that cannot be
)

// Network is one Ethernet of the host's: a bridge, with an uplink or without.
type Network struct {
	Name string
	// Mode is one of the modes above.
	Mode string
	// Bridge is the link's name; where the file gives none, br0, br1 ... in the
	// order of the file, whichever is free in it.
	Bridge string
	// Uplink is [Auto] or a link's name; "" for host-only. It is plugged into the bridge of
	// a bridged network, and routed by for a routed one.
	Uplink string
	Host   HostAddressing
	// Subnet is masked, and invalid where the file gives none.
	Subnet netip.Prefix
	// NAT is set for a network of that mode.
	NAT *Hidden
	Pos Pos
}

// Hidden is what is known of a network of [NAT] beside its subnet.
type Hidden struct {
	// Subnet6 is IPv6's, invalid where the file gives none; NoIPv6 says that there shall be
	// none.
	Subnet6 netip.Prefix
	NoIPv6  bool
	// First and Last are what the DHCP server gives; invalid where the file gives none.
	// NoDHCP: nothing is served.
	First, Last netip.Addr
	NoDHCP      bool
	// Zone is the domain of the machines' names, "" for one of the network's name.
	Zone string
	// DNS are the name servers that are asked for other names; none: the host's own. NoDNS:
	// no names are served.
	DNS   []netip.Addr
	NoDNS bool
}

// OnLAN tells whether the machines of a network have addresses of the uplink's LAN.
func (n Network) OnLAN() bool {
	return n.Mode == Bridged || n.Mode == AutoMode || n.Mode == Routed && !n.Subnet.IsValid() && n.Host.Mode != HostList
}

// Auto as an uplink means the device of the default route.
const Auto = "auto"

// The ways in which the host has addresses on a network.
const (
	HostMove = "move" // the uplink's addresses and routes go to the bridge
	HostNone = "none" // the host is not to be reached there
	HostList = "list" // those of HostAddressing.Addresses
)

// HostAddressing says which addresses the host has on a network's bridge.
type HostAddressing struct {
	// Mode is [HostMove], [HostNone] or [HostList].
	Mode string
	// Addresses with their prefix lengths, not masked, in the file's order.
	Addresses []netip.Prefix
}

// The virtual machine monitors.
const (
	UML           = "uml"
	QEMU          = "qemu"
	NamespaceKind = "namespace"
)

// RootEmbedded as a machine's root means the guest inside this binary.
const RootEmbedded = "embedded"

// What becomes of a guest's writes to its root.
const (
	WritesNone    = "none"
	WritesDiscard = "discard"
	WritesKeep    = "keep"
	WritesThrough = "through"
)

// HostfsPrefix begins a root that is a folder of the host.
const HostfsPrefix = "hostfs:"

// When a machine that ended by itself is started again.
const (
	RestartNo        = "no"
	RestartOnFailure = "on-failure"
	RestartAlways    = "always"
)

// Machine is a virtual machine that this program starts.
type Machine struct {
	Name string
	// VMM is [UML], [QEMU] or [NamespaceKind].
	VMM string
	// Memory of the guest in bytes; 0 for a namespace, which has none of its own.
	Memory int64
	// CPUs, Arch (amd64, arm64, "" for this host's) and Accel (kvm, tcg, "" for the former
	// where it is there) are a QEMU's.
	CPUs  int
	Arch  string
	Accel string
	// Kernel is the path of the UML binary, "" for the one on PATH; of a QEMU's kernel, ""
	// for one of the host's.
	Kernel string
	// Root is [RootEmbedded], [HostfsPrefix] with a folder, or the path of an image.
	Root string
	// Writes is one of the Writes constants, "" for the embedded root, which has no use for it.
	Writes string
	// Restart is one of the Restart constants.
	Restart string
	// Args are added to the guest kernel's command line.
	Args []string
	// SSHKeys are keys, or paths of files with one, and UserData is a path: what a QEMU's
	// image is told by cloud-init, unless NoSeed.
	SSHKeys  []string
	UserData string
	NoSeed   bool
	NICs     []NIC
	Pos      Pos
}

// NIC is a network card of a machine, and the host's end of its cable.
type NIC struct {
	Name string // in the guest
	// Network is the network that the tap is plugged into, "" for a plain tap.
	Network string
	// Tap is the host's end of the cable; see [DefaultTap].
	Tap string
	// Owner is the user who may open the tap, by name or number; "" for nobody
	// but who has CAP_NET_ADMIN.
	Owner string
	// MAC is "" where the file gives none: one is chosen that is stable and unique.
	MAC  model.MAC
	DHCP bool
	// Addresses with their prefix lengths, not masked, in the file's order.
	Addresses []netip.Prefix
	Gateway   netip.Addr
	// Host are the host's addresses on the tap itself: host-only on a plain tap.
	Host []netip.Prefix
	// Publish are ports of the host that lead to this NIC's.
	Publish []Publish
	// Cabled is false for a NIC that is declared only: its tap is there, and both dangle.
	Cabled   bool
	Security Security
	Pos      Pos
}

// Tap is a tap for a VM that something else starts.
type Tap struct {
	Name    string
	Network string // "" for a plain tap
	Owner   string
	Group   string
	Host    []netip.Prefix
	// MAC, DHCP and Addresses are the VM's, as its security wants to know them; MAC is
	// "" where the file gives none.
	MAC       model.MAC
	DHCP      bool
	Addresses []netip.Prefix
	Security  Security
	Pos       Pos
}

// The kinds of a probe.
const (
	ProbePing    = "ping"    // an address or name answers an ICMP echo
	ProbeTCP     = "tcp"     // a connection to host:port is accepted
	ProbeHTTP    = "http"    // a URL is answered with a status below 400
	ProbeCommand = "command" // a shell command ends with status 0
)

// DefaultProbeTimeout is how long one try may take where the file says nothing.
const DefaultProbeTimeout = 3 * time.Second

// Probe is asked before and after a change; what answered before must answer after.
type Probe struct {
	Name string
	// Kind is [ProbePing], [ProbeTCP], [ProbeHTTP] or [ProbeCommand].
	Kind string
	// Target is the address or name, host:port, URL or command line.
	Target  string
	Timeout time.Duration
	Pos     Pos
}

// Pos is a place in the file. Both count from 1; a column is a character, not a byte.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

func (p Pos) before(q Pos) bool {
	return p.Line < q.Line || p.Line == q.Line && p.Column < q.Column
}

// Network finds a network by name, nil if there is none.
func (d *Desired) Network(name string) *Network {
	for i := range d.Networks {
		if d.Networks[i].Name == name {
			return &d.Networks[i]
		}
	}
	return nil
}

// Machine finds a machine by name, nil if there is none.
func (d *Desired) Machine(name string) *Machine {
	for i := range d.Machines {
		if d.Machines[i].Name == name {
			return &d.Machines[i]
		}
	}
	return nil
}
