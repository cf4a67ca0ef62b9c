package guest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
)

// dhcpClient keeps an address by DHCP on one link (RFC 2131).
type dhcpClient struct {
	kernel   *kernel.Kernel
	link     string
	hostname string
	log      func(string, ...any)
	// carrier rings when the cable was plugged in again: maybe into another network.
	carrier <-chan struct{}
	// names are told which name servers there are.
	names *names

	address model.Address // in force, if its prefix is valid
	routes  []model.Route
}

// The client's patience. Another try soon at first, for a bridge that is being built
// around this NIC; then seldom, for a LAN without a DHCP server.
const (
	dhcpAnswer    = 700 * time.Millisecond
	dhcpFirstWait = 300 * time.Millisecond
	dhcpLongWait  = 30 * time.Second
	dhcpEager     = 2 * time.Minute
	dhcpEagerWait = 2 * time.Second
	// dhcpRenewal is the most that a lease is not renewed for, however long it lasts: the
	// network may be another one by now, and nothing else tells a machine on a tap.
	dhcpRenewal = 5 * time.Minute
)

// run asks, renews at T1 and asks anew, until ctx ends; then its address is taken away.
func (d *dhcpClient) run(ctx context.Context) {
	defer d.clear()
	for ctx.Err() == nil {
		lease := d.acquire(ctx)
		if lease == nil {
			return
		}
		if err := d.apply(ctx, lease); err != nil {
			d.log("%s: DHCP: %v", d.link, err)
			wait(ctx, dhcpEagerWait, nil)
			continue
		}
		d.log("%s has %s by DHCP from %s", d.link, d.address.Prefix, lease.ACK.ServerIdentifier())
		d.keep(ctx, lease)
	}
}

// acquire asks until there is a lease; nil when ctx has ended.
func (d *dhcpClient) acquire(ctx context.Context) *nclient4.Lease {
	begin, pause := time.Now(), dhcpFirstWait
	for ctx.Err() == nil {
		lease, err := d.ask(ctx)
		if err == nil {
			return lease
		}
		if time.Since(begin) > dhcpEager {
			pause = dhcpLongWait
		}
		if wait(ctx, pause, d.carrier) {
			begin, pause = time.Now(), dhcpFirstWait
			continue
		}
		pause = min(2*pause, dhcpEagerWait)
	}
	return nil
}

// keep renews a lease at T1, or when the cable has been plugged in again, and returns
// when it is lost: its time is over, or a server refuses it.
func (d *dhcpClient) keep(ctx context.Context, lease *nclient4.Lease) {
	for {
		life := lease.ACK.IPAddressLeaseTime(time.Hour)
		t1 := min(lease.ACK.IPAddressRenewalTime(life/2), dhcpRenewal)
		end := lease.CreationTime.Add(life)
		plugged := wait(ctx, time.Until(lease.CreationTime.Add(t1)), d.carrier)
		for again := false; ; again = true {
			if ctx.Err() != nil {
				return
			}
			fresh, err := d.renew(ctx, lease, again)
			if err == nil && fresh.ACK.YourIPAddr.Equal(lease.ACK.YourIPAddr) && d.apply(ctx, fresh) == nil {
				lease = fresh
				break
			}
			var refused *nclient4.ErrNak
			switch {
			case errors.As(err, &refused):
				d.log("%s: %s refuses the lease of %s", d.link, refused.Nak.ServerIdentifier(), d.address.Prefix)
			case plugged || time.Now().After(end): // a network that does not know the address after a new plug is another one
				d.log("%s: the lease of %s is lost", d.link, d.address.Prefix)
			default:
				pause := max(time.Until(end)/8, time.Second)
				if !again {
					pause = min(pause, dhcpEagerWait)
				}
				plugged = wait(ctx, pause, d.carrier)
				continue
			}
			d.clear()
			return
		}
	}
}

// ask gets a new lease.
func (d *dhcpClient) ask(ctx context.Context) (*nclient4.Lease, error) {
	c, err := nclient4.New(d.link, nclient4.WithTimeout(dhcpAnswer), nclient4.WithRetry(2))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Request(ctx, d.name())
}

// renew asks for a lease to be extended: its own server, and where that is silent any (the
// states RENEWING and REBINDING of RFC 2131, 4.4.5).
func (d *dhcpClient) renew(ctx context.Context, lease *nclient4.Lease, all bool) (*nclient4.Lease, error) {
	c, err := nclient4.New(d.link, nclient4.WithTimeout(dhcpAnswer), nclient4.WithRetry(2))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if !all {
		return c.Renew(ctx, lease, d.name())
	}
	request, err := dhcpv4.NewRenewFromAck(lease.ACK, d.name())
	if err != nil {
		return nil, err
	}
	answer, err := c.SendAndRead(ctx, nclient4.DefaultServers, request, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	switch {
	case err != nil:
		return nil, err
	case answer.MessageType() == dhcpv4.MessageTypeNak:
		return nil, &nclient4.ErrNak{Offer: lease.Offer, Nak: answer}
	default:
		return &nclient4.Lease{Offer: answer, ACK: answer, CreationTime: time.Now()}, nil
	}
}

func (d *dhcpClient) name() dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptHostName(d.hostname))
}

