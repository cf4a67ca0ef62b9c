package plan

import (
	"maps"
	"net/netip"
	"slices"

	"drawbridge/internal/model"
)

// Owned is what earlier runs made or altered in a namespace: what may be deleted,
// and what must be brought back. It is stored beside the journal.
type Owned struct {
	// Links that were made here, with the index each had: a link of that name with
	// another index is a stranger's, and is left alone.
	Links []OwnedLink `json:"links,omitempty"`
	// Touched are links of others that were plugged or brought up.
	Touched []TouchedLink `json:"touched,omitempty"`
	// Uplinks whose host end is in a bridge because of us.
	Uplinks []OwnedUplink `json:"uplinks,omitempty"`
	// Addresses that were added to links, other than an uplink's moved ones.
	Addresses []model.Address `json:"addresses,omitempty"`
	// Settings as they were before they were altered.
	Settings map[string]string `json:"settings,omitempty"`
	// Rules that were added for a bridge, as twins of those that name its uplink.
	Rules []model.Rule `json:"rules,omitempty"`
	// Routed are the networks that the host routes for.
	Routed []OwnedRouted `json:"routed,omitempty"`
	// Needs are sysctls as they were before a network needed them otherwise: those of our own
	// links, too.
	Needs []Need `json:"needs,omitempty"`
	// Proxies are addresses that a link was made to answer for.
	Proxies []OwnedProxy `json:"proxies,omitempty"`
	// Secured are the ports that were secured, as they were asked for.
	Secured []model.PortSecurity `json:"secured,omitempty"`
	// Forwarding is what is forwarded for networks, as it was asked for.
	Forwarding []model.Forwarding `json:"forwarding,omitempty"`
	// Passages that were opened in the chains of other firewalls.
	Passages []model.Passage `json:"passages,omitempty"`
	// Machines that were started.
	Machines []string `json:"machines,omitempty"`
	// Services are the networks whose servers were started.
	Services []string `json:"services,omitempty"`
	// Beside is what managers were told to leave alone.
	Beside []Beside `json:"beside,omitempty"`
	// Networks of the file that is in force, with their bridges: what names a network
	// later, without the file at hand, is looked up here.
	Networks []OwnedNetwork `json:"networks,omitempty"`
}

// OwnedLink is a link that was made here.
type OwnedLink struct {
	Name  string     `json:"name"`
	Index int        `json:"index,omitempty"`
	Kind  model.Kind `json:"kind"`
	// Group is the link group that it was made in, 0 for none.
	Group uint32 `json:"group,omitempty"`
	// Added is set for a tap that the file does not have; nil for what the file wants.
	Added *AddedTap `json:"added,omitempty"`
}

// OwnedNetwork is the name of a network, and its bridge.
type OwnedNetwork struct {
	Name   string `json:"name"`
	Bridge string `json:"bridge"`
	// Subnets that were chosen or given, for a network that has any.
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	// Mode is bridged, routed ...: of mode: auto the one that was taken.
	Mode string `json:"mode,omitempty"`
}

// TouchedLink is how a link of somebody else's was before.
type TouchedLink struct {
	Name   string    `json:"name"`
	Master string    `json:"master,omitempty"`
	Up     bool      `json:"up"`
	MAC    model.MAC `json:"mac,omitempty"`
	MTU    int       `json:"mtu,omitempty"`
	// Isolated as a port of Master.
	Isolated bool `json:"isolated,omitempty"`
}

// OwnedUplink remembers an uplink as it was before its host end was moved.
type OwnedUplink struct {
	Name   string `json:"name"`
	Bridge string `json:"bridge"`
	// Host is the mode in force: move, none or list.
	Host      string          `json:"host"`
	Addresses []model.Address `json:"addresses,omitempty"`
	Routes    []model.Route   `json:"routes,omitempty"`
	// Groups are multicast groups that programs had joined on it: the bridge hears them
	// for as long as the host's place is there.
	Groups []netip.Addr `json:"groups,omitempty"`
}

// Empty tells whether there is nothing to bring back.
func (o Owned) Empty() bool {
	return len(o.Links)+len(o.Touched)+len(o.Uplinks)+len(o.Addresses)+len(o.Settings)+len(o.Routed)+len(o.Needs)+len(o.Rules)+len(o.Proxies)+len(o.Secured)+len(o.Forwarding)+len(o.Passages)+len(o.Machines)+len(o.Services)+len(o.Networks)+len(o.Beside) == 0
}

