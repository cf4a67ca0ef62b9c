package plan

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// Diff plans the way from now to what is wanted. What earlier runs own and nobody
// wants any more is taken away, so an empty wish is the way back to what was before.
// The error joins all [Refusal]s.
func Diff(now model.Snapshot, want spec.Desired, own Owned, opt Options) (Plan, error) {
	now = now.Clone()
	now.Machines = slices.DeleteFunc(now.Machines, func(m model.Machine) bool { return m.Config != nil && !m.Lives() })
	now.Services = slices.DeleteFunc(now.Services, func(s model.Service) bool { return !s.Lives() })
	if now.Here().SecurityUnseen { // then what we made is the best that is known
		now.Here().Secured, now.Here().Forwarding = slices.Clone(own.Secured), slices.Clone(own.Forwarding)
	}
	b := newBuilder(now, own, opt)
	w := b.resolve(want)
	if len(b.fails) > 0 {
		return b.done()
	}
	b.stopMachines(w)
	b.stopServices(w)
	gone, noted := b.going(w, model.Networkd), b.notedGoing(w)
	b.leaveGoing(w)
	b.dropAddresses(w)
	b.unproxy(w)
	b.prepareRoutes(w)
	b.releaseUplinks(w)
	b.dropLinks(w)
	b.restoreTouched(w)
	b.leaveGone(gone)
	b.unnote(noted)
	b.freePorts(w)
	if !w.forwards() {
		b.forwardLinks(w)
	}
	b.closePassages(w)
	b.dropForwarding(w)
	b.leaveNew(w)
	for _, wb := range w.bridges {
		b.makeBridge(wb)
		b.closeBridge(wb)
	}
	single, batches := b.batches(w.cables)
	for _, c := range single {
		b.makeCable(c)
		b.quietPort(c)
	}
	b.securePorts(single)
	for _, wb := range w.bridges {
		b.connectBridge(wb)
	}
	for _, cables := range batches {
		b.makeTaps(cables)
		b.securePorts(cables)
		b.isolate(cables)
	}
	for _, c := range single {
		b.plugCable(c)
	}
	b.isolate(single)
	b.forward(w)
	for _, wb := range w.bridges {
		if wb.via != "" {
			b.routeNetwork(w, wb)
		}
	}
	b.unroute(w)
	b.restoreNeeds(w)
	b.runServices(w)
	b.runMachines(w.machines)
	b.manageAgain()
	if w.empty() {
		b.restoreSettings()
	}
	b.own.Networks = w.networks()
	return b.done()
}

// dropAddresses takes away the addresses of ours that the file no longer has.
func (b *builder) dropAddresses(w *wanted) {
	for _, o := range slices.Clone(b.own.Addresses) {
		var keep []netip.Prefix
		if wb := w.bridge(o.Link); wb != nil {
			if u := b.own.uplinkOf(o.Link); u != nil && u.Host == "move" {
				continue // the uplink's own: they come and go with it
			}
			keep = wb.addresses
		} else if c := w.cable(o.Link); c != nil {
			keep = c.host
		} else {
			continue // the link goes, and they with it
		}
		if !slices.Contains(keep, o.Prefix) && hasAddress(b.here(), o.Link, o) {
			b.step(fmt.Sprintf("Take %s off %s", o.Prefix, o.Link), "The file no longer has this address.",
				model.DeleteAddresses{Link: o.Link, Addresses: addresses(b.here().AddressesOf(o.Link), func(a model.Address) bool { return a.Prefix == o.Prefix })})
		}
	}
}

func (b *builder) releaseUplinks(w *wanted) {
	for _, u := range slices.Clone(b.own.Uplinks) {
		if wb := w.bridge(u.Bridge); wb == nil || wb.uplink != u.Name {
			b.releaseUplink(u)
		}
	}
}

