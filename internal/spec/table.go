package spec

import "drawbridge/internal/model"

// securityWords are the levels of a port's security.
var securityWords = []word{
	{model.SecurityStrict, "Frames from its own MAC address and its own IPv4 and IPv6 addresses, ARP and neighbour discovery that tells the truth; nothing of a DHCP server, a router or a switch, no VLAN tags, no other protocols. Where its IPv4 address comes by DHCP, it is the one that was seen to be given; IPv6 addresses that come by router advertisement are not checked, but for being a router's.", false},
	{model.SecurityMAC, "Frames from its own MAC address, whatever is in them, but nothing of a switch.", false},
	{model.SecurityOff, "Anything.", false},
}

var allowWords = []word{
	{model.AllowDHCPServer, "It is a DHCP server.", false},
	{model.AllowRouter, "It is a router: it advertises itself, and sends packets of others.", false},
	{model.AllowSTP, "It is a switch: it sends spanning tree's frames.", false},
	{model.AllowVLAN, "It sends frames with VLAN tags. Of those only the MAC address is checked.", false},
}

// root is the file. It is the one source of truth about its keys.
var root = object{
	name: "file", what: "the file",
	doc: "What is wanted of this host's network: Ethernets, virtual machines on them, and taps for other people's virtual machines. Keys that begin with x- are left alone: a place for YAML anchors.",
	keys: []key{
		{name: "networks", kind: kindTable, entry: &networkObject, names: nameOfNetwork, instead: []string{"network", "bridges", "lans"},
			doc: "The Ethernets of this host, by a name of your choice.", examples: []string{"{lan: {mode: bridged}}"}},
		{name: "machines", kind: kindTable, entry: &machineObject, names: nameOfMachine, instead: []string{"machine", "vms", "guests", "domains", "hosts"},
			doc: "Virtual machines that drawbridge starts, by name. The name is the guest's host name too.", examples: []string{"{web: {nics: {eth1: {network: lan}}}}"}},
		{name: "taps", kind: kindTable, entry: &tapObject, names: nameOfLink, instead: []string{"tap", "tuntap", "interfaces"},
			doc: "Taps for virtual machines that something else starts, by the link's name.", examples: []string{"{tap7: {network: lan, owner: alice}}"}},
		{name: "probes", kind: kindTable, entry: &probeObject, names: nameOfNetwork, instead: []string{"probe", "checks", "check", "healthcheck"},
			doc:      "What must still be reachable after a change, by a name of your choice, beside what is asked anyway: gateways, name servers and open connections. What does not answer before a change is not required after it; what answered before and no longer does rolls the change back.",
			examples: []string{"{gateway: {ping: 198.18.0.1}}"}},
		{name: "heal", kind: kindAny, notYet: "how the daemon mends what others change",
			doc: "How the daemon mends what others change."},
	},
}

var networkObject = object{
	name: "network", what: "a network", doc: "One Ethernet of this host: a bridge, with an uplink to a LAN or without.",
	keys: []key{
		{name: "mode", kind: kindWord, def: Bridged, instead: []string{"type", "kind"},
			doc: "How the network meets the rest of the world.",
			words: []word{
				{Bridged, "The uplink is a port of the bridge: machines are genuine hosts of its LAN.", false},
				{HostOnly, "A bridge without an uplink: machines reach the host and one another.", false},
				{"routed", "The host routes between the LAN and the machines' own subnet.", true},
				{"nat", "Machines reach the LAN with the host's address.", true},
				{"isolated", "Machines reach one another only.", true},
			}},
		{name: "bridge", kind: kindLink, def: "br0, br1 ... in the order of the file", instead: []string{"name", "br", "device"},
			doc: "The name of the bridge.", examples: []string{"br0"}},
		{name: "uplink", kind: kindLink, def: Auto, instead: []string{"interface", "nic", "port", "ports", "parent", "dev"},
			doc:   "The host's own interface that is plugged into the bridge. For mode: bridged.",
			words: []word{{Auto, "The device of the default route.", false}}, examples: []string{"eth0"}},
		{name: "host", kind: kindPrefixes, def: "move for mode: bridged; the subnet's first address for mode: host-only", instead: []string{"address", "addresses", "ip"},
			doc: "The host's own addresses on this network: a word, an address with its prefix length, or a list of them.",
			words: []word{
				{HostMove, "The uplink's addresses and routes go to the bridge.", false},
				{HostNone, "The host is not to be reached on this network.", false},
				{"dhcp", "The bridge asks the LAN's DHCP server.", true},
			}, examples: []string{"[198.18.0.5/24]"}},
		{name: "subnet", kind: kindSubnet, instead: []string{"cidr", "prefix"},
			doc: "The network's addresses; the host is the first of them. For mode: host-only.", examples: []string{"198.18.7.0/24"}},
		{name: "publish", kind: kindAny, notYet: "ports of machines that the LAN reaches at the host's address",
			doc: "Ports of machines that the LAN reaches at the host's address."},
	},
}

