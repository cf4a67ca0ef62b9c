package kernel

import (
	"fmt"

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