// dropLinks deletes the links of ours that nobody wants: taps before bridges.
func (b *builder) dropLinks(w *wanted) {
	b.dropTaps(w)
	for _, bridges := range []bool{false, true} {
		for _, l := range slices.Clone(b.own.Links) {
			if (l.Kind == model.Bridged) != bridges || w.bridge(l.Name) != nil || w.cable(l.Name) != nil || b.stays(l, w) {
				continue
			}
			b.dropLink(l, "Nothing hangs on it any more.")
		}
	}
}

func (b *builder) dropLink(o OwnedLink, why string) {
	l := b.here().Link(o.Name)
	switch {
	case l == nil:
		b.own.record(model.DeleteLink{Name: o.Name}, &b.now)
		return
	case o.Index != 0 && l.Index != o.Index:
		b.note("%s is no longer the one that was made here: somebody made it anew, and it is left alone", o.Name)
		b.own.record(model.DeleteLink{Name: o.Name}, &b.now)
		return
	}
	if strangers := b.strangersIn(o.Name); len(strangers) > 0 {
		why = fmt.Sprintf("Its ports %s were plugged in by somebody else: they fall back to the host's stack.", strings.Join(strangers, ", "))
		b.note("%s has ports that somebody else plugged in: %s; they are kept, without a bridge", o.Name, strings.Join(strangers, ", "))
	}
	b.step(fmt.Sprintf("Delete the %s %s", kindWord(l.Kind), o.Name), why, model.DeleteLink{Name: o.Name, Index: o.Index, Kind: l.Kind})
}

func (b *builder) strangersIn(bridge string) []string {
	var out []string
	for _, p := range b.here().Ports(bridge) {
		if !b.own.ownsLink(p.Name) {
			out = append(out, p.Name)
		}
	}
	return out
}

// restoreTouched brings the links of others back to the bridge or the stack that
// they were in, and down again where we brought them up.
func (b *builder) restoreTouched(w *wanted) {
	for _, t := range slices.Clone(b.own.Touched) {
		l := b.here().Link(t.Name)
		if l == nil {
			b.forgetTouched(t.Name)
			continue
		}
		if w.cable(t.Name) != nil || slices.ContainsFunc(w.bridges, func(wb wantedBridge) bool { return wb.uplink == t.Name || wb.name == t.Name }) {
			continue
		}
		if l.Master != t.Master && (t.Master == "" || b.here().Link(t.Master) != nil) {
			b.step(fmt.Sprintf("Put %s back where it was", t.Name), "It is not ours, and was plugged elsewhere before.", model.SetMaster{Link: t.Name, Master: t.Master})
		}
		if t.MAC != "" && l.MAC != t.MAC {
			b.step(fmt.Sprintf("Give %s its own MAC address back", t.Name), "It is not ours, and had another one before.", model.SetMAC{Link: t.Name, MAC: t.MAC})
		}
		if t.MTU != 0 && l.MTU != t.MTU {
			b.step(fmt.Sprintf("Set the MTU of %s back to %d", t.Name, t.MTU), "It is not ours, and was so before.", model.SetMTU{Link: t.Name, MTU: t.MTU})
		}
		if l := b.here().Link(t.Name); l.Port != nil && l.Master == t.Master && l.Port.Isolated != t.Isolated {
			b.setIsolated([]string{t.Name}, t.Isolated)
		}
		if l := b.here().Link(t.Name); l.Up && !t.Up {
			b.step(fmt.Sprintf("Take %s down again", t.Name), "It is not ours, and was down before.", model.SetUp{Link: t.Name})
		}
		b.forgetTouched(t.Name)
	}
}

func (b *builder) forgetTouched(name string) {
	b.own.Touched = slices.DeleteFunc(b.own.Touched, func(t TouchedLink) bool { return t.Name == name })
}

// restoreSettings writes back every sysctl that was altered and is not back yet.
func (b *builder) restoreSettings() {
	paths := make([]string, 0, len(b.own.Settings))
	for p := range b.own.Settings {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		was := b.own.Settings[p]
		if now, ok := b.here().Setting(p); ok && now != was {
			b.step(fmt.Sprintf("Set %s back to %s", p, was), "As it was before.", model.SetSetting{Path: p, Value: was})
		}
		delete(b.own.Settings, p)
	}
}

