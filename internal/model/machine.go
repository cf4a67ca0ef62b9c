package model

import (
	"net/netip"
	"strings"
)

// Machine is a virtual machine, or a process that plays one: a stack of its own.
type Machine struct {
	Name string `json:"name"`
	// VMM is uml, qemu, namespace, firecracker ..., or "process" where only the
	// holder of a tap is known.
	VMM string `json:"vmm"`
	// Accel is kvm or tcg, "" where that says nothing.
	Accel string `json:"accel,omitempty"`
	// State is one of the states below.
	State string       `json:"state"`
	PID   int          `json:"pid,omitempty"` // informational; nothing is named by it
	NICs  []MachineNIC `json:"nics,omitempty"`
	// Restarts is how often it was started again after it had ended by itself.
	Restarts int `json:"restarts,omitempty"`
	// Config is what it was started with; nil for a machine that is not ours.
	Config *MachineConfig `json:"config,omitempty"`
	// Inside is the guest's own namespace as its agent reports it; nil if unknown.
	Inside *Namespace `json:"inside,omitempty"`
}

// The states of a machine.
const (
	MachineStarting   = "starting"
	MachineRunning    = "running"
	MachinePaused     = "paused"
	MachineRestarting = "restarting" // it ended by itself, and waits to be started again
	MachineStopped    = "stopped"    // it halted by itself
	MachineFailed     = "failed"
)

// Lives tells whether somebody looks after the machine: it runs, is paused, or waits
// to be started again. One that does not live may be started anew.
func (m *Machine) Lives() bool {
	return m.State == MachineRunning || m.State == MachinePaused || m.State == MachineRestarting
}

// MachineName is the name that a virtual machine was started with, by its monitor's
// command line: QEMU's -name (a name, or a list with guest=NAME), UML's umid=, the --id of
// Firecracker, the --name of kvmtool. "" where there is none.
func MachineName(args []string) string {
	for i, a := range args {
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch {
		case a == "-name" || a == "--name":
			for n, field := range strings.Split(next, ",") {
				if guest, ok := strings.CutPrefix(field, "guest="); ok {
					return guest
				}
				if n == 0 && field != "" && !strings.Contains(field, "=") {
					return field
				}
			}
		case a == "--id":
			return next
		case strings.HasPrefix(a, "umid="):
			return a[len("umid="):]
		}
	}
	return ""
}

// NIC finds a NIC by name, nil if there is none.
func (m *Machine) NIC(name string) *MachineNIC {
	for i := range m.NICs {
		if m.NICs[i].Name == name {
			return &m.NICs[i]
		}
	}
	return nil
}

// MachineNIC is a NIC of a machine as it stands now.
type MachineNIC struct {
	Name string `json:"name"` // in the guest
	MAC  MAC    `json:"mac,omitempty"`
	// Link is the host's link that holds the other end of its cable: a tap, or the
	// host's half of a veth pair. Name "" when it has no cable.
	Link Ref `json:"link,omitzero"`
	// Transport is how the machine gets at the cable where its VMM has several ways:
	// "vector tap", "vector raw", "vector fd", "legacy tuntap".
	Transport string `json:"transport,omitempty"`
	// Declared: in the configuration only; the guest has no such device yet.
	Declared bool `json:"declared,omitempty"`
}

// TransportUsual is the transport that a picture need not tell.
const TransportUsual = "vector tap"

// MachineConfig is what a machine is started with.
type MachineConfig struct {
	Name string `json:"name"`
	VMM  string `json:"vmm"` // uml, qemu or namespace
	// Owner is the user whom the VMM runs as where it is started by root, nil for root
	// itself: the owner of its taps.
	Owner *uint32 `json:"owner,omitempty"`
	// Arch is the processor's kind, amd64 or arm64; "" for this host's.
	Arch string `json:"arch,omitempty"`
	// Accel is kvm or tcg; "" for the former where it is there.
	Accel string `json:"accel,omitempty"`
	CPUs  int    `json:"cpus,omitempty"` // 0 for one
	// Memory of the guest in bytes.
	Memory int64 `json:"memory,omitempty"`
	// Kernel is the path of the UML binary, "" for the one on PATH; of a QEMU's guest
	// kernel, "" for one of the host's.
	Kernel string `json:"kernel,omitempty"`
	// Root is embedded, hostfs:DIR or the path of an image.
	Root string `json:"root,omitempty"`
	// Writes is what becomes of what the guest writes to a root that is not embedded:
	// none (it is read-only), discard, keep or through.
	Writes string `json:"writes,omitempty"`
	// Restart is no, on-failure or always; "" is no.
	Restart string `json:"restart,omitempty"`
	// Args are added to the guest kernel's command line.
	Args []string `json:"args,omitempty"`
	// What an image's cloud-init is told, unless NoSeed: keys that may log in, and the
	// path of the user's own user-data in place of ours.
	SSHKeys  []string    `json:"ssh_keys,omitempty"`
	UserData string      `json:"user_data,omitempty"`
	NoSeed   bool        `json:"no_seed,omitempty"`
	NICs     []NICConfig `json:"nics,omitempty"`
}

// HasAgent tells whether an agent of ours in the guest answers the shim: what it has
// inside is then known, and its addresses can be changed while it runs.
func (c MachineConfig) HasAgent() bool {
	return c.VMM != "qemu" || c.Root == "" || c.Root == "embedded"
}

// NICConfig is a NIC as it is wanted.
type NICConfig struct {
	Name string `json:"name"` // in the guest, at most 15 bytes
	MAC  MAC    `json:"mac"`
	// Link is the host's end of the cable, "" for none: the NIC dangles.
	Link string `json:"link,omitempty"`
	// Transport is how the guest gets at it: tap (a tap), or veth (the other
	// half of a veth pair, PeerName(Link), for namespaces and UML's raw transport).
	Transport string `json:"transport,omitempty"`
	// DHCP asks for an address; IPv6 comes by RA where there is one.
	DHCP      bool           `json:"dhcp,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway   netip.Addr     `json:"gateway,omitzero"`
	// Gateway6 is IPv6's beside it, where no router advertises itself.
	Gateway6 netip.Addr `json:"gateway6,omitzero"`
}

// The transports of a NIC.
const (
	TransportTap  = "tap"
	TransportVeth = "veth"
)

// PeerName names the VM's half of a veth pair whose host's half is link: at most
// 15 bytes (IFNAMSIZ-1) like every link's name.
func PeerName(link string) string {
	const suffix = "-vm"
	if len(link)+len(suffix) > MaxNameLen {
		link = link[:MaxNameLen-len(suffix)]
	}
	return link + suffix
}

// MaxNameLen is the longest name of a link in bytes: IFNAMSIZ less the final NUL.
const MaxNameLen = 15
