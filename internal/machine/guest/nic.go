package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
)

// deviceWait is how long a device may take to appear after the VMM has said that it
// is there.
const deviceWait = 2 * time.Second

// nics are the guest's NICs that have a device, by name.
type nics struct {
	kernel   *kernel.Kernel
	hostname string
	log      func(string, ...any)
	names    names

	mu   sync.Mutex
	list map[string]*nic
}

// nic is a configured NIC.
type nic struct {
	config model.NICConfig
	static []model.Address
	routes []model.Route
	// carrier is rung when the cable has been plugged in again.
	carrier chan struct{}
	stop    context.CancelFunc // of its DHCP client
	stopped chan struct{}      // closed when that has cleaned up
}

func newNICs(k *kernel.Kernel, hostname string, log func(string, ...any)) *nics {
	return &nics{kernel: k, hostname: hostname, log: log, list: map[string]*nic{}}
}

// configure finds the NIC's device, names it, raises it and gives it its addresses in
// place of those of an earlier configuration. It tells the carrier. A configuration
// that is in force already is left as it is.
func (n *nics) configure(ctx context.Context, c model.NICConfig) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.list[c.Name]; old != nil {
		if reflect.DeepEqual(old.config, c) && exists(c.Name) {
			return n.waitCarrier(ctx, c.Name)
		}
		n.drop(ctx, old)
	}
	if err := n.adopt(ctx, c); err != nil {
		return false, err
	}
	if _, err := n.kernel.Do(ctx, model.SetUp{Link: c.Name, Up: true}); err != nil {
		// A UML's device opens its tap only now: EBUSY is the tap's.
		return false, fmt.Errorf("raise %s: %w", c.Name, err)
	}
	carrier, err := n.waitCarrier(ctx, c.Name)
	if err != nil {
		return false, err
	}
	return carrier, n.address(ctx, c)
}

// adopt finds the device by its MAC, else by its name, and gives it both.
func (n *nics) adopt(ctx context.Context, c model.NICConfig) error {
	device, err := waitDevice(ctx, c)
	if err != nil {
		return err
	}
	if device.Name != c.Name {
		if err := rename(device.Name, c.Name); err != nil {
			return fmt.Errorf("rename %s to %s: %w", device.Name, c.Name, err)
		}
	}
	if mac, err := net.ParseMAC(string(c.MAC)); err == nil && mac.String() != device.HardwareAddr.String() {
		if err := setMAC(c.Name, mac); err != nil {
			return fmt.Errorf("MAC of %s: %w", c.Name, err)
		}
	}
	return nil
}

