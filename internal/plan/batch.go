package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// batchFrom is how many taps of one bridge are one step rather than three steps each:
// a reader has understood taps by then, and the kernel makes them far quicker together.
const batchFrom = 5

// batches sorts out the cables that are made together: taps that are not there yet and
// have no address of their own, by their bridge. Those of an isolated network are made one by
// one: the host must have been quieted before they are up.
func (b *builder) batches(cables []wantedCable) (single []wantedCable, together [][]wantedCable) {
	there := make(map[string]bool, len(b.here().Links))
	for _, l := range b.here().Links {
		there[l.Name] = true
	}
	alike := func(c wantedCable) bool {
		return c.transport == model.TransportTap && len(c.host) == 0 && !there[c.link] && !c.quiet
	}
	count := map[string]int{}
	for _, c := range cables {
		if alike(c) {
			count[c.bridge]++
		}
	}
	at := map[string]int{}
	for _, c := range cables {
		if !alike(c) || count[c.bridge] < batchFrom {
			single = append(single, c)
			continue
		}
		i, known := at[c.bridge]
		if !known {
			i = len(together)
			at[c.bridge] = i
			together = append(together, nil)
		}
		together[i] = append(together[i], c)
	}
	return single, together
}

// makeTaps makes the taps of one bridge, plugs them in and brings them up, in one step. As
// ports they share one MAC address: nothing is ever sent from it or to it, and each
// address of its own is an entry that the bridge looks at for every other port.
func (b *builder) makeTaps(cables []wantedCable) {
	bridge := cables[0].bridge
	op := model.CreateTaps{Master: bridge, Up: true, LinkGroup: b.freeLinkGroup(bridge + "/" + cables[0].link)}
	mtu := b.bridgeMTU(bridge)
	if mtu == 1500 { // what a tap is made with
		mtu = 0
	}
	owner, mac := cables[0].ownerName, portMAC(b.opt.Seed, bridge)
	for _, c := range cables {
		if bridge == "" {
			mac = portMAC(b.opt.Seed, c.link)
		}
		op.Taps = append(op.Taps, model.CreateTap{Name: c.link, MAC: mac, Owner: c.owner, OwnerName: c.ownerName,
			Group: c.group, GroupName: c.groupName, VnetHeader: c.machine != "", MultiQueue: c.multiQueue, MTU: mtu})
		if c.ownerName != owner {
			owner = ""
		}
	}
	title, why := fmt.Sprintf("Make %s taps: %s", thousands(len(cables)), shortRuns(op.Names())),
		"A tap is an interface whose wire end is a file descriptor: the host's end of a cable whose other end will be a VM's NIC. Until one holds it, it dangles."
	if owner != "" {
		why += fmt.Sprintf(" They belong to %s, who can plug VMs into them without being root.", owner)
	}
	if bridge != "" {
		title, why = title+", plugged into "+bridge, why+fmt.Sprintf(" Their host ends are in the virtual LAN of %s.", bridge)
	}
	b.step(title, why+" They are a group of links, so that one command deletes them all.", op)
}

// freeLinkGroup chooses a group that no link is in.
func (b *builder) freeLinkGroup(of string) uint32 {
	taken := map[uint32]bool{}
	for _, l := range b.here().Links {
		taken[l.Group] = true
	}
	sum := sha256.Sum256([]byte(b.opt.Seed + "\x00group\x00" + of))
	n := binary.BigEndian.Uint32(sum[:])
	for taken[model.LinkGroup(n)] {
		n++
	}
	return model.LinkGroup(n)
}

