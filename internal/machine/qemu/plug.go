package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"drawbridge/internal/model"
)

// unplugTimeout is how long a guest may take to let go of a NIC.
const unplugTimeout = 7 * time.Second

// openTap is a NIC's tap, with a queue for each processor where it was made for several,
// and the host kernel's help in moving its packets where that is there.
type openTap struct{ queues, vhost []*os.File }

func (t openTap) close() error { return errors.Join(closeAll(t.queues), closeAll(t.vhost)) }

// describe says in words how packets pass.
func (t openTap) describe() string {
	how := "virtio tap"
	if len(t.queues) > 1 {
		how += fmt.Sprintf(", %d queues", len(t.queues))
	}
	if len(t.vhost) > 0 {
		how += ", vhost"
	}
	return how
}

// openNIC opens the tap of a NIC, and finds a PCIe port for it. The descriptors are
// numbered by who passes them on.
func (vm *VM) openNIC(c model.NICConfig) (nic, openTap, error) {
	if c.Transport != "" && c.Transport != model.TransportTap {
		return nic{}, openTap{}, fmt.Errorf("NIC %s: %w: a QEMU is cabled with a tap, not a %s", c.Name, model.ErrInvalid, c.Transport)
	}
	port, err := vm.takePort(c.Name)
	if err != nil {
		return nic{}, openTap{}, err
	}
	var open openTap
	if open.queues, err = vm.host.OpenTap(c.Link, vm.cpus); err != nil {
		vm.freePort(c.Name)
		return nic{}, openTap{}, fmt.Errorf("NIC %s: %w", c.Name, err)
	}
	if vm.kvm {
		open.vhost = openVhost(len(open.queues))
	}
	vm.mu.Lock()
	vm.how[c.Name] = open.describe()
	vm.mu.Unlock()
	return nic{port: port, mac: c.MAC}, open, nil
}

// openVhost opens vhost-net for each queue; none where the host has none or does not let
// us: it is for speed alone, and of use with KVM only.
func openVhost(queues int) []*os.File {
	var out []*os.File
	for range queues {
		f, err := os.OpenFile(vhostDevice, os.O_RDWR, 0)
		if err != nil {
			_ = closeAll(out)
			return nil
		}
		out = append(out, f)
	}
	return out
}

func (vm *VM) takePort(name string) (int, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	taken := map[int]bool{}
	for _, p := range vm.ports {
		taken[p] = true
	}
	for p := 1; p <= maxNICs; p++ {
		if !taken[p] {
			vm.ports[name] = p
			return p, nil
		}
	}
	return 0, fmt.Errorf("NIC %s: %w: all %d places for NICs are taken", name, model.ErrInvalid, maxNICs)
}

func (vm *VM) freePort(name string) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	delete(vm.ports, name)
	delete(vm.how, name)
}

// Plug opens the NIC's tap, hands it to the running QEMU, and plugs a device into one of
// its PCIe ports.
func (vm *VM) Plug(ctx context.Context, c model.NICConfig) error {
	n, open, err := vm.openNIC(c)
	if err != nil {
		return err
	}
	defer open.close() // the QEMU has descriptors of its own
	err = vm.plug(ctx, n, open)
	if err != nil {
		vm.freePort(c.Name)
		return fmt.Errorf("NIC %s: %w", c.Name, err)
	}
	return nil
}

func (vm *VM) plug(ctx context.Context, n nic, open openTap) (err error) {
	var names []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range names {
			_, _ = vm.monitor.do(ctx, "closefd", map[string]string{"fdname": name}) // those that nothing took
		}
	}()
	give := func(what string, files []*os.File) (given []string, err error) {
		for i, f := range files {
			name := what + strconv.Itoa(n.port) + "-" + strconv.Itoa(i)
			if err := vm.monitor.give(ctx, name, f); err != nil {
				return nil, err
			}
			given, names = append(given, name), append(names, name)
		}
		return given, nil
	}
	fds, err := give("tap", open.queues)
	if err != nil {
		return err
	}
	vhost, err := give("vhost", open.vhost)
	if err != nil {
		return err
	}
	n.fds = make([]int, len(fds))
	if _, err := vm.monitor.do(ctx, "netdev_add", object(n.netdevArguments(fds, vhost))); err != nil {
		return err
	}
	if _, err := vm.monitor.do(ctx, "device_add", object(n.deviceArguments())); err != nil {
		_, undo := vm.monitor.do(ctx, "netdev_del", map[string]string{"id": n.netdev()})
		return errors.Join(err, undo)
	}
	return nil
}

// Unplug asks the guest to let go of the NIC's device, waits until it has, and closes
// the tap.
func (vm *VM) Unplug(ctx context.Context, name string) error {
	vm.mu.Lock()
	port, ok := vm.ports[name]
	n := nic{port: port}
	gone := make(chan struct{})
	if ok {
		vm.deleted[n.device()] = gone
	}
	vm.mu.Unlock()
	if !ok {
		return fmt.Errorf("NIC %s has no device: %w", name, model.ErrNotFound)
	}
	if err := vm.removeDevice(ctx, n, gone); err != nil {
		return fmt.Errorf("NIC %s: %w", name, err)
	}
	if _, err := vm.monitor.do(ctx, "netdev_del", map[string]string{"id": n.netdev()}); err != nil {
		return fmt.Errorf("NIC %s: %w", name, err)
	}
	vm.freePort(name)
	return nil
}

// removeDevice is a request: the guest has the device until it says that it has not.
func (vm *VM) removeDevice(ctx context.Context, n nic, gone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, unplugTimeout)
	defer cancel()
	_, err := vm.monitor.do(ctx, "device_del", map[string]string{"id": n.device()})
	var refused *qmpError
	switch {
	case errors.As(err, &refused) && refused.Class == "DeviceNotFound":
		return nil // an earlier request has been heard meanwhile
	case errors.As(err, &refused) && strings.Contains(refused.Words, "already in the process of unplug"):
	case err != nil:
		return err
	}
	select {
	case <-gone:
		return nil
	case <-vm.done:
		return errGone
	case <-ctx.Done():
		return fmt.Errorf("%w: the guest has not let go of it within %v (hint: its kernel must know PCI hot-plug; it may still do so)", model.ErrBusy, unplugTimeout)
	}
}

// deadlineSoon is for reading what is there already.
func deadlineSoon() time.Time { return time.Now().Add(200 * time.Millisecond) }
