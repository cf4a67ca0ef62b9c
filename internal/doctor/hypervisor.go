package doctor

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// virtualNICs are the drivers of NICs that a hypervisor makes.
var virtualNICs = []string{"virtio_net", "vmxnet3", "hv_netvsc", "ena", "gve", "xen_netfront", "vif"}

// hypervisor: what is behind a virtual NIC knows the one MAC address that it gave.
var hypervisor = Check{
	ID:    "hypervisor-filter",
	Title: "Machines are bridged to a LAN by a virtual NIC, whose hypervisor may drop their MAC addresses",
	Shows: "the host has network, its machines have none; broadcasts of theirs are seen nowhere",
	Knows: "an uplink's driver is one of a hypervisor's NICs, and machines are bridged to it. Clouds drop foreign MAC addresses always; ESXi, Hyper-V and libvirt's filters by default",
	Mends: "the hypervisor is told to allow them (ESXi: forged transmits and promiscuous mode; Hyper-V: MAC address spoofing), or the machines are routed",
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, b := range h.bridges() {
			guests := h.guests(b.Name)
			for _, u := range h.hardware(b.Name) {
				if !slices.Contains(virtualNICs, u.Driver) || len(guests) == 0 || h.answered(b) {
					continue
				}
				out = append(out, Finding{Object: u.Name, Severity: Note, Sure: Possible,
					What: fmt.Sprintf("%s is a virtual NIC (%s): its hypervisor may drop what the machines on %s send", u.Name, u.Driver, b.Name),
					Seen: []string{fmt.Sprintf("%s: driver %s", u.Name, u.Driver), "machines: " + runs(names(guests))},
					Mend: byHand("allow foreign MAC addresses at the hypervisor, or route the machines (mode: routed, or nat)"),
				})
			}
		}
		return out
	},
}

// answered tells whether a machine on a bridge was given an address by DHCP from beyond it:
// then somebody out there answered it.
func (h *Host) answered(b *model.Link) bool {
	if slices.ContainsFunc(h.Snapshot.Services, func(s model.Service) bool { return s.Link == b.Name }) {
		return false // by us
	}
	return slices.ContainsFunc(h.here.Secured, func(p model.PortSecurity) bool {
		l := h.links[p.Link]
		return l != nil && l.Master == b.Name && len(p.Learned) > 0
	})
}
