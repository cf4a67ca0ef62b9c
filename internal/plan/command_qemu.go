package plan

import (
	"fmt"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// qemuCommands are what a person would type for a QEMU: its monitor is a socket beside.
// nil for anything else.
func qemuCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.StopMachine:
		if op.VMM != "" {
			return []string{monitorLine(op.Name, "system_powerdown")}
		}
	case model.StopMachines:
		if op.VMM != "" {
			return []string{fmt.Sprintf("for m in %s; do %s & done", braces(op.Machines), monitorLine("$m", "system_powerdown"))}
		}
	case model.PlugNIC:
		if op.VMM != "" {
			netdev, device := qemuNIC(op.NIC, 1)
			return []string{monitorLine(op.Machine, "netdev_add "+netdev), monitorLine(op.Machine, "device_add "+device)}
		}
	case model.UnplugNIC:
		if op.VMM != "" {
			return []string{monitorLine(op.Machine, "device_del "+op.NIC), monitorLine(op.Machine, "netdev_del net-"+op.NIC)}
		}
	}
	return nil
}

func monitorLine(machine, command string) string {
	return fmt.Sprintf("echo %s | socat - unix:%s.monitor", command, machine)
}

// qemuCommand starts a machine by hand, with what its owner has the rights for.
func qemuCommand(m model.MachineConfig) string {
	words := []string{"qemu-system-x86_64"}
	if m.Arch == "arm64" {
		words = []string{"qemu-system-aarch64", "-M", "virt"}
	}
	switch m.Accel {
	case "":
		words = append(words, "-accel", "kvm", "-accel", "tcg")
	default:
		words = append(words, "-accel", m.Accel)
	}
	words = append(words, "-cpu", "max", "-name", m.Name, "-m", fmt.Sprintf("%dM", m.Memory>>20))
	if m.CPUs > 1 {
		words = append(words, "-smp", strconv.Itoa(m.CPUs))
	}
	words = append(words, "-nographic", "-monitor", "unix:"+m.Name+".monitor,server,nowait")
	words = append(words, qemuRoot(m)...)
	for _, n := range m.NICs {
		if n.Link != "" {
			netdev, device := qemuNIC(n, m.CPUs)
			words = append(words, "-netdev", netdev, "-device", device)
		}
	}
	return strings.Join(words, " ")
}

func qemuRoot(m model.MachineConfig) []string {
	if m.HasAgent() {
		kernel := m.Kernel
		if kernel == "" {
			kernel = "/boot/vmlinuz"
		}
		return []string{"-kernel", kernel, "-initrd", m.Name + ".cpio", "-append", "'" + strings.Join(append([]string{"console=ttyS0"}, m.Args...), " ") + "'"}
	}
	drive := "if=virtio,file=" + m.Root
	switch m.Writes {
	case "none":
		drive += ",readonly=on"
	case "discard":
		drive += ",snapshot=on"
	case "keep":
		drive = "if=virtio,file=" + m.Name + ".qcow2"
	}
	return []string{"-drive", drive}
}

// qemuNIC are a NIC's two ends: the tap, opened by name, and the device in the guest.
func qemuNIC(n model.NICConfig, cpus int) (netdev, device string) {
	netdev = fmt.Sprintf("tap,id=net-%s,ifname=%s,script=no,downscript=no", n.Name, n.Link)
	device = fmt.Sprintf("virtio-net-pci,id=%s,netdev=net-%s,mac=%s", n.Name, n.Name, n.MAC)
	if cpus > 1 {
		netdev += fmt.Sprintf(",queues=%d", cpus)
		device += fmt.Sprintf(",mq=on,vectors=%d", 2*cpus+2)
	}
	return netdev, device
}
