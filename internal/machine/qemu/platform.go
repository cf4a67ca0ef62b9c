package qemu

import (
	"fmt"
	"runtime"
	"slices"

	"drawbridge/internal/model"
)

// platform is a kind of computer that a QEMU plays.
type platform struct {
	arch    string // as Go and Debian name it
	binary  string
	packet  string // Debian's, that has the binary
	machine string // -M
	// emulated is the processor (-cpu) without KVM: every instruction that QEMU knows, for
	// today's distributions are built for more than the first of their kind.
	emulated string
	console  string // the serial line's device in the guest
	// firmware that starts a disk: a file of these, "" for the QEMU's own.
	firmware []string
	// virtualizes are the processor's flags in /proc/cpuinfo without which there is no
	// KVM, whatever /dev/kvm promises; none: any processor may.
	virtualizes []string
}

var platforms = []platform{
	{
		arch: "amd64", binary: "qemu-system-x86_64", packet: "qemu-system-x86", machine: "q35", emulated: "max", console: "ttyS0",
		virtualizes: []string{"vmx", "svm"},
	},
	{
		arch: "arm64", binary: "qemu-system-aarch64", packet: "qemu-system-arm", machine: "virt", emulated: "max", console: "ttyAMA0",
		firmware: []string{"/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/edk2/aarch64/QEMU_EFI.fd"},
	},
}

// platformOf finds the platform of an architecture, "" for this host's.
func platformOf(arch string) (platform, error) {
	if arch == "" {
		arch = runtime.GOARCH
	}
	i := slices.IndexFunc(platforms, func(p platform) bool { return p.arch == arch })
	if i < 0 {
		return platform{}, fmt.Errorf("arch %s: %w (hint: amd64 or arm64)", arch, model.ErrInvalid)
	}
	return platforms[i], nil
}

// native tells whether guests of the platform are of this host's kind.
func (p platform) native() bool { return p.arch == runtime.GOARCH }
