package kernel

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// JoinGroups makes a link a member of multicast groups until what it returns is closed, or
// the process ends. Each membership has a socket of its own: one takes 20 at most
// (igmp_max_memberships). The sockets are bound to no port, and receive nothing.
func (k *Kernel) JoinGroups(link string, groups []netip.Addr) (io.Closer, error) {
	l, err := k.linkByName(link)
	if err != nil {
		return nil, err
	}
	var held memberships
	err = k.inside(func() error {
		for _, group := range groups {
			fd, err := join(l.Index, group)
			if err != nil {
				return fmt.Errorf("join %s on %s: %w", group, link, err)
			}
			held = append(held, fd)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, nil
}

func join(index int, group netip.Addr) (fd int, err error) {
	family := unix.AF_INET6
	if group.Is4() {
		family = unix.AF_INET
	}
	if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	if group.Is4() {
		err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)})
	} else {
		err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

type memberships []int

func (m memberships) Close() error {
	var errs []error
	for _, fd := range m {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