// WithIndexes notes the indexes that the kernel gave to the links that were made.
func (o Owned) WithIndexes(indexes map[string]int) Owned {
	o = o.clone()
	for i := range o.Links {
		if idx, ok := indexes[o.Links[i].Name]; ok {
			o.Links[i].Index = idx
		}
	}
	return o
}

func (o Owned) clone() Owned {
	o.Links, o.Touched, o.Uplinks = slices.Clone(o.Links), slices.Clone(o.Touched), slices.Clone(o.Uplinks)
	o.Addresses, o.Settings, o.Machines = slices.Clone(o.Addresses), maps.Clone(o.Settings), slices.Clone(o.Machines)
	o.Proxies, o.Needs, o.Routed = slices.Clone(o.Proxies), slices.Clone(o.Needs), slices.Clone(o.Routed)
	o.Rules, o.Networks, o.Secured = slices.Clone(o.Rules), slices.Clone(o.Networks), slices.Clone(o.Secured)
	o.Beside = slices.Clone(o.Beside)
	o.Services, o.Forwarding = slices.Clone(o.Services), slices.Clone(o.Forwarding)
	o.Passages = slices.Clone(o.Passages)
	return o
}

func (o *Owned) ownsLink(name string) bool {
	return slices.ContainsFunc(o.Links, func(l OwnedLink) bool { return l.Name == name })
}

// Link finds what is known of a link as one of ours, nil if it is a stranger's: one of our
// names that was made anew by somebody else is a stranger's too.
func (o *Owned) Link(l model.Link) *OwnedLink {
	own := o.link(l.Name)
	if own == nil || own.Index != 0 && own.Index != l.Index {
		return nil
	}
	return own
}

// link finds a link of ours by name, nil if there is none. It is to be written to.
func (o *Owned) link(name string) *OwnedLink {
	return at(o.Links, func(l OwnedLink) bool { return l.Name == name })
}

func (o *Owned) uplinkOf(bridge string) *OwnedUplink {
	for i := range o.Uplinks {
		if o.Uplinks[i].Bridge == bridge {
			return &o.Uplinks[i]
		}
	}
	return nil
}

func (o *Owned) dropUplink(name string) {
	o.Uplinks = slices.DeleteFunc(o.Uplinks, func(u OwnedUplink) bool { return u.Name == name })
}

// index is the index that a link of ours was made with, 0 if it is not known.
func (o *Owned) index(name string) int {
	for _, l := range o.Links {
		if l.Name == name {
			return l.Index
		}
	}
	return 0
}

// record notes what an operation makes ours; before is the state that it meets.
func (o *Owned) record(op model.Operation, before *model.Snapshot) {
	switch op := op.(type) {
	case model.CreateBridge:
		o.Links = append(o.Links, OwnedLink{Name: op.Name, Kind: model.Bridged})
	case model.CreateTap:
		o.Links = append(o.Links, OwnedLink{Name: op.Name, Kind: model.TapKind})
	case model.CreateTaps:
		for _, t := range op.Taps {
			o.Links = append(o.Links, OwnedLink{Name: t.Name, Kind: model.TapKind, Group: op.LinkGroup})
		}
	case model.CreateVeth:
		o.Links = append(o.Links, OwnedLink{Name: op.Name, Kind: model.Veth})
	case model.DeleteLink:
		o.drop(map[string]bool{op.Name: true})
	case model.DeleteLinks:
		gone := make(map[string]bool, len(op.Links))
		for _, id := range op.Links {
			gone[id.Name] = true
		}
		o.drop(gone)
	case model.SecurePorts:
		o.dropSecured(op.Names())
		for _, p := range op.Ports {
			o.Secured = append(o.Secured, p.Wish())
		}
	case model.FreePorts:
		o.dropSecured(op.Links)
	case model.SetForwarding, model.DropForwarding, model.OpenPassage, model.ClosePassage:
		o.recordForwarding(op)
	case model.SetIsolated:
		for _, link := range op.Links {
			o.touch(link, before)
		}
	case model.SetMaster, model.SetUp, model.SetMAC, model.SetMTU:
		o.touch(op.Object(), before)
	case model.AddAddresses:
		o.recordAddresses(op, before)
	case model.DeleteAddresses:
		o.Addresses = slices.DeleteFunc(o.Addresses, func(a model.Address) bool {
			return slices.ContainsFunc(op.Addresses, func(d model.Address) bool { return a.Link == op.Link && a.Prefix == d.Prefix })
		})
	case model.LeaveAlone, model.ManageAgain, model.TakeOver:
		o.recordBeside(op, before)
	case model.SetSetting:
		o.recordSetting(op, before)
	case model.AddProxies, model.DeleteProxies:
		o.recordProxies(op, before)
	case model.CopyRules:
		for _, twin := range model.Renamed(op.Rules, op.From, op.To) {
			if !slices.Contains(before.Here().Rules, twin) {
				o.Rules = append(o.Rules, twin)
			}
		}
	case model.StartMachine:
		o.Machines = append(o.Machines, op.Machine.Name)
	case model.StopMachine:
		o.Machines = slices.DeleteFunc(o.Machines, func(m string) bool { return m == op.Name })
	case model.StartMachines:
		o.Machines = append(o.Machines, op.Names()...)
	case model.StopMachines:
		o.Machines = slices.DeleteFunc(o.Machines, func(m string) bool { return slices.Contains(op.Machines, m) })
	default:
		o.recordService(op)
	}
}