var machineObject = object{
	name: "machine", what: "a machine", doc: "A virtual machine that drawbridge starts and stops.",
	keys: []key{
		{name: "count", kind: kindCount, instead: []string{"number", "replicas", "instances", "copies", "scale"},
			doc: "How many machines of this kind: web1, web2 and so on, or as a %d in the name says. Each has taps and MAC addresses of its own, which stay the same when the count changes; given addresses count up from the first machine's.", examples: []string{"20"}},
		{name: "vmm", kind: kindWord, def: UML, instead: []string{"type", "hypervisor", "kind", "backend"},
			doc: "What runs the machine.",
			words: []word{
				{UML, "User-Mode Linux: a Linux kernel as a process, without root and without KVM.", false},
				{NamespaceKind, "The same guest in a network namespace of its own: no kernel of its own, starts in milliseconds.", false},
				{QEMU, "QEMU: a whole computer, with KVM where there is one. The same guest on one of the host's kernels, or the system of a disk image. docs/qemu.md.", false},
			}},
		{name: "memory", kind: kindSize, def: "64M, 256M with a root that is not embedded; vmm: qemu 128M and 512M", instead: []string{"mem", "ram", "size"},
			doc: "The guest's memory: a number with K, M or G (of 1024), or bytes. At least 32M; with vmm: uml 48M is the least that is comfortable.", examples: []string{"64M", "1G"}},
		{name: "cpus", kind: kindCount, def: "1", instead: []string{"cpu", "vcpus", "vcpu", "smp", "cores", "processors"},
			doc: "How many processors the guest has; its taps have a queue for each. For vmm: qemu.", examples: []string{"2"}},
		{name: "accel", kind: kindWord, def: Auto, instead: []string{"acceleration", "accelerator", "kvm", "virt"},
			doc: "What carries out the guest's instructions. For vmm: qemu.",
			words: []word{
				{Auto, "This host's processor, by KVM, where that is there; else they are emulated, and it is said.", false},
				{"kvm", "KVM, or the machine is refused.", false},
				{"tcg", "Emulation, some ten times slower.", false},
			}},
		{name: "arch", kind: kindWord, def: "this host's", instead: []string{"architecture", "machine", "processor"},
			doc: "The processor that an image is built for. For vmm: qemu.",
			words: []word{
				{"amd64", "x86-64.", false},
				{"arm64", "64-bit ARM.", false},
			}},
		{name: "kernel", kind: kindText, def: "linux.uml on PATH; with vmm: qemu the newest in /boot", instead: []string{"binary", "linux"},
			doc: "With vmm: uml the User-Mode Linux binary: a path, relative to the file's folder, or a name without a slash to be looked for on PATH. With vmm: qemu the kernel that the embedded guest boots, whose modules are in ../lib/modules beside it or in /lib/modules.", examples: []string{"/usr/bin/linux.uml", "/boot/vmlinuz-6.1.0-30-amd64"}},
		{name: "root", kind: kindText, def: RootEmbedded, instead: []string{"image", "disk", "rootfs"},
			doc:   "What the guest runs from: embedded, hostfs:DIR for a folder of the host, or the path of an image. A path is relative to the file's folder. docs/uml.md tells what is expected of a guest that is not ours.",
			words: []word{{RootEmbedded, "The guest inside this binary.", false}}, examples: []string{"debian.img", "hostfs:/srv/guest"}},
		{name: "writes", kind: kindWord, def: "discard for an image, none for a folder", instead: []string{"overlay", "cow", "readonly", "writable", "persistent"},
			doc: "What becomes of what the guest writes to its root. For a root that is not embedded.",
			words: []word{
				{WritesNone, "The root is read-only.", false},
				{WritesDiscard, "It is thrown away when the machine stops: a COW overlay over an image, the guest's own memory over a folder.", false},
				{WritesKeep, "It is kept for the next start in a COW overlay of the state folder; the image stays as it is.", false},
				{WritesThrough, "It changes the image or the folder itself.", false},
			}},
		{name: "args", kind: kindTexts, instead: []string{"append", "cmdline", "options", "arguments"},
			doc: "Words to add to the guest kernel's command line. For vmm: uml, and for the embedded guest of vmm: qemu.", examples: []string{"[quiet]"}},
		{name: "cloud-init", kind: kindFlag, def: "true", instead: []string{"cloudinit", "seed", "nocloud", "cloud_init"},
			doc: "Whether an image's cloud-init is told the machine's name, its NICs' names and addresses, and who may log in, by a small disk labelled cidata. For vmm: qemu and a root that is not embedded.", examples: []string{"false"}},
		{name: "ssh-keys", kind: kindLines, instead: []string{"ssh_keys", "ssh-key", "keys", "ssh-authorized-keys", "authorized_keys"},
			doc: "Public keys that may log in as the image's own user: each a key, or the path of a file with keys, relative to the file's folder. Told by cloud-init.", examples: []string{"[id_ed25519.pub]"}},
		{name: "user-data", kind: kindText, instead: []string{"user_data", "userdata", "cloud-config"},
			doc: "A file with user-data of your own for cloud-init, in place of ours.", examples: []string{"user-data.yaml"}},
		{name: "restart", kind: kindWord, def: RestartNo, instead: []string{"restart_policy", "autostart", "respawn", "on_exit"},
			doc: "Whether a machine that ended without being asked to is started again: after a second, then after twice as long each time, a minute at most. Ten ends in a row, none after a minute of life, and it is left alone.",
			words: []word{
				{RestartNo, "It stays ended, and is told.", false},
				{RestartOnFailure, "When it crashed or was killed, not when it halted.", false},
				{RestartAlways, "Also when it halted by itself.", false},
			}},
		{name: "nics", kind: kindTable, entry: &nicObject, names: nameOfLink, instead: []string{"nic", "interfaces", "networks", "network", "devices"},
			doc: "The machine's network cards, by their names in the guest.", examples: []string{"{eth1: {network: lan}}"}},
	},
}

