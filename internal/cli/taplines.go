package cli

import (
	"fmt"

	"drawbridge/internal/model"
)

// vmmLine is how a VMM is told to plug its NIC into a tap that is there already.
type vmmLine struct {
	VMM  string `json:"vmm"`
	Line string `json:"line"`
}

// tapLines are the lines for a tap that its owner opens by its name. Each takes the tap as
// it is and brings neither scripts nor a helper: none needs rights.
func tapLines(tap string, mac model.MAC, multiQueue bool) []vmmLine {
	qemu := fmt.Sprintf("-netdev tap,id=net0,ifname=%s,script=no,downscript=no -device virtio-net-pci,netdev=net0,mac=%s", tap, mac)
	libvirt := fmt.Sprintf("<interface type='ethernet'><mac address='%s'/><target dev='%s' managed='no'/><model type='virtio'/></interface>", mac, tap)
	if multiQueue {
		// The tap's shape must be the one that is asked for (IFF_MULTI_QUEUE, tun_set_iff):
		// who opens it with one queue only is refused.
		return []vmmLine{
			{"QEMU", fmt.Sprintf("-netdev tap,id=net0,ifname=%s,script=no,downscript=no,queues=2 -device virtio-net-pci,netdev=net0,mac=%s,mq=on,vectors=6", tap, mac)},
			{"cloud-hypervisor", fmt.Sprintf("--net tap=%s,mac=%s,num_queues=4", tap, mac)},
			{"libvirt", fmt.Sprintf("<interface type='ethernet'><mac address='%s'/><target dev='%s' managed='no'/><model type='virtio'/><driver queues='2'/></interface>", mac, tap)},
		}
	}
	return []vmmLine{
		// gro=1 is not for speed alone: without it TCP into the guest hangs.
		{"UML", fmt.Sprintf("vec0:transport=tap,ifname=%s,depth=128,gro=1,mac=%s", tap, mac)},
		{"UML, kernels up to 6.15", fmt.Sprintf("eth0=tuntap,%s,%s", tap, mac)},
		{"QEMU", qemu},
		{"Firecracker", fmt.Sprintf(`{"iface_id": "eth0", "host_dev_name": "%s", "guest_mac": "%s"}`, tap, mac)},
		{"cloud-hypervisor", fmt.Sprintf("--net tap=%s,mac=%s", tap, mac)},
		{"crosvm", fmt.Sprintf("--net tap-name=%s,mac=%s", tap, mac)},
		{"kvmtool", fmt.Sprintf("--network mode=tap,tapif=%s,guest_mac=%s", tap, mac)},
		{"libvirt", libvirt},
	}
}
