package plan

import (
	"fmt"
	"maps"
	"slices"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// together is how many machines are started or stopped as one step: each fewer is a step
// of its own, with its picture.
const together = 3

// stopMachines stops the machines of ours that nobody wants, or that must be started
// anew, and takes the cables off NICs that are wanted elsewhere.
func (b *builder) stopMachines(w *wanted) {
	var gone, changed []string
	for _, name := range slices.Clone(b.own.Machines) {
		m := b.now.Machine(name)
		if m == nil {
			b.own.record(model.StopMachine{Name: name}, &b.now)
			continue
		}
		want := w.machine(name)
		switch {
		case want == nil:
			gone = append(gone, name)
		case !sameMachine(*m.Config, *want) || !want.HasAgent() && readdressed(m, *want):
			changed = append(changed, name)
		default:
			b.unplugNICs(*m, *want)
		}
	}
	b.stop(gone, "The file no longer has it.", "The file no longer has them.")
	b.stop(changed, "What the file changes can only be changed by starting it anew.", "What the file changes can only be changed by starting them anew.")
}

func (b *builder) stop(names []string, why, whyMany string) {
	of := map[string][]string{}
	for _, name := range names {
		vmm := vmmWord(b.now.Machine(name).VMM)
		of[vmm] = append(of[vmm], name)
	}
	for _, vmm := range slices.Sorted(maps.Keys(of)) {
		names := of[vmm]
		if len(names) >= together {
			b.step(fmt.Sprintf("Stop %d machines: %s", len(names), shortRuns(names)), whyMany, model.StopMachines{Machines: names, VMM: vmm})
			continue
		}
		for _, name := range names {
			b.step("Stop the machine "+name, why, model.StopMachine{Name: name, VMM: vmm})
		}
	}
}

// vmmWord is whose words a machine's commands are in.
func vmmWord(vmm string) string {
	if vmm == spec.QEMU {
		return vmm
	}
	return ""
}

// readdressed tells whether a NIC shall have other addresses: a guest that has no agent of
// ours learns of them only when it starts.
func readdressed(now *model.Machine, want model.MachineConfig) bool {
	return slices.ContainsFunc(want.NICs, func(w model.NICConfig) bool {
		n := nicConfig(now, w.Name)
		return n != nil && !sameAddressing(*n, w)
	})
}

func (b *builder) unplugNICs(m model.Machine, want model.MachineConfig) {
	for _, now := range m.Config.NICs {
		w := at(want.NICs, func(n model.NICConfig) bool { return n.Name == now.Name })
		if now.Link == "" || w != nil && w.Link == now.Link && w.MAC == now.MAC {
			continue
		}
		b.step(fmt.Sprintf("Unplug %s of %s", now.Name, m.Name), fmt.Sprintf("Its cable to %s is no longer wanted.", now.Link),
			model.UnplugNIC{Machine: m.Name, NIC: now.Name, VMM: vmmWord(m.VMM)})
	}
}

// makeCable makes the host's end of a cable.
func (b *builder) makeCable(c wantedCable) {
	if l := b.here().Link(c.link); l != nil {
		if c.fits(l) && (!b.own.ownsLink(c.link) || c.queuesFit(l)) {
			return
		}
		b.step(fmt.Sprintf("Delete the %s %s", kindWord(l.Kind), c.link), "It is not what the file wants now, in kind, owner or queues, and is made anew.", model.DeleteLink{Name: c.link, Index: b.own.index(c.link), Kind: l.Kind})
	}
	if c.transport == model.TransportVeth {
		b.step("Make the veth pair "+c.link, fmt.Sprintf("It stands in for a tap: %s is the host's end of the cable, %s the end that %s gets.", c.link, model.PeerName(c.link), c.machine),
			model.CreateVeth{Name: c.link, MAC: portMAC(b.opt.Seed, c.link), Peer: model.Ref{Name: model.PeerName(c.link)}})
		return
	}
	why := fmt.Sprintf("A tap is an interface whose wire end is a file descriptor: the host's end of a cable whose other end will be a VM's NIC. Until one holds it, %s dangles.", c.link)
	if c.ownerName != "" {
		why += fmt.Sprintf(" It belongs to %s, who can plug a VM into it without being root.", c.ownerName)
	}
	b.step("Make the tap "+c.link, why, model.CreateTap{Name: c.link, MAC: portMAC(b.opt.Seed, c.link), Owner: c.owner, OwnerName: c.ownerName,
		Group: c.group, GroupName: c.groupName, VnetHeader: c.machine != "", MultiQueue: c.multiQueue})
}

// plugCable plugs the host end of a cable into its bridge, or leaves it in the stack.
func (b *builder) plugCable(c wantedCable) {
	l := b.here().Link(c.link)
	if l.Master != c.bridge {
		if c.bridge == "" {
			b.step(fmt.Sprintf("Take %s out of %s", c.link, l.Master), "Its host end returns to the host's stack.", model.SetMaster{Link: c.link})
		} else {
			b.step(fmt.Sprintf("Plug %s into %s", c.link, c.bridge), fmt.Sprintf("Its host end is now in the virtual LAN of %s: what hangs on the other end of the cable is on that LAN.", c.bridge),
				model.SetMaster{Link: c.link, Master: c.bridge})
		}
	}
	if mtu := b.bridgeMTU(c.bridge); mtu != 0 && b.here().Link(c.link).MTU != mtu {
		b.step(fmt.Sprintf("Set the MTU of %s to %d", c.link, mtu), "All ports of a bridge must take frames of one size, or the large ones vanish.", model.SetMTU{Link: c.link, MTU: mtu})
	}
	if c.forwarding != nil {
		b.setForwarding(*c.forwarding, forwardingWhy(*c.forwarding))
	}
	if !b.here().Link(c.link).Up {
		b.step(fmt.Sprintf("Bring %s up", c.link), "An interface that is down neither sends nor receives.", model.SetUp{Link: c.link, Up: true})
	}
	b.addHostAddresses(c.link, c.host)
}

func (b *builder) bridgeMTU(bridge string) int {
	if l := b.here().Link(bridge); l != nil {
		return l.MTU
	}
	return 0
}

// runMachines starts machines, and brings the NICs of running ones to what is wanted.
func (b *builder) runMachines(wanted []model.MachineConfig) {
	var missing []model.MachineConfig
	for _, want := range wanted {
		if b.now.Machine(want.Name) == nil {
			missing = append(missing, want)
		} else {
			b.plugNICs(want)
		}
	}
	if len(missing) < together {
		for _, m := range missing {
			b.step("Start the machine "+m.Name, startWhy(m), model.StartMachine{Machine: m})
		}
		return
	}
	op := model.StartMachines{Machines: missing}
	b.step(fmt.Sprintf("Start %d machines: %s", len(missing), shortRuns(op.Names())),
		"Each opens its tap: the tap's wire end is now a cable to the machine's NIC. As many start at a time as this host's processors and memory bear.", op)
}

// plugNICs brings a running machine's NICs to what is wanted.
func (b *builder) plugNICs(want model.MachineConfig) {
	for _, nic := range want.NICs {
		now := nicConfig(b.now.Machine(want.Name), nic.Name)
		switch {
		case nic.Link != "" && (now == nil || now.Link == ""):
			b.step(fmt.Sprintf("Plug %s of %s into %s", nic.Name, want.Name, nic.Link),
				fmt.Sprintf("%s and %s become the two ends of one cable, a virtual Ethernet of their own.", nic.Link, nic.Name),
				model.PlugNIC{Machine: want.Name, NIC: nic, VMM: vmmWord(want.VMM)})
		case now != nil && !sameAddressing(*now, nic):
			b.step(fmt.Sprintf("Give %s of %s its new addresses", nic.Name, want.Name), addressingWhy(nic),
				model.ConfigureNIC{Machine: want.Name, NIC: nic})
		}
	}
}

func sameAddressing(a, b model.NICConfig) bool {
	return a.DHCP == b.DHCP && a.Gateway == b.Gateway && slices.Equal(a.Addresses, b.Addresses)
}

func addressingWhy(nic model.NICConfig) string {
	if nic.DHCP {
		return "It is on a LAN with a DHCP server now, and asks there like any other host."
	}
	return "The guest is told the addresses of the file."
}

func startWhy(m model.MachineConfig) string {
	vmm := map[string]string{"uml": "a Linux kernel that runs as a process of the host", "qemu": "a whole computer, played by QEMU", "namespace": "a network namespace that plays a VM"}[m.VMM]
	for _, n := range m.NICs {
		if n.Link != "" {
			return fmt.Sprintf("%s is %s. It opens %s: the wire end of %s is now a cable to its NIC %s.", m.Name, vmm, n.Link, n.Link, n.Name)
		}
	}
	return fmt.Sprintf("%s is %s. It has no cable yet.", m.Name, vmm)
}