var nicObject = object{
	name: "nic", what: "a NIC", doc: "A network card of a machine, and the tap at the host's end of its cable.",
	keys: []key{
		{name: "network", kind: kindNetwork, instead: []string{"bridge", "net", "lan", "master"},
			doc: "The network that the tap is plugged into. Without it the tap is a plain one: the host has its addresses (host:) on the tap itself.", examples: []string{"lan"}},
		{name: "tap", kind: kindLink, def: "made of the machine's and the NIC's name: web-eth1", instead: []string{"dev", "device", "ifname"},
			doc: "The name of the tap.", examples: []string{"tap0"}},
		{name: "owner", kind: kindUser, instead: []string{"user", "uid"},
			doc: "The user, by name or number, who may open the tap. A UML or QEMU that root starts runs as this user: one for all NICs of a machine.", examples: []string{"alice", "1000"}},
		{name: "mac", kind: kindMAC, def: "chosen: stable and unique", instead: []string{"hwaddr", "hwaddress", "macaddress", "lladdr"},
			doc: "The NIC's hardware address.", examples: []string{`"02:11:22:33:44:55"`}},
		{name: "address", kind: kindPrefixes, def: "dhcp on a bridged network, else none", instead: []string{"addresses", "ip", "ipv4", "ipv6", "inet"},
			doc: "The guest's addresses on this NIC: a word, an address with its prefix length, or a list of them. IPv6 by router advertisement comes by itself.",
			words: []word{
				{"dhcp", "Ask the LAN's DHCP server.", false},
				{"none", "No address but those that come by themselves.", false},
			}, examples: []string{"[198.18.8.2/30]"}},
		{name: "gateway", kind: kindAddress, instead: []string{"gw", "router", "via"},
			doc: "The guest's default route, where its address is not from DHCP.", examples: []string{"198.18.0.1"}},
		{name: "host", kind: kindPrefixes, instead: []string{"peer", "remote"},
			doc: "The host's addresses on a plain tap (a NIC without network:).", examples: []string{"[198.18.8.1/30]"}},
		{name: "security", kind: kindWord, def: model.SecurityStrict, instead: []string{"guard", "port_security", "filter", "spoofcheck", "macfilter", "ipfilter", "firewall", "filterref"},
			doc: "What the machine may send: everything else is dropped at the tap.", words: securityWords, examples: []string{"mac"}},
		{name: "allow", kind: kindAllow, instead: []string{"allowed", "allow_address", "except", "permit", "address_pairs", "allowed_address_pairs"},
			doc: "What the machine may send beside its own: a word, a MAC address, an IP address or subnet to send from, or a list of them.", words: allowWords,
			examples: []string{"[dhcp-server, 198.18.0.9]"}},
		{name: "isolated", kind: kindFlag, def: "false", instead: []string{"isolate", "isolation", "port_isolation", "private"},
			doc: "true: no frames go between this port and other isolated ones of its network, only to and from the rest: the uplink and the host.", examples: []string{"true"}},
		{name: "rate", kind: kindRate, instead: []string{"bandwidth", "limit", "speed", "ratelimit", "bps"},
			doc: "The most that goes by this port either way, in bits a second: a number with k, M or G (of 1000). What exceeds it is dropped; a second's worth may come at once.", examples: []string{"100M"}},
		{name: "storm", kind: kindFrames, instead: []string{"storm_control", "broadcast", "multicast", "pps"},
			doc: "The most broadcast and multicast frames a second that the machine may send.", examples: []string{"100"}},
		{name: "cable", kind: kindFlag, def: "true", instead: []string{"cabled", "plugged", "connected", "link"},
			doc: "false: the NIC is declared only, and both it and its tap dangle until they are plugged.", examples: []string{"false"}},
	},
}

