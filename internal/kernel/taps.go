package kernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// createTaps makes many taps: an ioctl's dance for each, then one netlink message for
// each, all of them in few sendmsg. Half made is not made: at the first refusal those
// that are there are deleted again.
//
// The taps are made on one thread: the kernel makes one at a time under its rtnl lock
// (tun_chr_ioctl), and several threads that wait for it are slower than one.
func (k *Kernel) createTaps(ctx context.Context, o model.CreateTaps) (model.Made, error) {
	master := 0
	if o.Master != "" {
		m, err := k.linkByName(o.Master)
		if err != nil {
			return nil, err
		}
		// Checked before: what a VRF or a bond makes of taps is not simulated.
		if m.Kind != model.Bridged {
			return nil, fmt.Errorf("%s: %w: it is no bridge", o.Master, model.ErrInvalid)
		}
		master = m.Index
	}
	made, err := k.makeTaps(o)
	if err == nil {
		err = k.setUpTaps(o, master, made)
	}
	if err == nil {
		return made, nil
	}
	undo := model.DeleteLinks{LinkGroup: o.LinkGroup}
	for name, index := range made {
		undo.Links = append(undo.Links, model.LinkID{Name: name, Index: index})
	}
	return nil, errors.Join(err, k.deleteLinks(context.WithoutCancel(ctx), undo))
}

// makeTaps returns the taps that it made, also with an error.
func (k *Kernel) makeTaps(o model.CreateTaps) (model.Made, error) {
	made := make(model.Made, len(o.Taps))
	err := k.inTapSocket(func(s int) error {
		for _, t := range o.Taps {
			index, err := makeTap(s, t)
			if err != nil {
				return err
			}
			made[t.Name] = index
		}
		return nil
	})
	return made, err
}

// setUpTaps gives each tap its MTU and group, brings it up and plugs it into its
// master by one message: the kernel does them in that order (do_setlink).
func (k *Kernel) setUpTaps(o model.CreateTaps, master int, made model.Made) error {
	if err := k.settleCarriers(made); err != nil {
		return err
	}
	var flags, change uint32
	if o.Up {
		flags, change = unix.IFF_UP, unix.IFF_UP
	}
	ms := make([]*message, len(o.Taps))
	for i, t := range o.Taps {
		m := linkMessage(unix.RTM_NEWLINK, 0, made[t.Name], flags, change)
		if t.MTU != 0 {
			m.u32(unix.IFLA_MTU, uint32(t.MTU))
		}
		if o.LinkGroup != 0 {
			m.u32(unix.IFLA_GROUP, o.LinkGroup)
		}
		if master != 0 {
			m.u32(unix.IFLA_MASTER, uint32(master))
		}
		ms[i] = m
	}
	for i, err := range k.rt.doAll(ms) {
		if err != nil {
			return refusal("tap "+o.Taps[i].Name, err)
		}
	}
	return nil
}

// settleCarriers reads each link, which brings its operational state up to date
// (rtnl_getlink, linkwatch_sync_dev; Linux 6.8). A tap whose descriptor was closed has
// lost its carrier, but by itself the kernel notices that for 100 links a second only
// (__linkwatch_run_queue). Until then it takes them for alive: a bridge lets them
// forward, which costs it a look at every other port for each.
func (k *Kernel) settleCarriers(made model.Made) error {
	ms := make([]*message, 0, len(made))
	for _, index := range made {
		m := linkMessage(unix.RTM_GETLINK, 0, index, 0, 0)
		m.u32(unix.IFLA_EXT_MASK, filterSkipStats)
		ms = append(ms, m)
	}
	// An answer takes more of the receive buffer than an acknowledgement.
	for part := range slices.Chunk(ms, max(k.rt.batch/8, 1)) {
		for _, err := range k.rt.doAll(part) {
			if err != nil {
				return refusal("carrier of a tap", err)
			}
		}
	}
	return nil
}

// deleteLinks deletes many links with one message, by their group: each by itself
// takes some 16 ms, in which the kernel waits until nobody sees it any more
// (synchronize_net); together they wait once. The message deletes every member of the
// group (rtnl_group_dellink). So where others are in it, or some of ours are not, ours
// are put into a group of their own first.
func (k *Kernel) deleteLinks(ctx context.Context, o model.DeleteLinks) error {
	there, err := k.links(ctx)
	if err != nil {
		return err
	}
	ids := make(map[string]model.LinkID, len(o.Links))
	for _, id := range o.Links {
		ids[id.Name] = id
	}
	groups, linkNames := map[uint32]int{}, make(map[int]string, len(there))
	for _, l := range there {
		linkNames[l.Index] = l.Name
	}
	var ours []rawLink
	for _, l := range there {
		l.Master = linkNames[l.master]
		groups[l.Group]++
		if id, listed := ids[l.Name]; listed && id.Identifies(&l.Link, o.LinkGroup) {
			ours = append(ours, l)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	group := ours[0].Group
	apart := func(l rawLink) bool { return l.Group != group }
	if group == 0 || groups[group] != len(ours) || slices.ContainsFunc(ours, apart) {
		if group, err = k.regroup(ours, groups); err != nil {
			return err
		}
	}
	m := linkMessage(unix.RTM_DELLINK, 0, 0, 0, 0)
	m.u32(unix.IFLA_GROUP, group)
	if err := k.rt.do(m); err != nil && !isErrno(err, unix.ENODEV, unix.ESRCH) {
		return refusal(fmt.Sprintf("links of group %d", group), err)
	}
	var gone []string
	for _, l := range ours {
		gone = append(gone, l.Name)
	}
	k.freeGone(gone...)
	return nil
}

// regroup puts links into a random group that nobody is in.
func (k *Kernel) regroup(links []rawLink, taken map[uint32]int) (uint32, error) {
	group := model.LinkGroup(rand.Uint32())
	for taken[group] > 0 {
		group = model.LinkGroup(rand.Uint32())
	}
	ms := make([]*message, len(links))
	for i, l := range links {
		ms[i] = linkMessage(unix.RTM_NEWLINK, 0, l.Index, 0, 0)
		ms[i].u32(unix.IFLA_GROUP, group)
	}
	for i, err := range k.rt.doAll(ms) {
		if err != nil && !isErrno(err, unix.ENODEV) {
			return 0, refusal("group of "+links[i].Name, err)
		}
	}
	return group, nil
}
