package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// program is a QEMU of this host.
type program struct {
	path    string
	sandbox bool // built with seccomp
}

var programs sync.Map // by path

// findProgram finds the QEMU of a platform, and asks it what it was built with.
func findProgram(ctx context.Context, p platform) (program, error) {
	path, err := exec.LookPath(p.binary)
	if err != nil {
		return program{}, fmt.Errorf("%s is not on PATH: %w (hint: `apt install --no-install-recommends %s`, or say `vmm: uml` in the file)", p.binary, model.ErrNotFound, p.packet)
	}
	if known, ok := programs.Load(path); ok {
		return known.(program), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	help, err := exec.CommandContext(ctx, path, "-help").Output()
	if err != nil || !strings.Contains(string(help), "-netdev tap") {
		return program{}, fmt.Errorf("%s: %w: it does not answer -help as a QEMU with taps does", path, model.ErrInvalid)
	}
	found := program{path, strings.Contains(string(help), "\n-sandbox ")}
	programs.Store(path, found)
	return found, nil
}

// What carries out the guest's instructions.
const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)

const kvmCreateVM = 0xae01 // KVM_CREATE_VM, linux/kvm.h

// noKVM tells why guests of a platform cannot run on this host's own processor, "" if
// they can. cpuinfo is the text of /proc/cpuinfo.
func noKVM(p platform, device, cpuinfo string) string {
	switch {
	case !p.native():
		return "its processor is of another kind than this host's"
	case !hasFlag(cpuinfo, p.virtualizes):
		// /dev/kvm may be there all the same, where the kernel plays KVM in software for
		// guests that know of it (PVM): others would spin in their first instructions.
		return "this host's processor has no virtualization (" + strings.Join(p.virtualizes, " or ") + " in /proc/cpuinfo), or its own hypervisor does not pass it on"
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no " + device + " (modprobe kvm_intel or kvm_amd; or it is switched off in the BIOS)"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not open " + device + " (usermod -aG kvm USER lets one in)"
	case err != nil:
		return device + ": " + err.Error()
	}
	defer unix.Close(fd)
	vm, err := unix.IoctlRetInt(fd, kvmCreateVM)
	if err != nil {
		return device + " makes no machine: " + err.Error()
	}
	_ = unix.Close(vm)
	return ""
}

func hasFlag(cpuinfo string, one []string) bool {
	if len(one) == 0 {
		return true
	}
	for line := range strings.Lines(cpuinfo) {
		name, flags, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "flags" {
			continue
		}
		for _, flag := range strings.Fields(flags) {
			for _, want := range one {
				if flag == want {
					return true
				}
			}
		}
		return false // the processors are all alike
	}
	return false
}

// withoutKVM tells why a machine runs without KVM, "" where it runs with it.
func withoutKVM(m model.MachineConfig) string {
	if m.Accel == accelTCG {
		return "the file says accel: tcg"
	}
	p, err := platformOf(m.Arch)
	if err != nil {
		return err.Error()
	}
	who, err := procs.UserOf(m.Owner)
	if err != nil {
		return err.Error()
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err.Error()
	}
	var why string
	if err := who.Do(func() error {
		why = noKVM(p, "/dev/kvm", string(cpuinfo))
		return nil
	}); err != nil {
		return err.Error()
	}
	return why
}