// waitDevice waits for the device of a NIC to appear.
func waitDevice(ctx context.Context, c model.NICConfig) (net.Interface, error) {
	ctx, cancel := context.WithTimeout(ctx, deviceWait)
	defer cancel()
	for {
		all, err := net.Interfaces()
		if err != nil {
			return net.Interface{}, err
		}
		if i := slices.IndexFunc(all, func(d net.Interface) bool {
			return c.MAC != "" && strings.EqualFold(d.HardwareAddr.String(), string(c.MAC))
		}); i >= 0 {
			return all[i], nil
		}
		if i := slices.IndexFunc(all, func(d net.Interface) bool { return d.Name == c.Name }); i >= 0 {
			return all[i], nil
		}
		select {
		case <-ctx.Done():
			return net.Interface{}, fmt.Errorf("no device with MAC %s: %w", c.MAC, model.ErrNotFound)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// waitCarrier waits a moment for the carrier: a UML's vector NIC has it when its
// transport is open, a veth when its other half is up.
func (n *nics) waitCarrier(ctx context.Context, name string) (bool, error) {
	for end := time.Now().Add(500 * time.Millisecond); ; {
		up, err := running(name)
		if err != nil || up || time.Now().After(end) {
			return up, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// address gives a raised NIC its addresses, and starts its DHCP client.
func (n *nics) address(ctx context.Context, c model.NICConfig) error {
	have := &nic{config: c, carrier: make(chan struct{}, 1)}
	n.list[c.Name] = have
	for _, p := range c.Addresses {
		have.static = append(have.static, model.Address{Link: c.Name, Prefix: p, Origin: model.Static, Broadcast: broadcast(p), Scope: "global"})
	}
	if len(have.static) > 0 {
		if _, err := n.kernel.Do(ctx, model.AddAddresses{Link: c.Name, Addresses: have.static}); err != nil {
			return err
		}
	}
	for _, gw := range []netip.Addr{c.Gateway, c.Gateway6} {
		if gw.IsValid() {
			have.routes = append(have.routes, defaultRoute(c.Name, gw, "static"))
		}
	}
	if len(have.routes) > 0 {
		if _, err := n.kernel.Do(ctx, model.AddRoutes{Routes: have.routes}); err != nil {
			return err
		}
	}
	if c.DHCP {
		// The client lives as long as the configuration, not as long as the request.
		life, stop := context.WithCancel(context.WithoutCancel(ctx))
		have.stop, have.stopped = stop, make(chan struct{})
		client := &dhcpClient{kernel: n.kernel, link: c.Name, hostname: n.hostname, log: n.log, carrier: have.carrier, names: &n.names}
		go func() {
			defer close(have.stopped)
			client.run(life)
		}()
	}
	return nil
}

// release takes a NIC's addresses away and takes it down, so that the VMM can remove it.
func (n *nics) release(ctx context.Context, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.list[name]; old != nil {
		n.drop(ctx, old)
	}
	if !exists(name) {
		return nil
	}
	_, err := n.kernel.Do(ctx, model.SetUp{Link: name, Up: false})
	return err
}

// drop undoes a configuration. What cannot be taken away is gone with the device
// already, or is told on the console.
func (n *nics) drop(ctx context.Context, old *nic) {
	delete(n.list, old.config.Name)
	if old.stop != nil {
		old.stop()
		<-old.stopped
	}
	if !exists(old.config.Name) {
		return
	}
	if len(old.routes) > 0 {
		if _, err := n.kernel.Do(ctx, model.DeleteRoutes{Routes: old.routes}); err != nil && !errors.Is(err, model.ErrNotFound) {
			n.log("%v", err)
		}
	}
	if len(old.static) > 0 {
		if _, err := n.kernel.Do(ctx, model.DeleteAddresses{Link: old.config.Name, Addresses: old.static}); err != nil {
			n.log("%v", err)
		}
	}
}

// watch rings a NIC's DHCP client when its carrier comes back.
func (n *nics) watch(ctx context.Context) {
	bell, err := n.kernel.Watch(ctx)
	if err != nil {
		n.log("watch: %v", err)
		return
	}
	up := map[string]bool{}
	for range bell {
		n.mu.Lock()
		for name, nic := range n.list {
			now, err := running(name)
			was, known := up[name]
			if err == nil && now && known && !was {
				select {
				case nic.carrier <- struct{}{}:
				default:
				}
			}
			up[name] = now
		}
		n.mu.Unlock()
	}
}

func exists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// running is IFF_RUNNING: up and with a carrier.
func running(name string) (bool, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return false, err
	}
	return i.Flags&net.FlagRunning != 0, nil
}

func defaultRoute(link string, gateway netip.Addr, protocol string) model.Route {
	zero := netip.IPv4Unspecified()
	if gateway.Is6() {
		zero = netip.IPv6Unspecified()
	}
	return model.Route{
		Table: model.TableMain, Type: "unicast", Destination: netip.PrefixFrom(zero, 0),
		Protocol: protocol, Scope: "global", NextHops: []model.NextHop{{Link: link, Gateway: gateway}},
	}
}

// broadcast is a subnet's last address, which the kernel does not set by itself when
// an address comes by netlink; none for IPv6, /31 and /32 (RFC 3021).
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}
	}
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