// dropTaps deletes the taps of ours that nobody wants, where they are many, by the
// groups that they were made in. What it leaves, dropLinks deletes one by one.
func (b *builder) dropTaps(w *wanted) {
	there := make(map[string]*model.Link, len(b.here().Links))
	for i := range b.here().Links {
		there[b.here().Links[i].Name] = &b.here().Links[i]
	}
	var order []uint32
	ops := map[uint32]*model.DeleteLinks{}
	for _, o := range b.own.Links {
		l, id := there[o.Name], model.LinkID{Name: o.Name, Index: o.Index}
		if o.Kind != model.TapKind || w.cable(o.Name) != nil || l == nil || !id.Identifies(l, o.Group) || b.stays(o, w) {
			continue
		}
		if ops[o.Group] == nil {
			ops[o.Group] = &model.DeleteLinks{LinkGroup: o.Group, Kind: model.TapKind}
			order = append(order, o.Group)
		}
		ops[o.Group].Links = append(ops[o.Group].Links, id)
	}
	for _, group := range order {
		if op := ops[group]; len(op.Links) >= batchFrom {
			b.step(fmt.Sprintf("Delete %s taps: %s", thousands(len(op.Links)), shortRuns(op.Names())),
				"Nothing hangs on them any more. They go together: one by one, the kernel would wait for each.", *op)
		}
	}
}

// recreateAll lists what makes deleted taps anew, as they were.
func recreateAll(ns *model.Namespace, op model.DeleteLinks) model.Operations {
	ids := make(map[string]model.LinkID, len(op.Links))
	for _, id := range op.Links {
		ids[id.Name] = id
	}
	type kind struct {
		master string
		up     bool
		group  uint32
	}
	var taps []*model.CreateTaps
	byKind := map[kind]*model.CreateTaps{}
	var others, addresses, isolation model.Operations
	for i := range ns.Links {
		l := &ns.Links[i]
		if id, listed := ids[l.Name]; !listed || !id.Identifies(l, op.LinkGroup) {
			continue
		}
		if l.Kind != model.TapKind {
			others = append(others, recreate(ns, l.Name)...)
			continue
		}
		k := kind{l.Master, l.Up, l.Group}
		if byKind[k] == nil {
			byKind[k] = &model.CreateTaps{Master: l.Master, Up: l.Up, LinkGroup: l.Group}
			taps = append(taps, byKind[k])
		}
		byKind[k].Taps = append(byKind[k].Taps, tapLike(l))
		isolation = append(isolation, reisolate(l)...)
	}
	addressed := map[string]bool{}
	for _, a := range ns.Addresses {
		if _, listed := ids[a.Link]; listed && !addressed[a.Link] {
			addressed[a.Link] = true
			addresses = append(addresses, readdress(ns, a.Link)...)
		}
	}
	var ops model.Operations
	for _, t := range taps {
		ops = append(ops, *t)
	}
	return slices.Concat(ops, others, addresses, isolation, securityAgain(ns, op.Names()...))
}

// checkPorts refuses more ports than a bridge takes: its uplink, the cables of the
// file, and what strangers have plugged into it.
func (b *builder) checkPorts(w *wanted, wb wantedBridge) {
	ports := 0
	if wb.uplink != "" {
		ports++
	}
	for _, c := range w.cables {
		if c.bridge == wb.name {
			ports++
		}
	}
	strangers := 0
	if b.here().Link(wb.name) != nil {
		for _, p := range b.here().Ports(wb.name) {
			switch own := b.own.link(p.Name); {
			case p.Name == wb.uplink || w.cable(p.Name) != nil:
			case own == nil:
				strangers++
			case own.Added != nil:
				ports++
			}
		}
	}
	if ports+strangers <= model.MaxPorts {
		return
	}
	reason := fmt.Sprintf("a bridge takes %s ports, and this one is to have %s", thousands(model.MaxPorts), thousands(ports+strangers))
	if strangers > 0 {
		reason += fmt.Sprintf(", %s of them plugged in by somebody else", thousands(strangers))
	}
	b.refuse(wb.name, reason, fmt.Sprintf("spread the taps of network %s over several networks, each with a bridge of its own", wb.network))
}

// shortRuns names many links in few words.
func shortRuns(names []string) string {
	runs := model.NameRuns(names)
	if len(runs) > 4 {
		return strings.Join(runs[:3], " ") + " …"
	}
	return strings.Join(runs, " ")
}

// thousands writes 1000 as 1,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
