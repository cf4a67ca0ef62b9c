package kernel

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// coalesce is how long rings that follow one another are counted as one.
	coalesce = 100 * time.Millisecond
	// silentEvery is how often it is looked after what the kernel announces to nobody.
	silentEvery = 500 * time.Millisecond
)

// watched are the groups of rtnetlink that ring. The settings for forwarding and reverse
// path filtering are among them (NETCONF), others are not announced.
var watched = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF, unix.RTNLGRP_NEXTHOP,
}

// Watch rings the channel when links, addresses, routes, rules or neighbours have
// changed: a doorbell, not data. Read everything again. Rings within 100 ms are one, and one
// that nobody has taken stands for those after it. The channel is closed when ctx ends.
func (k *Kernel) Watch(ctx context.Context) (<-chan struct{}, error) {
	c, err := k.subscribe()
	if err != nil {
		return nil, err
	}
	b := newBell(ctx)
	b.hear(c, nil)
	return b.out, nil
}

// WatchBy is [Kernel.Watch] for what somebody does: also for rules of nftables and proxies for
// addresses, and not for what is learned of neighbours. It also tells who rang since it was last asked: the names of the processes that asked the
// kernel for the changes, as far as it says so. A message names the socket that asked
// (nlmsg_pid), which has the number of its process where that has no other one
// (netlink_autobind); 0 where nobody asked.
func (k *Kernel) WatchBy(ctx context.Context) (rings <-chan struct{}, by func() []string, err error) {
	c, err := k.subscribe()
	if err != nil {
		return nil, nil, err
	}
	var proxies *conn
	err = k.inside(func() (err error) {
		proxies, err = openConn(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		_ = c.Close()
		return nil, nil, refusal("watch", err)
	}
	b, callers := newBell(ctx), &callers{kernel: k}
	b.hear(c, callers)
	go b.watchProxies(proxies)
	// Without nf_tables, or the right to hear of them, nothing is lost but the ring.
	if n, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(k.ns.Fd())}); err == nil {
		if n.JoinGroup(unix.NFNLGRP_NFTABLES) == nil {
			b.hear(n, callers)
		} else {
			_ = n.Close()
		}
	}
	return b.out, callers.take, nil
}

// subscribe opens a socket that hears of the changes.
func (k *Kernel) subscribe() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: int(k.ns.Fd())})
	if err != nil {
		return nil, refusal("watch", err)
	}
	for _, group := range watched {
		if err := c.JoinGroup(group); err != nil && group != unix.RTNLGRP_NEXTHOP { // since Linux 5.3
			_ = c.Close()
			return nil, refusal("watch", err)
		}
	}
	return c, nil
}

// bell gathers what rings.
type bell struct {
	ctx context.Context
	end context.CancelFunc // one that hears nothing any more ends all
	raw chan struct{}
	out chan struct{}
}

func newBell(ctx context.Context) *bell {
	ctx, cancel := context.WithCancel(ctx)
	b := &bell{ctx: ctx, end: cancel, raw: make(chan struct{}, 1), out: make(chan struct{}, 1)}
	go b.ring()
	return b
}

// hear rings for what arrives at a socket.
func (b *bell) hear(c *netlink.Conn, callers *callers) {
	context.AfterFunc(b.ctx, func() { _ = c.Close() }) // unblocks Receive
	go func() {
		defer b.end()
		for {
			// An overrun (ENOBUFS) means that much has changed: also a ring.
			messages, err := c.Receive()
			if err != nil && !isErrno(err, unix.ENOBUFS) {
				return
			}
			if callers != nil {
				callers.note(messages)
				if err == nil && !slices.ContainsFunc(messages, isSomebodysDoing) {
					continue
				}
			}
			knock(b.raw)
		}
	}()
}

// isSomebodysDoing leaves out what is learned: on a large LAN neighbours come, are confirmed
// and go all the time, and so do the entries of a bridge.
func isSomebodysDoing(m netlink.Message) bool {
	if m.Header.Type != unix.RTM_NEWNEIGH && m.Header.Type != unix.RTM_DELNEIGH {
		return true
	}
	n, err := parseNeighbour(m.Data)
	// Of a bridge's, NUD_NOARP is "static" (fdb_to_nud); a stack has it of every multicast group.
	return err != nil || n.state&unix.NUD_PERMANENT != 0 || n.family == unix.AF_BRIDGE && n.state&unix.NUD_NOARP != 0
}

// watchProxies rings when the proxies for addresses have changed, which the kernel announces
// to nobody (pneigh_create, pneigh_delete): it is one short question, and its answer is
// compared with the last one.
func (b *bell) watchProxies(c *conn) {
	defer c.close()
	tick := time.NewTicker(silentEvery)
	defer tick.Stop()
	last, err := dumpProxies(b.ctx, c)
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		was, known := last, err == nil
		if last, err = dumpProxies(b.ctx, c); err == nil && known && !bytes.Equal(was, last) {
			knock(b.raw)
		}
	}
}

// dumpProxies reads the addresses that are answered for in others' stead, as they come.
func dumpProxies(ctx context.Context, c *conn) (all []byte, err error) {
	err = c.dump(ctx, func() *message {
		return newMessage(unix.RTM_GETNEIGH, 0).raw(neighbourHeader(unix.AF_UNSPEC, 0, 0, unix.NTF_PROXY))
	}, func(body []byte) error {
		all = append(all, body...)
		return nil
	})
	return all, err
}

// knock rings once; a ring that nobody has taken stands for it.
func knock(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ring passes rings on, those within 100 ms as one.
func (b *bell) ring() {
	defer close(b.out)
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.raw:
		}
		select {
		case <-b.ctx.Done():
			return
		case <-time.After(coalesce):
		}
		select {
		case <-b.raw:
		default:
		}
		knock(b.out)
	}
}
