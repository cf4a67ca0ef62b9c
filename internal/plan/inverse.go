package plan

import (
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// inverse lists the operations that bring back what op changes, given the state
// that op meets and that everything after it is undone already.
func inverse(op model.Operation, before *model.Snapshot) model.Operations {
	ns := before.Here()
	switch op := op.(type) {
	case model.CreateBridge, model.CreateTap, model.CreateTaps, model.CreateVeth, model.DeleteLink, model.DeleteLinks:
		return inverseForLink(op, ns)
	case model.SetUp:
		return inverseOfUp(op, ns)
	case model.SetMaster:
		if l := ns.Link(op.Link); l != nil && l.Master != op.Master {
			return append(model.Operations{model.SetMaster{Link: op.Link, Master: l.Master}}, reisolate(l)...)
		}
	case model.SetMAC:
		if l := ns.Link(op.Link); l != nil && l.MAC != op.MAC {
			return model.Operations{model.SetMAC{Link: op.Link, MAC: l.MAC}}
		}
	case model.SetMTU:
		if l := ns.Link(op.Link); l != nil && l.MTU != op.MTU {
			return model.Operations{model.SetMTU{Link: op.Link, MTU: l.MTU}}
		}
	case model.AddAddresses:
		if added := addresses(op.Addresses, func(a model.Address) bool { return !hasAddress(ns, op.Link, a) }); len(added) > 0 {
			return model.Operations{model.DeleteAddresses{Link: op.Link, Addresses: added}}
		}
	case model.DeleteAddresses:
		gone := addresses(ns.AddressesOf(op.Link), func(a model.Address) bool { return containsPrefix(op.Addresses, a) })
		if len(gone) > 0 {
			return model.Operations{
				model.AddAddresses{Link: op.Link, Addresses: inTransit(gone)},
				model.SettleAddresses{Link: op.Link, Addresses: gone},
			}
		}
	case model.AddRoutes, model.DeleteRoutes:
		return inverseForRoutes(op)
	case model.MoveRoutes:
		return model.Operations{model.MoveRoutes{From: op.To, To: op.From, Routes: model.Moved(op.Routes, op.From, op.To)}}
	case model.CopyRules, model.DeleteRules:
		return inverseForRules(op, ns)
	case model.AddProxies, model.DeleteProxies:
		return inverseForProxies(op, ns)
	case model.SetToken:
		if l := ns.Link(op.Link); l != nil && l.Token != op.Token {
			return model.Operations{model.SetToken{Link: op.Link, Token: orSame(l.Token, "::")}}
		}
	case model.SetBridge:
		if l := ns.Link(op.Bridge); l != nil && l.Bridge != nil {
			return model.Operations{op.Was(*l.Bridge)}
		}
	case model.JoinGroups, model.LeaveGroups, model.RedirectIngress, model.ResetOffloads, model.AllowOffloads, model.LeaveAlone, model.ManageAgain, model.TakeOver,
		model.OpenPassage, model.ClosePassage:
		return inverseUnseen(op, ns)
	case model.SecurePorts, model.FreePorts, model.SetIsolated:
		return inverseForPort(op, ns)
	case model.SetForwarding, model.DropForwarding:
		return inverseForForwarding(op, ns)
	case model.SetSetting:
		return inverseOfSetting(op, ns)
	case model.StartService, model.ChangeService, model.StopService:
		return inverseForService(op, before)
	default:
		return inverseForMachine(op, before)
	}
	return nil
}

// inverseForLink is for what makes links and takes them away.
func inverseForLink(op model.Operation, ns *model.Namespace) model.Operations {
	switch op := op.(type) {
	case model.CreateBridge:
		return model.Operations{model.DeleteLink{Name: op.Name, MAC: op.MAC, Kind: model.Bridged}}
	case model.CreateTap:
		return model.Operations{model.DeleteLink{Name: op.Name, MAC: op.MAC, Kind: model.TapKind}}
	case model.CreateTaps:
		undo := model.DeleteLinks{LinkGroup: op.LinkGroup, Kind: model.TapKind}
		for _, t := range op.Taps {
			undo.Links = append(undo.Links, model.LinkID{Name: t.Name, MAC: t.MAC})
		}
		return model.Operations{undo}
	case model.CreateVeth:
		return model.Operations{model.DeleteLink{Name: op.Name, MAC: op.MAC, Kind: model.Veth}}
	case model.DeleteLink:
		return recreate(ns, op.Name)
	case model.DeleteLinks:
		return recreateAll(ns, op)
	}
	return nil
}

// inverseOfSetting: one that is a setting for all links brings each of them back, too.
func inverseOfSetting(op model.SetSetting, ns *model.Namespace) model.Operations {
	was, ok := ns.Settings[op.Path]
	if !ok || was == op.Value {
		return nil
	}
	undo := model.Operations{model.SetSetting{Path: op.Path, Value: was}}
	for _, path := range model.SettingsWith(ns, op.Path) {
		if ns.Settings[path] != was {
			undo = append(undo, model.SetSetting{Path: path, Value: ns.Settings[path]})
		}
	}
	return undo
}

func inverseForRoutes(op model.Operation) model.Operations {
	switch op := op.(type) {
	case model.AddRoutes:
		return model.Operations{model.DeleteRoutes(op)}
	case model.DeleteRoutes:
		return model.Operations{model.AddRoutes(op)}
	default:
		return nil
	}
}

func inverseForRules(op model.Operation, ns *model.Namespace) model.Operations {
	switch op := op.(type) {
	case model.CopyRules:
		twins := slices.DeleteFunc(model.Renamed(op.Rules, op.From, op.To), func(r model.Rule) bool { return slices.Contains(ns.Rules, r) })
		return model.Operations{model.DeleteRules{Link: op.To, Rules: twins, Of: op.From}}
	case model.DeleteRules:
		return model.Operations{model.CopyRules{From: op.Of, To: op.Link, Rules: model.Renamed(op.Rules, op.Link, op.Of)}}
	default:
		return nil
	}
}

// inverseUnseen is for what leaves nothing in a snapshot.
func inverseUnseen(op model.Operation, ns *model.Namespace) model.Operations {
	switch op := op.(type) {
	case model.JoinGroups:
		return model.Operations{model.LeaveGroups(op)}
	case model.LeaveGroups:
		return model.Operations{model.JoinGroups(op)}
	case model.OpenPassage:
		return model.Operations{model.ClosePassage(op)}
	case model.ClosePassage:
		return model.Operations{model.OpenPassage(op)}
	case model.RedirectIngress:
		return model.Operations{model.EndRedirect{From: op.From}}
	case model.ResetOffloads:
		return model.Operations{model.AllowOffloads(op)}
	case model.AllowOffloads:
		return model.Operations{model.ResetOffloads(op)}
	default:
		return inverseForManager(op, ns)
	}
}

func inverseOfUp(op model.SetUp, ns *model.Namespace) model.Operations {
	l := ns.Link(op.Link)
	if l == nil || l.Up == op.Up {
		return nil
	}
	undo := model.Operations{model.SetUp{Link: op.Link, Up: l.Up}}
	// A link that goes down loses its IPv6 addresses (addrconf_ifdown), also those that it
	// was given while it was down.
	if six := addresses(ns.AddressesOf(op.Link), func(a model.Address) bool { return a.Prefix.Addr().Is6() && a.Origin != model.LinkLocal }); op.Up && len(six) > 0 {
		undo = append(undo, model.AddAddresses{Link: op.Link, Addresses: six})
	}
	return undo
}

func inverseForMachine(op model.Operation, before *model.Snapshot) model.Operations {
	switch op := op.(type) {
	case model.StartMachine:
		return model.Operations{model.StopMachine{Name: op.Machine.Name, VMM: vmmWord(op.Machine.VMM)}}
	case model.StopMachine:
		if m := before.Machine(op.Name); m != nil && m.Config != nil {
			return model.Operations{model.StartMachine{Machine: *m.Config}}
		}
	case model.StartMachines:
		return model.Operations{model.StopMachines{Machines: op.Names()}}
	case model.StopMachines:
		var again model.StartMachines
		for _, name := range op.Machines {
			if m := before.Machine(name); m != nil && m.Config != nil {
				again.Machines = append(again.Machines, *m.Config)
			}
		}
		return model.Operations{again}
	case model.PlugNIC:
		return model.Operations{model.UnplugNIC{Machine: op.Machine, NIC: op.NIC.Name, VMM: op.VMM}}
	case model.UnplugNIC:
		if nic := nicConfig(before.Machine(op.Machine), op.NIC); nic != nil {
			return model.Operations{model.PlugNIC{Machine: op.Machine, NIC: *nic, VMM: op.VMM}}
		}
	case model.ConfigureNIC:
		if nic := nicConfig(before.Machine(op.Machine), op.NIC.Name); nic != nil {
			return model.Operations{model.ConfigureNIC{Machine: op.Machine, NIC: *nic}}
		}
	}
	return nil
}

// recreate lists what makes a deleted link anew, as it was.
func recreate(ns *model.Namespace, name string) model.Operations {
	l := ns.Link(name)
	if l == nil {
		return nil
	}
	if l.Kind == model.TapKind && l.Group != 0 { // what is made alone is in no group
		again := model.CreateTaps{Taps: []model.CreateTap{tapLike(l)}, Master: l.Master, Up: l.Up, LinkGroup: l.Group}
		return slices.Concat(model.Operations{again}, reisolate(l), readdress(ns, name), securityAgain(ns, name))
	}
	var ops model.Operations
	switch l.Kind {
	case model.Bridged:
		ops = append(ops, model.CreateBridge{Name: name, MAC: l.MAC, MTU: l.MTU})
		for _, p := range ns.Ports(name) {
			ops = append(append(ops, model.SetMaster{Link: p.Name, Master: name}), reisolate(&p)...)
		}
	case model.TapKind:
		ops = append(ops, tapLike(l))
	case model.Veth:
		ops = append(ops, model.CreateVeth{Name: name, MAC: l.MAC, MTU: l.MTU, Peer: model.Ref{Name: model.PeerName(name)}})
	default:
		return nil
	}
	if l.Master != "" {
		ops = append(append(ops, model.SetMaster{Link: name, Master: l.Master}), reisolate(l)...)
	}
	if l.Up && l.Kind != model.Bridged {
		ops = append(ops, model.SetUp{Link: name, Up: true})
	}
	return slices.Concat(ops, readdress(ns, name), securityAgain(ns, name))
}

func readdress(ns *model.Namespace, link string) model.Operations {
	as := addresses(ns.AddressesOf(link), func(a model.Address) bool { return a.Origin != model.LinkLocal })
	if len(as) == 0 {
		return nil
	}
	return model.Operations{model.AddAddresses{Link: link, Addresses: as}}
}

// tapLike makes a tap as l is.
func tapLike(l *model.Link) model.CreateTap {
	return model.CreateTap{Name: l.Name, MAC: l.MAC, Owner: l.Tap.Owner, OwnerName: l.Tap.OwnerName, Group: l.Tap.Group,
		GroupName: l.Tap.GroupName, VnetHeader: l.Tap.VnetHeader, MultiQueue: l.Tap.MultiQueue, MTU: l.MTU}
}

func nicConfig(m *model.Machine, name string) *model.NICConfig {
	if m == nil || m.Config == nil {
		return nil
	}
	for i := range m.Config.NICs {
		if m.Config.NICs[i].Name == name {
			return &m.Config.NICs[i]
		}
	}
	return nil
}

func addresses(as []model.Address, keep func(model.Address) bool) []model.Address {
	return slices.DeleteFunc(slices.Clone(as), func(a model.Address) bool { return !keep(a) })
}

func hasAddress(ns *model.Namespace, link string, a model.Address) bool {
	return containsPrefix(ns.AddressesOf(link), a)
}

func containsPrefix(as []model.Address, a model.Address) bool {
	return slices.ContainsFunc(as, func(b model.Address) bool { return a.Prefix == b.Prefix })
}

// settingLink is the link that a sysctl's path is about, "" for one of all or none.
func settingLink(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) == 4 && (parts[1] == "conf" || parts[1] == "neigh") && parts[2] != "all" && parts[2] != "default" {
		return parts[2]
	}
	return ""
}
