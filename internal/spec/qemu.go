package spec

import (
	"cmp"
	"fmt"
	"strings"
)

const (
	// What a QEMU of today takes; few hosts have as many.
	maxCPUs = 255
	// A QEMU has a place to plug each into, see internal/machine/qemu.
	maxQEMUNICs = 8
)

// forQEMU are the keys that say nothing to another VMM; seedKeys those of them that are
// for an image's cloud-init.
var (
	forQEMU  = []string{"cpus", "accel", "arch", "ssh-keys", "user-data", "cloud-init"}
	seedKeys = []string{"ssh-keys", "user-data", "cloud-init"}
)

// qemu settles what is a QEMU's own.
func (b *builder) qemu(m *Machine, e entry, known bool) {
	if m.VMM != QEMU {
		for _, name := range forQEMU {
			if v, given := e.fields.get(name); given && known {
				b.warnf(v.at, CodeConflict, "write vmm: qemu, or leave it out", "%s is for vmm: qemu, and does nothing here", name)
			}
		}
		return
	}
	b.qemuProcessor(m, e)
	if strings.HasPrefix(m.Root, HostfsPrefix) {
		b.errorf(e.fields["root"].at, CodeConflict, "give the path of an image, or write vmm: uml", "a QEMU's guest cannot run from a folder of the host")
		return
	}
	image := m.Root != RootEmbedded
	for _, name := range seedKeys {
		if v, given := e.fields.get(name); given && !image {
			b.errorf(v.at, CodeConflict, "give a root: (the path of an image), or leave it out", "%s is for the cloud-init of an image, and the embedded guest has none", name)
		}
	}
	for _, name := range []string{"kernel", "args"} {
		if v, given := e.fields.get(name); given && image {
			b.errorf(v.at, CodeConflict, "leave it out", "an image boots the kernel that is in it, as its own boot loader says: %s does nothing", name)
		}
	}
	if image {
		b.seed(m, e)
	}
}

func (b *builder) qemuProcessor(m *Machine, e entry) {
	m.CPUs = 1
	if v, given := e.fields.get("cpus"); given && !v.bad {
		m.CPUs = v.count
		if v.count > maxCPUs {
			b.errorf(v.at, CodeUnfit, fmt.Sprintf("%d at most", maxCPUs), "a QEMU takes no %d processors", v.count)
		}
	}
	if v, given := e.fields.get("accel"); given && !v.bad && v.text != Auto {
		m.Accel = v.text
	}
	if v, given := e.fields.get("arch"); given && !v.bad {
		m.Arch = v.text
	}
}

// seed settles what an image's cloud-init is told.
func (b *builder) seed(m *Machine, e entry) {
	for _, k := range e.fields["ssh-keys"].texts {
		m.SSHKeys = append(m.SSHKeys, k.text)
	}
	m.UserData = e.fields["user-data"].text
	keys, hasKeys := e.fields.get("ssh-keys")
	if m.UserData != "" && hasKeys {
		b.errorf(keys.at, CodeConflict, "write them into that file (ssh_authorized_keys:), or leave user-data out", "user-data: is all that cloud-init is told of users and keys")
	}
	wanted, given := e.fields.get("cloud-init")
	if !given || wanted.bad || wanted.flag {
		return
	}
	m.NoSeed = true
	for _, name := range []string{"ssh-keys", "user-data"} {
		if v, given := e.fields.get(name); given {
			b.errorf(v.at, CodeConflict, "leave one of them out", "nobody reads %s without cloud-init", name)
		}
	}
}

// qemuNICs checks what a QEMU's NICs must have in common.
func (b *builder) qemuNICs(e entry) {
	entries := e.fields["nics"].entries
	if len(entries) > maxQEMUNICs {
		b.errorf(entries[maxQEMUNICs].at, CodeUnfit, "make it two machines", "a QEMU takes %d NICs", maxQEMUNICs)
	}
}

// oneOwner checks that a VMM, which is a process of one user, can have all of its taps.
func (b *builder) oneOwner(m Machine, e entry) {
	owner := ""
	for i, nic := range m.NICs {
		if e.fields["nics"].entries[i].fields["owner"].bad {
			continue
		}
		if nic.Owner != "" && owner != "" && nic.Owner != owner {
			b.errorf(at{nic.Pos, e.path + ".nics." + nic.Name}, CodeConflict, "give all its NICs one owner", "a machine runs as one user: %s and %s cannot both own its taps", owner, nic.Owner)
			return
		}
		owner = cmp.Or(nic.Owner, owner)
	}
}