func (b *builder) makeBridge(wb wantedBridge) {
	if b.here().Link(wb.name) != nil {
		return
	}
	op := model.CreateBridge{Name: wb.name, MAC: chooseMAC(b.opt.Seed, "", wb.name)}
	why := fmt.Sprintf("A bridge is a switch inside the host: a virtual LAN, empty for now. %s is also the name of the host's own interface to it.", wb.name)
	if l := b.here().Link(wb.uplink); l != nil {
		op.MAC, op.MTU = l.MAC, l.MTU
		why += fmt.Sprintf(" It gets the MAC address of %s, so that the LAN and its DHCP server see the same host as before, and no spanning tree, so that no port has to wait.", wb.uplink)
	}
	b.step("Make the bridge "+wb.name, why, op)
}

// connectBridge plugs the uplink in and sees to the host's own addresses.
func (b *builder) connectBridge(wb wantedBridge) {
	if wb.uplink != "" {
		b.connectUplink(wb)
	}
	b.addHostAddresses(wb.name, wb.addresses)
}

func (b *builder) connectUplink(wb wantedBridge) {
	l := b.here().Link(wb.uplink)
	if l.Master == wb.name {
		b.rehost(wb)
		return
	}
	if !l.Up {
		b.step(fmt.Sprintf("Bring %s up", wb.uplink), "An interface that is down neither sends nor receives.", model.SetUp{Link: wb.uplink, Up: true})
	}
	b.shapeBridge(wb)
	known := b.own.uplinkOf(wb.name)
	again := known != nil && known.Name == wb.uplink && known.Host == wb.host
	if !again { // else somebody has taken it out: what it had at first is known
		b.own.Uplinks = append(b.own.Uplinks, OwnedUplink{Name: wb.uplink, Bridge: wb.name, Host: wb.host,
			Addresses: movable(b.here().AddressesOf(wb.uplink)), Routes: b.movableRoutes(wb.uplink)})
	}
	if child := b.childOf(wb.uplink, model.VLANKind); child != "" {
		b.note("%s stays a VLAN of %s: tagged frames reach it as before, and do not enter %s", child, wb.uplink, wb.name)
	}
	b.plugUplink(wb.uplink, wb.name, wb.host == "move")
	b.leaveUplink(wb.uplink)
}

// shapeBridge gives a bridge that was there before its uplink the uplink's MAC address
// and MTU, as one that is made with it has them from the start.
func (b *builder) shapeBridge(wb wantedBridge) {
	bridge, uplink := b.here().Link(wb.name), b.here().Link(wb.uplink)
	if wb.host == "move" && bridge.MAC != uplink.MAC {
		b.step(fmt.Sprintf("Give %s the MAC address of %s", wb.name, wb.uplink),
			"The host keeps its address on the LAN, so it must keep its MAC address too: its neighbours and the DHCP server know it by that.",
			model.SetMAC{Link: wb.name, MAC: uplink.MAC})
	}
	if bridge.MTU != uplink.MTU {
		b.step(fmt.Sprintf("Set the MTU of %s to %d", wb.name, uplink.MTU), "All ports of a bridge must take frames of one size, or the large ones vanish.",
			model.SetMTU{Link: wb.name, MTU: uplink.MTU})
	}
}

