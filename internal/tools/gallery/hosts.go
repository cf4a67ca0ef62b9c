package main

// host is a picture of the gallery.
type host struct {
	name   string // of its files
	bundle string // in bundles/, "" for NAME with any ending
	title  string
	text   string // what is to be seen, a sentence or two
	source string // where its bundle comes from, after "Captured"; "" for built by capture/hosts/NAME.sh
	expand []string
	focus  string
}

// built says where most bundles come from.
const built = "in a virtual machine with Debian 12's kernel, in which [capture/hosts/%[1]s.sh](capture/hosts/%[1]s.sh) builds the host"

// hosts are all pictures, in the order of the page.
var hosts = []host{
	{name: "docker", title: "A Docker host with two compose networks",
		text: "Two projects with networks of their own behind NAT; the container api is in two of them."},
	{name: "proxmox", title: "A Proxmox-like host: a bond, a VLAN-aware bridge, 12 VMs",
		text: "The bond's standby member, the VLANs of each port, and the host's own address in VLAN 10.", expand: []string{"vmbr0"}},
	{name: "libvirt", title: "A libvirt host: NAT and bridged",
		text: "libvirt's default network behind NAT with its own DHCP, and a bridge on the LAN; gateway is in both."},
	{name: "kubernetes", title: "A Kubernetes node with 40 pods",
		text: "The CNI plugin's bridge with a veth for each pod, folded into one counted group."},
	{name: "kubernetes-open", bundle: "kubernetes", title: "The same node, its pods listed",
		text: "--expand cni0 opens the group.", expand: []string{"cni0"}},
	{name: "router", title: "A router with VLANs and wireguard",
		text: "Three VLANs on one trunk, masqueraded behind the uplink; two peers by wireguard."},
	{name: "laptop", title: "A laptop on Wi-Fi",
		text: "An address by DHCP on the radio, a VPN's tun that nobody holds."},
	{name: "vxlan", title: "Two hosts joined by vxlan",
		text: "Their bridges are one Ethernet across the LAN between them."},
	{name: "thousand-taps", title: "A host with 1,000 taps",
		text: "Folded into one group that tells its numbers."},
	{name: "thousand-taps-open", bundle: "thousand-taps", title: "The same 1,000 taps, listed",
		text: "--expand br0 opens the group: each tap with its state and its VM.", expand: []string{"br0"}},
	{name: "lxc", title: "An LXC host",
		text: "Three containers on lxcbr0 behind NAT, one on the LAN by macvlan."},
	{name: "macvlan", title: "Containers without a bridge: macvlan and macvtap",
		text: "The wire end of each is in the host's eth0, across namespaces."},
	{name: "ipvlan", title: "ipvlan in its three modes",
		text: "Over a NIC and over VLANs of it, each in a namespace."},
	{name: "openvswitch", title: "Open vSwitch",
		text: "Its ports and its internal ports on the one datapath that the kernel knows of."},
	{name: "vrf", title: "Two customers kept apart by VRFs",
		text: "Each VRF is a stack inside the stack, with routes of its own."},
	{name: "team", title: "A team, a bond that balances, and a bridge on top",
		text: "The team's one active member carries the bridge and its VM."},
	{name: "tunnels", title: "Every kind of tunnel, and kinds that lead nowhere",
		text: "gre, ipip, sit, geneve, vxlan with a group, dummies, and kinds that are drawn as themselves."},
	{name: "loop", title: "A mistake: a bridge over a veth pair to itself",
		text: "And names that are hard to write: markup, Japanese, Hebrew, emoji."},
}
