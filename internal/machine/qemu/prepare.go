package qemu

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// RootEmbedded is the guest inside this binary.
const RootEmbedded = "embedded"

// Memory in bytes, where the file says nothing.
const (
	DefaultMemory      = 128 << 20 // for the embedded guest
	DefaultImageMemory = 512 << 20 // for a distribution
	kernelMemory       = 80 << 20  // what the kernel and a guest at work need beside the initrd
)

// leastMemory is the memory without which the embedded guest does not boot: while the
// initrd is unpacked it is there twice ("System is deadlocked on memory"). Less is
// raised to it. The host gives memory only when the guest touches it.
func leastMemory(initrd int64) int64 {
	const step = 8 << 20
	return (kernelMemory + 2*initrd + step - 1) / step * step
}

// embedded tells whether the machine runs the guest inside this binary, which has an
// agent, and not a system of its own.
func embedded(m model.MachineConfig) bool { return m.Root == "" || m.Root == RootEmbedded }

// prepared is what is known of a machine before anything is made for it.
type prepared struct {
	platform platform
	program  program
	kvm      bool
	who      procs.User
	kernel   guestKernel // for the embedded guest
	firmware string
	root     disk
	overlay  overlay // that root is, where its writes are kept
}

// Ready tells what would keep machines from being started here, all of it at once: no
// QEMU, no kernel, an image that is not there or is in use, more memory than the host
// has. kept is the folder of the overlays that are kept.
func Ready(ctx context.Context, list []model.MachineConfig, kept string) error {
	var errs []error
	var memory int64
	for _, m := range list {
		if _, err := prepare(ctx, m, kept); err != nil {
			errs = append(errs, fmt.Errorf("machine %s: %w", m.Name, err))
		}
		memory += m.Memory
	}
	if len(list) > 1 {
		errs = append(errs, checkMemory(memory))
	}
	return errors.Join(errs...)
}

// Notes tell aloud which machines run without KVM, and why.
func Notes(list []model.MachineConfig) []string {
	var notes []string
	for _, m := range list {
		if why := withoutKVM(m); why != "" && m.Accel == "" {
			notes = append(notes, fmt.Sprintf("machine %s runs without KVM, every instruction emulated (TCG), some ten times slower: %s", m.Name, why))
		}
	}
	return notes
}

// prepare checks all of it, and tells all that is wrong at once.
func prepare(ctx context.Context, m model.MachineConfig, kept string) (prepared, error) {
	var p prepared
	var errs []error
	var err error
	if p.platform, err = platformOf(m.Arch); err != nil {
		return p, err
	}
	if p.who, err = procs.UserOf(m.Owner); err != nil {
		return p, err
	}
	p.program, err = findProgram(ctx, p.platform)
	errs = append(errs, err)
	why := withoutKVM(m)
	p.kvm = why == ""
	if !p.kvm && m.Accel == accelKVM {
		errs = append(errs, fmt.Errorf("accel: kvm: %w: %s", model.ErrDenied, why))
	}
	errs = append(errs, checkNICs(m), checkMemory(m.Memory))
	if embedded(m) {
		p.kernel, err = p.guestKernel(m)
	} else {
		err = p.image(m, kept)
	}
	return p, errors.Join(append(errs, err)...)
}

func (p *prepared) guestKernel(m model.MachineConfig) (guestKernel, error) {
	if !p.platform.native() {
		return guestKernel{}, fmt.Errorf("root: embedded: %w: the guest inside this binary is built for %s, not for %s (hint: root: FILE, an image)", model.ErrInvalid, runtime.GOARCH, p.platform.arch)
	}
	k, err := findKernel(p.platform, m.Kernel, "/boot")
	if err != nil {
		return k, err
	}
	if err := p.who.CanRead(k.path); err != nil {
		return k, fmt.Errorf("kernel %s: %w: %s, as whom the machine runs, may not read it: %w", k.path, model.ErrDenied, p.who.Name, err)
	}
	return k, nil
}

// image checks what a machine with a disk needs.
func (p *prepared) image(m model.MachineConfig, kept string) error {
	var errs []error
	var err error
	if strings.HasPrefix(m.Root, "hostfs:") {
		return fmt.Errorf("root: %s: %w: a QEMU's guest cannot run from a folder of the host (hint: an image, or vmm: uml)", m.Root, model.ErrInvalid)
	}
	p.root, p.overlay, err = rootDisk(m, kept, p.who)
	errs = append(errs, err)
	if _, err := seedFiles(m); err != nil {
		errs = append(errs, err)
	}
	if p.platform.firmware != nil {
		i := slices.IndexFunc(p.platform.firmware, func(path string) bool { return p.who.CanRead(path) == nil })
		if i < 0 {
			errs = append(errs, fmt.Errorf("no firmware that starts a disk on %s: %w: none of %s (hint: `apt install --no-install-recommends qemu-efi-aarch64`)",
				p.platform.arch, model.ErrNotFound, strings.Join(p.platform.firmware, ", ")))
		} else {
			p.firmware = p.platform.firmware[i]
		}
	}
	return errors.Join(errs...)
}

// checkMemory refuses more than the host has.
func checkMemory(bytes int64) error {
	if total := procs.HostMemory().Total; total > 0 && bytes > total {
		return fmt.Errorf("memory: %w: %d MiB are more than this host has (%d MiB)", model.ErrInvalid, bytes>>20, total>>20)
	}
	return nil
}

func checkNICs(m model.MachineConfig) error {
	if len(m.NICs) > maxNICs {
		return fmt.Errorf("%w: %d NICs, and a QEMU takes %d here", model.ErrInvalid, len(m.NICs), maxNICs)
	}
	return nil
}
