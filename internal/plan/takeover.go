package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// TakeOver plans that a manager takes over what is ours, from files that tell it all as it
// is. Without steps there is nothing to hand over: it has it, or is not here.
func TakeOver(now model.Snapshot, own Owned, manager string) (Plan, error) {
	b := newBuilder(now.Clone(), own, Options{})
	op := model.TakeOver{Manager: manager}
	if !b.isHere(manager) {
		return b.done()
	}
	lacks := func(name string) bool {
		l := b.here().Link(name)
		return l != nil && !b.manages(manager, name) && !b.noted(manager, name)
	}
	anew := false
	for _, l := range own.Links {
		if l.Added != nil && l.Added.Holder != nil || l.Kind == model.Veth || b.here().Link(l.Name) == nil {
			continue // it ends with whoever asked for it
		}
		if l.Kind == model.Bridged {
			op.Bridges = append(op.Bridges, l.Name)
		} else {
			op.Ports = append(op.Ports, l.Name)
		}
		anew = anew || lacks(l.Name)
	}
	for _, u := range own.Uplinks {
		if l := b.here().Link(u.Name); l != nil && l.Master == u.Bridge {
			op.Ports = slices.Insert(op.Ports, 0, u.Name)
			anew = anew || model.CanBeTold(manager) && lacks(u.Name)
		}
	}
	if anew {
		b.step(fmt.Sprintf("Have %s take over %s as they are", manager, namesOf(op.Links())),
			"From now on it sees to them by the files that were written, and has no need to touch anything: all is as they say.", op)
	}
	return b.done()
}

// isHere tells whether a manager sees to a link here, or would if it were not told otherwise.
func (b *builder) isHere(manager string) bool {
	return slices.ContainsFunc(b.own.Beside, func(x Beside) bool { return x.Manager == manager }) ||
		slices.ContainsFunc(b.here().Links, func(l model.Link) bool { return b.manages(manager, l.Name) || b.noted(manager, l.Name) })
}

// noted tells whether one of the managers that do nothing by themselves has brought a link
// up, or has noted that it is.
func (b *builder) noted(manager, link string) bool {
	l := b.here().Link(link)
	return l != nil && slices.ContainsFunc(l.Managers, func(m model.Manager) bool { return m.Name == manager && !m.Acts && !m.Told })
}

// StepAside plans that managers let go again of what they have taken over, as it is.
func StepAside(now model.Snapshot, own Owned) (Plan, error) {
	b := newBuilder(now.Clone(), own, Options{})
	for _, manager := range []string{model.NetworkManager, model.Networkd} {
		links := b.taken(manager)
		if len(links) == 0 {
			continue
		}
		b.step(fmt.Sprintf("Have %s let go of %s as they are", manager, namesOf(links)),
			"It holds them by files that are taken away. It is told for this boot only.",
			model.LeaveAlone{Manager: manager, Links: links, Taken: true})
	}
	return b.done()
}

// taken are the links of ours that a manager holds by files of ours.
func (b *builder) taken(manager string) (out []string) {
	names := make([]string, 0, len(b.own.Links)+len(b.own.Uplinks))
	for _, l := range b.own.Links {
		names = append(names, l.Name)
	}
	for _, u := range b.own.Uplinks {
		names = append(names, u.Name)
	}
	byOurs := false
	for _, name := range names {
		if b.manages(manager, name) {
			out = append(out, name)
			byOurs = byOurs || heldByOurs(b.here().Link(name), manager)
		}
	}
	if !byOurs {
		return nil
	}
	return out
}

// heldByOurs: a file of ours has our name in its own; netplan makes some of the manager's
// from ours that have not.
func heldByOurs(l *model.Link, manager string) bool {
	return l != nil && slices.ContainsFunc(l.Managers, func(m model.Manager) bool {
		return m.Name == manager && !m.Told && strings.Contains(path.Base(m.File), "drawbridge-")
	})
}

// takenBack is what undoes that a manager lets go: it takes over again what it holds by
// files of ours.
func takenBack(op model.LeaveAlone, ns *model.Namespace) model.Operations {
	back := model.TakeOver{Manager: op.Manager}
	byOurs := false
	for _, name := range slices.Concat(op.Links, op.Later) {
		l := ns.Link(name)
		if l == nil {
			continue
		}
		byOurs = byOurs || heldByOurs(l, op.Manager)
		if l.Bridge != nil {
			back.Bridges = append(back.Bridges, name)
		} else {
			back.Ports = append(back.Ports, name)
		}
	}
	if !byOurs {
		return nil
	}
	return model.Operations{back}
}

// letGo undoes a [model.TakeOver]: the manager leaves the links alone again, and what it may
// have taken meanwhile is brought back.
func letGo(op model.TakeOver, ns *model.Namespace) model.Operations {
	undo := model.Operations{model.LeaveAlone{Manager: op.Manager, Links: op.Links(), Taken: true}}
	for _, port := range op.Ports {
		if l := ns.Link(port); l != nil && l.Master != "" {
			undo = append(undo, model.SetMaster{Link: port, Master: l.Master})
		}
	}
	for _, bridge := range op.Bridges {
		own := movable(ns.AddressesOf(bridge))
		for _, a := range inTransit(own) { // one by one: what is there still is no error
			undo = append(undo, model.AddAddresses{Link: bridge, Addresses: []model.Address{a}})
		}
		if len(own) > 0 {
			undo = append(undo, model.SettleAddresses{Link: bridge, Addresses: own})
		}
		for _, r := range ns.RoutesOf(bridge) {
			if r.Protocol != "kernel" && r.Table != model.TableLocal {
				undo = append(undo, model.AddRoutes{Routes: []model.Route{r}})
			}
		}
	}
	return undo
}

// takeOverCommands are the nearest that a person can type. NetworkManager takes a bridge of
// others over without a gap by a change of the profile that it has made for it.
func takeOverCommands(op model.TakeOver) []string {
	switch op.Manager {
	case model.NetworkManager:
		cmds := []string{"rm " + model.BesideFile(op.Manager), "nmcli general reload conf"}
		for _, l := range op.Links() {
			cmds = append(cmds, "nmcli device set "+l+" managed yes autoconnect no")
		}
		for _, l := range op.Links() {
			cmds = append(cmds, fmt.Sprintf("sed -i s/^uuid=.*/uuid=$(nmcli -g GENERAL.CON-UUID device show %[1]s)/ /etc/NetworkManager/system-connections/drawbridge-%[1]s.nmconnection", l),
				"rm /run/NetworkManager/system-connections/"+l+".nmconnection", "nmcli connection reload")
		}
		return cmds
	case model.Networkd:
		cmds := each(op.Bridges, func(l string) string {
			return fmt.Sprintf(`printf '[Network]\nKeepConfiguration=yes\n' >/run/systemd/network/05-drawbridge-%s.network.d/90-drawbridge-keep.conf`, l)
		})
		return append(cmds, "rm "+model.BesideFile(op.Manager), "networkctl reload")
	default:
		return each(op.Links(), func(l string) string { return "echo " + l + "=" + l + " >>/run/network/ifstate" })
	}
}
