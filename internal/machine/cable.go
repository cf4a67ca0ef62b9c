package machine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/machine/uml"
	"drawbridge/internal/model"
)

const tunDevice = "/dev/net/tun"

// transport is the NIC's, or the VMM's own.
func transport(vmm string, nic model.NICConfig) string {
	switch {
	case nic.Transport != "":
		return nic.Transport
	case vmm == vmmNamespace:
		return model.TransportVeth
	default:
		return model.TransportTap
	}
}

// prepareCable makes sure, before a VMM is told to use it, that the host's end of a
// cable is there and can be used: a VMM says little or nothing when it is not.
func prepareCable(ctx context.Context, k *kernel.Kernel, m model.MachineConfig, nic model.NICConfig) error {
	vmm := m.VMM
	kind := transport(vmm, nic)
	if vmm == vmmQEMU && kind != model.TransportTap {
		return fmt.Errorf("NIC %s: %w: a QEMU is cabled with a tap, not a %s", nic.Name, model.ErrInvalid, kind)
	}
	if vmm == vmmNamespace && kind != model.TransportVeth {
		return fmt.Errorf("NIC %s: %w: a namespace machine is cabled with a veth, not a %s", nic.Name, model.ErrInvalid, kind)
	}
	ns, err := k.Observe(ctx)
	if err != nil {
		return err
	}
	if kind == model.TransportVeth {
		return prepareVeth(ctx, k, vmm, &ns, nic)
	}
	l := ns.Link(nic.Link)
	if err := checkTap(k, l, nic.Link, vmm); err != nil || vmm != vmmUML {
		return err
	}
	return checkOwner(l, m)
}

func prepareVeth(ctx context.Context, k *kernel.Kernel, vmm string, ns *model.Namespace, nic model.NICConfig) error {
	half := model.PeerName(nic.Link)
	for _, name := range []string{nic.Link, half} {
		l := ns.Link(name)
		if l == nil {
			return fmt.Errorf("NIC %s: veth %s: %w", nic.Name, name, model.ErrNotFound)
		}
		if l.Kind != model.Veth {
			return fmt.Errorf("NIC %s: %s: %w: it is a %s, not a veth", nic.Name, name, model.ErrInvalid, l.Kind)
		}
	}
	if vmm != vmmUML {
		return nil
	}
	// A packet socket hears nothing on a link that is down.
	if _, err := k.Do(ctx, model.SetUp{Link: half, Up: true}); err != nil {
		return err
	}
	return uml.NoOffloads(nic.Link)
}

// checkTap opens and closes the tap as a VMM would.
func checkTap(k *kernel.Kernel, l *model.Link, name, vmm string) error {
	switch {
	case l == nil:
		return fmt.Errorf("tap %s: %w (hint: it is made by `drawbridge up` or `drawbridge tap add`)", name, model.ErrNotFound)
	case l.Tap == nil || l.Kind != model.TapKind:
		return fmt.Errorf("%s: %w: it is a %s, not a tap", name, model.ErrInvalid, l.Kind)
	case l.Tap.MultiQueue && vmm == vmmUML:
		return fmt.Errorf("tap %s: %w: it has several queues, which a UML cannot open (hint: make it without multi_queue)", name, model.ErrInvalid)
	}
	if l.Tap.MultiQueue {
		// The kernel gives everybody a queue who may open the tap: frames would go to either.
		if holders, err := k.FindTapHolders(); err == nil && len(holders[name]) > 0 {
			return fmt.Errorf("tap %s: %w: %s", name, model.ErrBusy, heldBy(k, name))
		}
	}
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: %w (hint: its mode must let this user in: 0666 is usual, and safe)", tunDevice, model.ErrDenied, err)
	case err != nil:
		return fmt.Errorf("%s: %w (hint: modprobe tun)", tunDevice, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("tap %s: %w", name, model.ErrInvalid)
	}
	// Opening sets these flags (tun_set_iff): they stay what they were.
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if l.Tap.VnetHeader {
		flags |= unix.IFF_VNET_HDR
	}
	if l.Tap.MultiQueue {
		flags |= unix.IFF_MULTI_QUEUE
	}
	request.SetUint16(flags)
	switch err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("tap %s: %w: %s", name, model.ErrBusy, heldBy(k, name))
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("tap %s: %w: %s", name, model.ErrDenied, ownedBy(l.Tap))
	default:
		return fmt.Errorf("tap %s: %w", name, err)
	}
}

// checkOwner makes sure that a UML can open a tap, which it does itself and as its user.
func checkOwner(l *model.Link, m model.MachineConfig) error {
	who, err := procs.UserOf(m.Owner)
	switch {
	case err != nil:
		return err
	case who.Credential == nil:
		return nil
	case !who.Has(l.Tap.Owner, l.Tap.Group):
		return fmt.Errorf("tap %s: %w: %s, and the machine runs as %s", l.Name, model.ErrDenied, ownedBy(l.Tap), who.Name)
	}
	if err := who.CanAccess(tunDevice, unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("%s: %w: %w: the machine runs as %s (hint: its mode must let this user in: 0666 is usual, and safe)", tunDevice, model.ErrDenied, err, who.Name)
	}
	return nil
}

func heldBy(k *kernel.Kernel, name string) string {
	holders, err := k.FindTapHolders()
	if err != nil || len(holders[name]) == 0 {
		return "another process has its wire end"
	}
	var who []string
	for _, h := range holders[name] {
		who = append(who, fmt.Sprintf("%s (process %d)", h.Command, h.PID))
	}
	return "its wire end is held by " + strings.Join(who, ", ")
}

func ownedBy(t *model.Tap) string {
	switch {
	case t.OwnerName != "":
		return "its owner is " + t.OwnerName
	case t.Owner != nil:
		return fmt.Sprintf("its owner is user %d", *t.Owner)
	default:
		return "it has no owner, so that only root may open it (hint: `owner:` in the file)"
	}
}

// freeTap waits until a tap's holder has let go of it, and resets its offloads. A tap
// that is gone is free.
func freeTap(k *kernel.Kernel, name string) error {
	var err error
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		err = k.ResetTapOffloads(name)
		if err == nil || errors.Is(err, model.ErrNotFound) {
			return nil
		}
		if !errors.Is(err, model.ErrBusy) && !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return err
}

// freeTaps is [freeTap] for all of a machine's.
func freeTaps(k *kernel.Kernel, m model.MachineConfig) error {
	var errs []error
	for _, nic := range m.NICs {
		if nic.Link != "" && transport(m.VMM, nic) == model.TransportTap {
			errs = append(errs, freeTap(k, nic.Link))
		}
	}
	return errors.Join(errs...)
}