// apply puts a lease's address and routes in force.
func (d *dhcpClient) apply(ctx context.Context, lease *nclient4.Lease) error {
	address, err := leaseAddress(d.link, lease.ACK)
	if err != nil {
		return err
	}
	if d.address.Prefix.IsValid() && d.address.Prefix != address.Prefix {
		d.clear()
	}
	if d.address.Prefix.IsValid() {
		// The kernel package changes no lifetime of an address that is there: it goes and
		// comes back within one breath. Open connections outlive that, their routes do
		// not, and are set again below.
		if _, err := d.kernel.Do(ctx, model.DeleteAddresses{Link: d.link, Addresses: []model.Address{d.address}}); err != nil {
			return err
		}
	}
	if _, err := d.kernel.Do(ctx, model.AddAddresses{Link: d.link, Addresses: []model.Address{address}}); err != nil {
		return err
	}
	d.address = address
	routes := leaseRoutes(d.link, lease.ACK)
	if len(routes) > 0 {
		if _, err := d.kernel.Do(ctx, model.AddRoutes{Routes: routes}); err != nil {
			return err
		}
	}
	d.routes = routes
	d.names.tell(d.link, lease.ACK)
	return nil
}

// clear takes the address and its routes away. The device may be gone already.
func (d *dhcpClient) clear() {
	ctx := context.Background()
	if len(d.routes) > 0 {
		_, _ = d.kernel.Do(ctx, model.DeleteRoutes{Routes: d.routes})
	}
	if d.address.Prefix.IsValid() {
		_, _ = d.kernel.Do(ctx, model.DeleteAddresses{Link: d.link, Addresses: []model.Address{d.address}})
	}
	d.address, d.routes = model.Address{}, nil
	d.names.tell(d.link, nil)
}

// leaseAddress is the address of a lease, with its lifetime: the kernel takes it away
// when nobody renews it.
func leaseAddress(link string, ack *dhcpv4.DHCPv4) (model.Address, error) {
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || ip.IsUnspecified() {
		return model.Address{}, fmt.Errorf("the server sent no address: %w", model.ErrInvalid)
	}
	bits := 32
	if mask := ack.SubnetMask(); mask != nil {
		if ones, size := mask.Size(); size == 32 {
			bits = ones
		}
	} else if m := ack.YourIPAddr.DefaultMask(); m != nil {
		bits, _ = m.Size()
	}
	p := netip.PrefixFrom(ip, bits)
	a := model.Address{Link: link, Prefix: p, Broadcast: broadcast(p), Scope: "global", Origin: model.DHCP}
	if b, ok := netip.AddrFromSlice(ack.BroadcastAddress().To4()); ok {
		a.Broadcast = b
	}
	if life := ack.IPAddressLeaseTime(0); life > 0 {
		seconds := uint32(min(life/time.Second, 1<<32-2))
		a.Lifetime = &model.Lifetime{Valid: seconds, Preferred: seconds}
	}
	return a, nil
}

// leaseRoutes are the classless routes of a lease, else its router; RFC 3442 lets the
// former replace the latter.
func leaseRoutes(link string, ack *dhcpv4.DHCPv4) []model.Route {
	var out []model.Route
	for _, r := range ack.ClasslessStaticRoute() {
		dest, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		ones, _ := r.Dest.Mask.Size()
		if !ok {
			continue
		}
		route := defaultRoute(link, netip.Addr{}, "dhcp")
		route.Destination = netip.PrefixFrom(dest, ones).Masked()
		if gw, ok := netip.AddrFromSlice(r.Router.To4()); ok && !gw.IsUnspecified() {
			route.NextHops[0].Gateway = gw
		} else {
			route.Scope = "link"
		}
		out = append(out, route)
	}
	if len(out) > 0 {
		return out
	}
	for _, r := range ack.Router() {
		if gw, ok := netip.AddrFromSlice(r.To4()); ok {
			return []model.Route{defaultRoute(link, gw, "dhcp")}
		}
	}
	return nil
}

// wait sleeps, and tells whether the bell rang before the time was over.
func wait(ctx context.Context, d time.Duration, bell <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-bell:
		return true
	}
	return false
}
