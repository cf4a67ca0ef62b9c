package kernel

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// newLink writes an RTM_NEWLINK that makes a link. data appends IFLA_INFO_DATA.
func newLink(name, kind string, flags uint32, mac model.MAC, mtu int, data func(m *message)) (*message, error) {
	m := linkMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, flags, flags)
	return m, m.linkBody(name, kind, mac, mtu, data)
}

func (m *message) linkBody(name, kind string, mac model.MAC, mtu int, data func(m *message)) error {
	if err := model.CheckLinkName(name); err != nil {
		return err
	}
	m.str(unix.IFLA_IFNAME, name)
	if mac != "" {
		b, err := parseMAC(mac)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m.attr(unix.IFLA_ADDRESS, b)
	}
	if mtu != 0 {
		m.u32(unix.IFLA_MTU, uint32(mtu))
	}
	m.nest(unix.IFLA_LINKINFO, func() {
		m.str(unix.IFLA_INFO_KIND, kind)
		if data != nil {
			m.nest(unix.IFLA_INFO_DATA, func() { data(m) })
		}
	})
	return nil
}

// createBridge makes a bridge, and gives it its MTU in a message of its own behind the
// first: only an MTU that is set is kept (br_change_mtu, BROPT_MTU_SET_BY_USER); one
// that it is made with sinks to the smallest of its ports (br_mtu_auto_adjust). Setting
// the MTU that a bridge has already does nothing (netif_set_mtu_ext), so it is made
// with another.
func (k *Kernel) createBridge(o model.CreateBridge) error {
	first := 0
	if o.MTU != 0 {
		first = o.MTU - 1
	}
	m, err := newLink(o.Name, "bridge", unix.IFF_UP, o.MAC, first, func(m *message) {
		m.u32(unix.IFLA_BR_FORWARD_DELAY, 0)
		m.u32(unix.IFLA_BR_STP_STATE, 0)
	})
	if err != nil {
		return err
	}
	ms := []*message{m}
	if o.MTU != 0 {
		set := linkMessage(unix.RTM_NEWLINK, 0, 0, 0, 0)
		set.str(unix.IFLA_IFNAME, o.Name)
		set.u32(unix.IFLA_MTU, uint32(o.MTU))
		ms = append(ms, set)
	}
	errs := k.rt.doAll(ms)
	if errs[0] != nil {
		return refusal("bridge "+o.Name, errs[0])
	}
	if o.MTU != 0 && errs[1] != nil {
		_ = k.rt.do(deleteByName(o.Name)) // half made is not made
		return refusal(fmt.Sprintf("MTU %d of bridge %s", o.MTU, o.Name), errs[1])
	}
	return nil
}

func deleteByName(name string) *message {
	m := linkMessage(unix.RTM_DELLINK, 0, 0, 0, 0)
	m.str(unix.IFLA_IFNAME, name)
	return m
}

const vethInfoPeer = 1 // VETH_INFO_PEER, include/uapi/linux/veth.h

func (k *Kernel) createVeth(o model.CreateVeth) error {
	var peerErr error
	ns, done, err := k.namespaceFD(o.Peer.Namespace)
	if err != nil {
		return err
	}
	defer done()
	m, err := newLink(o.Name, "veth", 0, o.MAC, o.MTU, func(m *message) {
		m.nest(vethInfoPeer, func() {
			m.b = append(m.b, linkHeader(unix.AF_UNSPEC, 0, 0, 0)...)
			m.str(unix.IFLA_IFNAME, o.Peer.Name)
			if o.PeerMAC != "" {
				var b []byte
				b, peerErr = parseMAC(o.PeerMAC)
				m.attr(unix.IFLA_ADDRESS, b)
			}
			if o.MTU != 0 {
				m.u32(unix.IFLA_MTU, uint32(o.MTU))
			}
			if ns >= 0 {
				m.u32(unix.IFLA_NET_NS_FD, uint32(ns))
			}
		})
	})
	if err == nil {
		err = peerErr
	}
	if err == nil {
		err = model.CheckLinkName(o.Peer.Name)
	}
	if err != nil {
		return err
	}
	return refusal(fmt.Sprintf("veth pair %s and %s", o.Name, o.Peer), k.rt.do(m))
}

