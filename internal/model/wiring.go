package model

import (
	"net/netip"
	"slices"
)

// WiringVersion is the version of the wiring's JSON form. It rises when a reader
// of the old form would misread the new one; new fields alone do not raise it.
const WiringVersion = 1

// Wiring is the one idea of this program: stacks, segments, and interfaces with
// two ends. Ids are made of names, so that the same thing has the same id tomorrow.
type Wiring struct {
	Version    int         `json:"version"`
	Stacks     []Stack     `json:"stacks"`
	Segments   []Segment   `json:"segments"`
	Interfaces []Interface `json:"interfaces"`
}

// Stack owns addresses and routes: the host, a VM, a namespace.
type Stack struct {
	// ID is "host", "netns:NAME", "vm:NAME" or "vrf:NAME".
	ID   string `json:"id"`
	Name string `json:"name"`
	// Kind is host, namespace, uml, qemu, firecracker, container, process or vrf.
	Kind string `json:"kind"`
	// Parent is the stack that this one is a part of (a VRF's host), "" for none.
	Parent string `json:"parent,omitempty"`
	System string `json:"system,omitempty"`
	// Forwards tells whether it routes between its interfaces; with addresses on one only it
	// does not.
	Forwards bool   `json:"forwards"`
	Change   Change `json:"change,omitempty"`
}

// Segment is one Ethernet broadcast domain.
type Segment struct {
	// ID is "lan:UPLINK", "bridge:NAME" or "cable:LINK"; in other namespaces
	// "bridge:NAMESPACE/NAME".
	ID string `json:"id"`
	// Name is what a reader calls it: a subnet, a bridge's name.
	Name string `json:"name,omitempty"`
	// Kind is lan, bridge or cable.
	Kind string `json:"kind"`
	// Stack is the stack whose box a bridge's segment runs through, "" for others.
	Stack   string         `json:"stack,omitempty"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	Gateway netip.Addr     `json:"gateway,omitzero"`
	// DHCP is the server that an address in it was leased by.
	DHCP netip.Addr `json:"dhcp,omitzero"`
	VLAN uint16     `json:"vlan,omitempty"`
	// Behind tells how a bridge's segment with no gateway of its own reaches further by the
	// stack: nat (with the stack's address), routed, or "" where it does not.
	Behind string `json:"behind,omitempty"`
	// VLANAware bridges keep VLANs apart; each port then tells its own.
	VLANAware bool   `json:"vlan_aware,omitempty"`
	Change    Change `json:"change,omitempty"`
}

// Interface is a pipe with two ends.
type Interface struct {
	// ID is STACK/NAME: "host/eth0", "vm:web/eth1". STACK is the stack whose kernel
	// has it, also while its host end is in a bridge or a VRF.
	ID      string `json:"id"`
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	Stack   string `json:"stack"`
	MAC     MAC    `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"`
	Up      bool   `json:"up"`
	Carrier bool   `json:"carrier"`
	HostEnd End    `json:"host_end"`
	WireEnd End    `json:"wire_end"`
	// Addresses next to its host end; those of a port are misplaced.
	Addresses []WiredAddress `json:"addresses,omitempty"`
	// Roles are what the stack does for others at its host end.
	Roles
	// Owner is who may open a tap, "" for root alone.
	Owner string `json:"owner,omitempty"`
	// Security tells what the wire end may send: strict, mac or limited ("" for anything),
	// altered where somebody changed the rules, and isolated from other ports that are. guarded:
	// anything, but not to the bridge itself. closed: a bridge's own interface, by which
	// nothing goes to the host or from it.
	Security string `json:"security,omitempty"`
	// Managers tells which programs beside drawbridge see to it, "" for none; those in
	// parentheses were told to leave it alone.
	Managers string `json:"managers,omitempty"`
	// Findings are what a doctor has found wrong with it: "broken: bridge-stp".
	Findings []string `json:"findings,omitempty"`
	// Detail is what its kind adds: "vlan 7", "macvlan bridge", "vni 42 to 198.18.0.9".
	Detail string `json:"detail,omitempty"`
	// VLANs of a port of a VLAN-aware bridge.
	VLANs []PortVLAN `json:"vlans,omitempty"`
	// Standby: a member of a bond or team that carries nothing while another does.
	Standby bool `json:"standby,omitempty"`
	// HolderUnknown: a tap that some process holds which may not be looked at.
	HolderUnknown bool `json:"holder_unknown,omitempty"`
	// Declared: wanted by the configuration, not yet a device in the guest.
	Declared bool   `json:"declared,omitempty"`
	Change   Change `json:"change,omitempty"`
}

// TellingAddresses leaves out the link-local addresses: the kernel gives one to every
// interface, so they tell a reader nothing about this one.
func (i Interface) TellingAddresses() []WiredAddress {
	return slices.DeleteFunc(slices.Clone(i.Addresses), func(a WiredAddress) bool { return a.Origin == LinkLocal })
}

// Where an end can be.
const (
	InStack     = "stack"
	InSegment   = "segment"
	InInterface = "interface"
	InTunnel    = "tunnel"
	InNothing   = "nothing" // dangling: a wire end, or the host end of a bridge that the host is not on
)

// End says what an end of an interface is plugged into.
type End struct {
	In string `json:"in"`
	// ID of the stack, segment or interface; the far address of a tunnel; "" for nothing.
	ID string `json:"id,omitempty"`
}

// Plugged tells whether the end is in anything.
func (e End) Plugged() bool { return e.In != InNothing && e.In != "" }

// WiredAddress is an address as a reader wants it.
type WiredAddress struct {
	Address netip.Prefix `json:"address"`
	Origin  Origin       `json:"origin"`
	// Status is ok, tentative, deprecated, or misplaced: on a port, where Linux
	// keeps it as a local address while its routes and answers go astray.
	Status string `json:"status"`
	Change Change `json:"change,omitempty"`
}

// Change marks what is new, gone or altered between two wirings; "" for unchanged.
type Change string

// The changes.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Altered Change = "altered"
)

// Stack finds a stack by id, nil if there is none.
func (w *Wiring) Stack(id string) *Stack {
	return find(w.Stacks, id, func(s Stack) string { return s.ID })
}

// Segment finds a segment by id, nil if there is none.
func (w *Wiring) Segment(id string) *Segment {
	return find(w.Segments, id, func(s Segment) string { return s.ID })
}

// Interface finds an interface by id, nil if there is none.
func (w *Wiring) Interface(id string) *Interface {
	return find(w.Interfaces, id, func(i Interface) string { return i.ID })
}

func find[T any](list []T, id string, key func(T) string) *T {
	for i := range list {
		if key(list[i]) == id {
			return &list[i]
		}
	}
	return nil
}