// recordForwarding is for what lets packets pass.
func (o *Owned) recordForwarding(op model.Operation) {
	switch op := op.(type) {
	case model.SetForwarding:
		o.dropForwarding(op.Forwarding.Network)
		o.Forwarding = append(o.Forwarding, op.Forwarding.Wish())
	case model.DropForwarding:
		o.dropForwarding(op.Network)
	case model.OpenPassage:
		o.dropPassage(op.Passage)
		o.Passages = append(o.Passages, op.Passage)
	case model.ClosePassage:
		o.dropPassage(op.Passage)
	}
}

// drop forgets links, and the addresses that go with them.
func (o *Owned) drop(gone map[string]bool) {
	o.Links = slices.DeleteFunc(o.Links, func(l OwnedLink) bool { return gone[l.Name] })
	o.Addresses = slices.DeleteFunc(o.Addresses, func(a model.Address) bool { return gone[a.Link] })
	o.Secured = slices.DeleteFunc(o.Secured, func(p model.PortSecurity) bool { return gone[p.Link] })
}

func (o *Owned) dropSecured(links []string) {
	gone := make(map[string]bool, len(links))
	for _, l := range links {
		gone[l] = true
	}
	o.Secured = slices.DeleteFunc(o.Secured, func(p model.PortSecurity) bool { return gone[p.Link] })
}

func (o *Owned) dropPassage(p model.Passage) {
	o.Passages = slices.DeleteFunc(o.Passages, p.At)
}

func (o *Owned) dropForwarding(network string) {
	o.Forwarding = slices.DeleteFunc(o.Forwarding, func(f model.Forwarding) bool { return f.Network == network })
}

// touch remembers a stranger's link as it was when it was first altered, and forgets
// it when it is as it was.
func (o *Owned) touch(link string, before *model.Snapshot) {
	l := before.Here().Link(link)
	known := slices.ContainsFunc(o.Touched, func(t TouchedLink) bool { return t.Name == link })
	if l != nil && !known && !o.ownsLink(link) {
		o.Touched = append(o.Touched, TouchedLink{link, l.Master, l.Up, l.MAC, l.MTU, l.Port != nil && l.Port.Isolated})
	}
}

func (o *Owned) recordAddresses(op model.AddAddresses, before *model.Snapshot) {
	if !o.ownsLink(op.Link) {
		return // an uplink's own, on their way back
	}
	for _, a := range op.Addresses {
		a.Link = op.Link
		there := slices.ContainsFunc(before.Here().Addresses, func(b model.Address) bool { return b.Link == a.Link && b.Prefix == a.Prefix })
		if !there {
			o.Addresses = append(o.Addresses, model.Address{Link: a.Link, Prefix: a.Prefix, Origin: a.Origin})
		}
	}
}

// recordSetting keeps the first value seen, and forgets it once it is back. Settings
// of our own links go with them.
func (o *Owned) recordSetting(op model.SetSetting, before *model.Snapshot) {
	if link := settingLink(op.Path); link != "" && o.ownsLink(link) {
		return
	}
	was, known := o.Settings[op.Path]
	if known && was == op.Value {
		delete(o.Settings, op.Path)
		return
	}
	for _, path := range append(model.SettingsWith(before.Here(), op.Path), op.Path) {
		now, observed := before.Here().Setting(path)
		_, known := o.Settings[path]
		if link := settingLink(path); !observed || known || link != "" && o.ownsLink(link) {
			continue
		}
		if o.Settings == nil {
			o.Settings = map[string]string{}
		}
		o.Settings[path] = now
	}
}