// namespaceFD opens a namespace that a reference names: "" is this one (-1), "pid:N"
// a process's, else a name in /run/netns. done closes it.
func (k *Kernel) namespaceFD(name string) (fd int, done func(), err error) {
	if name == "" {
		return -1, func() {}, nil
	}
	path := filepath.Join(netnsDir, name)
	if pid, ok := strings.CutPrefix(name, "pid:"); ok {
		if _, err := strconv.Atoi(pid); err != nil {
			return -1, nil, fmt.Errorf("network namespace %q: %w", name, model.ErrInvalid)
		}
		path = filepath.Join("/proc", pid, "ns/net")
	} else if err := checkNamespaceName(name); err != nil {
		return -1, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return -1, nil, fmt.Errorf("network namespace %s: %w (%w)", name, model.ErrNotFound, err)
	}
	return int(f.Fd()), func() { f.Close() }, nil
}

func (k *Kernel) deleteLink(o model.DeleteLink) error {
	l, err := k.linkByName(o.Name)
	if isErrno(err, unix.ENODEV) || isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !o.Identifies(&l.Link) {
		return fmt.Errorf("%s (index %d, MAC %s): %w", o.Name, l.Index, l.MAC, model.ErrNotOurs)
	}
	// By index: between the look and the deed, another link may get the name.
	err = k.rt.do(linkMessage(unix.RTM_DELLINK, 0, l.Index, 0, 0))
	if err != nil && !isErrno(err, unix.ENODEV) {
		return refusal(o.Name, err)
	}
	k.freeGone(o.Name)
	return nil
}

// changeLink sends one RTM_NEWLINK to an existing link.
func (k *Kernel) changeLink(name string, flags, change uint32, attrs func(m *message)) error {
	l, err := k.linkByName(name)
	if err != nil {
		return err
	}
	m := linkMessage(unix.RTM_NEWLINK, 0, l.Index, flags, change)
	if attrs != nil {
		attrs(m)
	}
	return refusal(name, k.rt.do(m))
}

func (k *Kernel) moveLink(o model.MoveLink) error {
	fd, done, err := k.namespaceFD(o.Namespace)
	if err != nil {
		return err
	}
	defer done()
	if fd < 0 {
		return fmt.Errorf("%s: %w: no namespace to move it to", o.Link, model.ErrInvalid)
	}
	err = k.changeLink(o.Link, 0, 0, func(m *message) {
		m.u32(unix.IFLA_NET_NS_FD, uint32(fd))
		if o.NewName != "" {
			m.str(unix.IFLA_IFNAME, o.NewName)
		}
	})
	if err == nil {
		k.freeGone(o.Link)
	}
	return err
}

// Show has the kernel tell all who listen of a link that has not changed: it hears all
// multicast for a moment, as a bridge's port does anyhow (dev_set_allmulti). A request that
// changes nothing is told to nobody.
func (k *Kernel) Show(name string) error {
	l, err := k.linkByName(name)
	if err != nil {
		return err
	}
	for _, flags := range []uint32{^l.flags & unix.IFF_ALLMULTI, l.flags & unix.IFF_ALLMULTI} {
		if err := k.changeLink(name, flags, unix.IFF_ALLMULTI, nil); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kernel) setUp(o model.SetUp) error {
	var flags uint32
	if o.Up {
		flags = unix.IFF_UP
	}
	return k.changeLink(o.Link, flags, unix.IFF_UP, nil)
}

func (k *Kernel) setMaster(o model.SetMaster) error {
	master := rawLink{}
	if o.Master != "" {
		var err error
		if master, err = k.linkByName(o.Master); err != nil {
			return err
		}
	}
	err := k.changeLink(o.Link, 0, 0, func(m *message) { m.u32(unix.IFLA_MASTER, uint32(master.Index)) })
	if err != nil && o.Master != "" {
		return fmt.Errorf("master %s of %w", o.Master, err)
	}
	return err
}

// waitUp waits for a link's operational state: linkwatch sets it after the change that
// caused it (linkwatch_fire_event), 0.15 to 1.5 ms later, at most about 1 s.
func (k *Kernel) waitUp(ctx context.Context, o model.WaitUp) error {
	deadline := time.Now().Add(time.Duration(o.Timeout) * time.Millisecond)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		l, err := k.linkByName(o.Link)
		if err != nil {
			return err
		}
		// A loopback and a dummy never leave "unknown".
		if l.OperState == "up" || l.OperState == "unknown" && l.Up && l.Carrier {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w: not up after %d ms: its operational state is %s, carrier %t, set up %t", o.Link, model.ErrBusy, o.Timeout, l.OperState, l.Carrier, l.Up)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for its operational state: %w", o.Link, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func (k *Kernel) setMAC(o model.SetMAC) error {
	mac, err := net.ParseMAC(string(o.MAC))
	if err != nil {
		return fmt.Errorf("%s: MAC %q: %w", o.Link, o.MAC, model.ErrInvalid)
	}
	return k.changeLink(o.Link, 0, 0, func(m *message) { m.attr(unix.IFLA_ADDRESS, mac) })
}
