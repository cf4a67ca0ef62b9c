package uml

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"drawbridge/internal/model"
)

// DefaultMemory of a guest in bytes.
const DefaultMemory = 64 << 20

// kernelMemory is what the kernel and a guest at work need in bytes beside the initrd.
const kernelMemory = 44 << 20

// leastMemory is the memory without which a guest does not boot for certain: while the
// initrd is unpacked it is there twice, and a kernel that runs out then panics
// ("System is deadlocked on memory"). Less than that is raised to it. UML takes memory
// of the host only when the guest touches it, so that it costs nothing.
func leastMemory(initrd int64) int64 {
	const step = 4 << 20
	return (kernelMemory + 2*initrd + step - 1) / step * step
}

// What a UML is given open, beside its console.
const (
	agentFD   = 3
	overlayFD = 4 // its overlay, see [root.given]
)

// Relative to the machine's folder, UML's working directory.
const (
	umlDir       = "uml"
	umid         = "vm"
	initrdFile   = "initrd"
	socketPath   = umlDir + "/" + umid + "/mconsole"
	mconsolePath = umlDir + "/mc"
)

// modulesRoot is where Debian's user-mode-linux has its modules, one folder a release.
const modulesRoot = "/usr/lib/uml/modules"

// agentLine is the device of the agent's channel: UML's first serial line.
const agentLine = "/dev/ttyS0"

// maxUnits is how many NICs of a kind UML takes (MAX_UML_NETDEV of older kernels).
const maxUnits = 16

// device is one NIC as UML names it.
type device struct {
	name string // vec1, eth1
	spec string // transport=tap,...
	sep  string // between them: ":" for vector, "=" for legacy
	// transport in words: model.MachineNIC.Transport.
	transport string
}

// argument is its form on the command line and in mconsole's config.
func (d device) argument() string { return d.name + d.sep + d.spec }

// newDevice describes a cabled NIC to UML. gro=1 is not for speed alone: without it
// TCP into the guest hangs, while ping works.
func newDevice(k Kernel, unit int, nic model.NICConfig) (device, error) {
	switch {
	case nic.Transport == model.TransportVeth && !k.Vector:
		return device{}, fmt.Errorf("NIC %s: %w: a veth needs the vector NIC (CONFIG_UML_NET_VECTOR), which %s lacks (hint: use a tap)", nic.Name, model.ErrInvalid, k.Path)
	case nic.Transport == model.TransportVeth:
		return device{fmt.Sprintf("vec%d", unit), fmt.Sprintf("transport=raw,ifname=%s,depth=128,gro=1,mac=%s", model.PeerName(nic.Link), nic.MAC), ":", "vector raw"}, nil
	case k.Vector:
		return device{fmt.Sprintf("vec%d", unit), fmt.Sprintf("transport=tap,ifname=%s,depth=128,gro=1,mac=%s", nic.Link, nic.MAC), ":", "vector tap"}, nil
	case k.Legacy:
		return device{fmt.Sprintf("eth%d", unit), fmt.Sprintf("tuntap,%s,%s", nic.Link, nic.MAC), "=", "legacy tuntap"}, nil
	default:
		return device{}, fmt.Errorf("NIC %s: %w: %s was built without any NIC (CONFIG_UML_NET_VECTOR or _TUNTAP)", nic.Name, model.ErrInvalid, k.Path)
	}
}

var trailingNumber = regexp.MustCompile(`[0-9]+$`)

// unitFor chooses the number of a NIC's device: that of its name where it is free.
func unitFor(name string, taken []int) (int, error) {
	if n, err := strconv.Atoi(trailingNumber.FindString(name)); err == nil && n < maxUnits && !slices.Contains(taken, n) {
		return n, nil
	}
	for n := range maxUnits {
		if !slices.Contains(taken, n) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("NIC %s: %w: a UML takes %d", name, model.ErrInvalid, maxUnits)
}

// arguments is the kernel's command line. The console is on the descriptors 0 and 1,
// the agent's line on 3.
func arguments(m model.MachineConfig, r *root, devices []device) []string {
	args := []string{
		fmt.Sprintf("mem=%dK", m.Memory>>10),
		"initrd=" + initrdFile,
		"uml_dir=" + umlDir, "umid=" + umid,
		"con=null", "ssl=null", "ssl0=fd:3,fd:3",
		// A measurement of RAID checksums and a compressed swap cost a second of CPU.
		"initcall_blacklist=raid6_select_algo,init_zswap",
		"panic=1", "quiet",
		// Mounts of hostfs begin there.
		"hostfs=" + cmp.Or(r.folder, voidDir),
	}
	args = append(args, r.arguments(m.Name)...)
	for _, d := range devices {
		args = append(args, d.argument())
	}
	return append(args, m.Args...)
}
