package kernel

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// bellGroups are what makes an observation inconsistent when it changes. Neighbours and
// learned forwarding entries come and go by themselves: they do not.
var bellGroups = []int{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
}

// listen makes the socket hear of changes to links, addresses, routes and rules.
func (c *conn) listen() error {
	for _, group := range bellGroups {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("netlink group %d: %w", group, err)
		}
	}
	return nil
}

// rest makes it deaf again: whoever hears costs the kernel a copy of each message, and a
// thousand taps are some thousand messages.
func (c *conn) rest() {
	for _, group := range bellGroups {
		_ = unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, group)
	}
}

// rang empties the socket without waiting, and tells whether anything was in it. An
// overrun (ENOBUFS) is a ring as well.
func (c *conn) rang() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	heard := false
	for {
		_, _, err := unix.Recvfrom(c.fd, c.buf[:1], unix.MSG_DONTWAIT)
		switch err {
		case unix.EINTR:
		case unix.EAGAIN:
			return heard
		case nil, unix.ENOBUFS:
			heard = true
		default:
			return true
		}
	}
}

// coalesce is how long rings that follow one another are counted as one.
const coalesce = 100 * time.Millisecond

// Watch rings the channel when links, addresses, routes, rules or neighbours have
// changed: a doorbell, not data. Read everything again. Rings within 100 ms are one, and one
// that nobody has taken stands for those after it. The channel is closed when ctx ends.
func (k *Kernel) Watch(ctx context.Context) (<-chan struct{}, error) {
	rings, _, err := k.WatchBy(ctx)
	return rings, err
}

// WatchBy is [Kernel.Watch], and also tells who rang since it was last asked: the names of
// the processes that asked the kernel for the changes, as far as it says so and they were
// still there. A message names the socket that asked (nlmsg_pid), which has the number of
// its process where that has no other one (netlink_autobind); 0 where nobody asked.
func (k *Kernel) WatchBy(ctx context.Context) (rings <-chan struct{}, by func() []string, err error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: int(k.ns.Fd())})
	if err != nil {
		return nil, nil, refusal("watch", err)
	}
	for _, group := range []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP,
	} {
		if err := c.JoinGroup(group); err != nil && group != unix.RTNLGRP_NEXTHOP { // since Linux 5.3
			_ = c.Close()
			return nil, nil, refusal("watch", err)
		}
	}
	var callers callers
	raw := make(chan struct{}, 1)
	go func() {
		defer close(raw)
		for {
			// An overrun (ENOBUFS) means that much has changed: also a ring.
			messages, err := c.Receive()
			if err != nil && !isErrno(err, unix.ENOBUFS) {
				return
			}
			callers.note(messages)
			select {
			case raw <- struct{}{}:
			default:
			}
		}
	}()
	out := make(chan struct{}, 1)
	go ring(ctx, c, raw, out)
	return out, callers.take, nil
}

// callers are the names of who asked for changes.
type callers struct {
	mu    sync.Mutex
	names []string
}

// note looks them up at once: a command is gone in a moment.
func (c *callers) note(messages []netlink.Message) {
	seen := map[uint32]bool{0: true}
	for _, m := range messages {
		// Neighbours are learned all the time, and are nobody's doing.
		if pid := m.Header.PID; !seen[pid] && m.Header.Type != unix.RTM_NEWNEIGH && m.Header.Type != unix.RTM_DELNEIGH {
			seen[pid] = true
			name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if err != nil {
				continue
			}
			c.mu.Lock()
			if text := strings.TrimSpace(string(name)); !slices.Contains(c.names, text) {
				c.names = append(c.names, text)
			}
			c.mu.Unlock()
		}
	}
}

// take returns them, and forgets them.
func (c *callers) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := c.names
	c.names = nil
	return names
}

func ring(ctx context.Context, c *netlink.Conn, raw <-chan struct{}, out chan<- struct{}) {
	defer close(out)
	defer func() {
		_ = c.Close() // unblocks Receive
		for range raw {
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-raw:
			if !ok {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(coalesce):
		}
		select {
		case <-raw:
		default:
		}
		select {
		case out <- struct{}{}:
		default:
		}
	}
}