// rehost changes how the host itself is on the LAN of a bridge whose uplink is
// plugged in already.
func (b *builder) rehost(wb wantedBridge) {
	u := b.own.uplinkOf(wb.name)
	if u == nil || u.Host == wb.host {
		if u != nil && u.Host == "move" {
			b.readdress(*u)
		}
		return
	}
	was := u.Host
	u.Host = wb.host
	switch {
	case was == "move":
		b.leaveGroups(*u)
		u.Addresses, u.Routes = movable(b.here().AddressesOf(wb.name)), model.Moved(b.movableRoutes(wb.name), wb.name, u.Name)
		b.dropRoutes(wb.name, "The host is no longer to be reached at its old addresses over this LAN.", givenRoutes(b.movableRoutes(wb.name)))
		b.step(fmt.Sprintf("Take the addresses off %s", wb.name), "They are kept in memory, and come back with 'down'.", model.DeleteAddresses{Link: wb.name, Addresses: u.Addresses})
	case wb.host == "move":
		b.joinGroups(u.Name, wb.name)
		b.step(fmt.Sprintf("Give %s the addresses of %s", wb.name, u.Name), "The host is to be reached over this LAN again.", model.AddAddresses{Link: wb.name, Addresses: u.Addresses})
		if routes := givenRoutes(model.Moved(u.Routes, u.Name, wb.name)); len(routes) > 0 {
			b.step(fmt.Sprintf("Bring its routes back by %s", wb.name), "As they were before.", model.AddRoutes{Routes: routes})
		}
	}
}

// readdress gives the host its own addresses of a LAN again, where somebody has taken all
// of a family off the bridge: with them went the routes. One that was exchanged for another
// is what its owner wants.
func (b *builder) readdress(u OwnedUplink) {
	var missing []model.Address
	for _, six := range []bool{false, true} {
		own := func(a model.Address) bool {
			return a.Prefix.Addr().Is6() == six && a.Origin == model.Static && !a.Flags.Temporary
		}
		is := addresses(slices.Concat(b.here().AddressesOf(u.Bridge), b.here().AddressesOf(u.Name)), func(a model.Address) bool {
			return a.Prefix.Addr().Is6() == six && a.Origin != model.LinkLocal
		})
		if len(is) == 0 {
			missing = append(missing, addresses(u.Addresses, own)...)
		}
	}
	if len(missing) == 0 {
		return
	}
	for i := range missing {
		missing[i].Link = u.Bridge
	}
	b.step(fmt.Sprintf("Give %s the address %s again", u.Bridge, model.SplitAddresses(missing)), "Somebody has taken it away, and the host is not to be reached over this LAN without it.",
		model.AddAddresses{Link: u.Bridge, Addresses: missing})
	var routes []model.Route
	for _, r := range givenRoutes(model.Moved(u.Routes, u.Name, u.Bridge)) {
		if !slices.ContainsFunc(b.here().Routes, func(o model.Route) bool { return model.SameRoute(o, r) }) {
			routes = append(routes, r)
		}
	}
	if len(routes) > 0 {
		b.step(fmt.Sprintf("Bring its routes by %s back", u.Bridge), "They went with the address.", model.AddRoutes{Routes: routes})
	}
}

func (b *builder) addHostAddresses(link string, want []netip.Prefix) {
	var missing []model.Address
	for _, p := range want {
		a := model.Address{Link: link, Prefix: p, Origin: model.Static, Scope: "global"}
		if !hasAddress(b.here(), link, a) {
			missing = append(missing, a)
		}
	}
	if len(missing) > 0 {
		b.step(fmt.Sprintf("Give %s the address %s", link, model.SplitAddresses(missing)),
			fmt.Sprintf("With an address at the host end of %s the host itself is on that Ethernet, and can be reached there.", link),
			model.AddAddresses{Link: link, Addresses: missing})
	}
}

func kindWord(k model.Kind) string {
	switch k {
	case model.TapKind:
		return "tap"
	case model.Veth:
		return "veth pair"
	default:
		return string(k)
	}
}

// sameMachine compares what a machine cannot change while it runs.
func sameMachine(a, b model.MachineConfig) bool {
	a.NICs, b.NICs = nil, nil
	if len(a.Args) == 0 && len(b.Args) == 0 {
		a.Args, b.Args = nil, nil
	}
	return reflect.DeepEqual(a, b)
}