var tapObject = object{
	name: "tap", what: "a tap", doc: "A tap for a virtual machine that something else starts.",
	keys: []key{
		{name: "network", kind: kindNetwork, instead: []string{"bridge", "net", "lan", "master"},
			doc: "The network that the tap is plugged into. Without it the tap is a plain one.", examples: []string{"lan"}},
		{name: "owner", kind: kindUser, instead: []string{"user", "uid"},
			doc: "The user, by name or number, who may open the tap.", examples: []string{"alice", "1000"}},
		{name: "group", kind: kindUser, instead: []string{"gid"},
			doc: "The group, by name or number, whose members may open the tap.", examples: []string{"kvm"}},
		{name: "host", kind: kindPrefixes, instead: []string{"peer", "remote"},
			doc: "The host's addresses on a plain tap (one without network:).", examples: []string{"[198.18.9.1/30]"}},
		{name: "mac", kind: kindMAC, instead: []string{"hwaddr", "hwaddress", "macaddress", "lladdr"},
			doc: "The hardware address of the VM's NIC, which security: checks.", examples: []string{`"02:11:22:33:44:55"`}},
		{name: "address", kind: kindPrefixes, instead: []string{"addresses", "ip", "ipv4", "ipv6", "inet"},
			doc: "The VM's addresses, which security: strict checks: a word, an address with its prefix length, or a list of them. Without it, it may have any.",
			words: []word{
				{"dhcp", "Only the IPv4 address that a DHCP server gives to its MAC address.", false},
			}, examples: []string{"[198.18.0.9/24]"}},
		{name: "security", kind: kindWord, def: "strict where mac: is given, else off", instead: []string{"guard", "port_security", "filter", "spoofcheck", "macfilter", "ipfilter", "firewall", "filterref"},
			doc: "What the VM may send: everything else is dropped at the tap.", words: securityWords, examples: []string{"mac"}},
		{name: "allow", kind: kindAllow, instead: []string{"allowed", "allow_address", "except", "permit", "address_pairs", "allowed_address_pairs"},
			doc: "What the VM may send beside its own: a word, a MAC address, an IP address or subnet to send from, or a list of them.", words: allowWords,
			examples: []string{"[dhcp-server, 198.18.0.9]"}},
		{name: "isolated", kind: kindFlag, def: "false", instead: []string{"isolate", "isolation", "port_isolation", "private"},
			doc: "true: no frames go between this port and other isolated ones of its network, only to and from the rest: the uplink and the host.", examples: []string{"true"}},
		{name: "rate", kind: kindRate, instead: []string{"bandwidth", "limit", "speed", "ratelimit", "bps"},
			doc: "The most that goes by this port either way, in bits a second: a number with k, M or G (of 1000). What exceeds it is dropped; a second's worth may come at once.", examples: []string{"100M"}},
		{name: "storm", kind: kindFrames, instead: []string{"storm_control", "broadcast", "multicast", "pps"},
			doc: "The most broadcast and multicast frames a second that the VM may send.", examples: []string{"100"}},
	},
}

var probeObject = object{
	name: "probe", what: "a probe", doc: "Something that is asked before and after a change. One of ping, tcp, http and command.",
	keys: []key{
		{name: "ping", kind: kindHost, instead: []string{"icmp", "host", "address", "target", "gateway"},
			doc: "An address, or a name, that answers an ICMP echo.", examples: []string{"198.18.0.1"}},
		{name: "tcp", kind: kindHostPort, instead: []string{"port", "connect"},
			doc: "An address or name and a port, where a connection is accepted.", examples: []string{"198.18.0.1:22", `"[2001:db8::1]:22"`}},
		{name: "http", kind: kindURL, instead: []string{"https", "url", "get"},
			doc: "A URL that is answered with a status below 400.", examples: []string{"http://198.18.0.1/"}},
		{name: "command", kind: kindText, instead: []string{"cmd", "exec", "run", "script", "shell"},
			doc: "A command for /bin/sh that ends with status 0.", examples: []string{"test -e /run/vpn.pid"}},
		{name: "timeout", kind: kindDuration, def: "3s", instead: []string{"time", "wait", "deadline"},
			doc: "How long one try may take: a number with ms or s, a minute at most.", examples: []string{"500ms"}},
	},
}
