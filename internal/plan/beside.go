package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// Beside is what a manager was told to leave alone.
type Beside struct {
	Manager string   `json:"manager"`
	Links   []string `json:"links"`
	// Held is how it has those that were there before, by its files.
	Held map[string]model.Manager `json:"held,omitempty"`
}

// TellBeside writes down in a namespace whose the links are that their managers were told to
// leave alone: asked now, they know nothing of them.
func (o Owned) TellBeside(ns *model.Namespace) {
	for _, told := range o.Beside {
		for name, m := range told.Held {
			l := ns.Link(name)
			if l != nil && !slices.ContainsFunc(l.Managers, func(x model.Manager) bool { return x.Name == m.Name }) {
				m.Told = true
				l.Managers = append(slices.Clone(l.Managers), m)
			}
		}
	}
}

// besides are the managers here that act by themselves and can be told to leave links
// alone.
func (b *builder) besides() []string {
	var out []string
	for _, told := range b.own.Beside {
		out = append(out, told.Manager)
	}
	for _, l := range b.here().Links {
		for _, m := range l.Managers {
			if m.Acts && model.CanBeTold(m.Name) && !slices.Contains(out, m.Name) {
				out = append(out, m.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// leaveNew tells every manager of the links that are going to be made, before it sees them:
// it may have settings for all that there is.
func (b *builder) leaveNew(w *wanted) {
	var links, uplinks []string
	add := func(list *[]string, name string) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	for _, wb := range w.bridges {
		if b.here().Link(wb.name) == nil {
			add(&links, wb.name)
		}
		if l := b.here().Link(wb.uplink); l != nil && l.Master != wb.name {
			add(&uplinks, wb.uplink)
		}
	}
	for _, c := range w.cables {
		if b.here().Link(c.link) == nil {
			add(&links, c.link)
		}
	}
	for _, m := range b.besides() {
		held := slices.DeleteFunc(slices.Clone(uplinks), func(u string) bool { return !b.manages(m, u) })
		if len(links)+len(held) == 0 {
			continue
		}
		title := fmt.Sprintf("Tell %s to leave %s alone", m, namesOf(links))
		if len(links) == 0 {
			title = fmt.Sprintf("Note that %s is to leave %s alone", m, namesOf(held))
		}
		b.step(title,
			fmt.Sprintf("%s manages this host's network, and might set up what is made here, or take it back. It is told for this boot only: a reboot forgets it.", m),
			model.LeaveAlone{Manager: m, Links: links, Later: held})
	}
}

// manages tells whether a manager has a link.
func (b *builder) manages(name, link string) bool {
	l := b.here().Link(link)
	return l != nil && slices.ContainsFunc(l.Managers, func(m model.Manager) bool { return m.Name == name && m.Acts && !m.Told })
}

// leaveUplink tells the managers of an uplink that has given its addresses away. Earlier they
// would take the addresses.
func (b *builder) leaveUplink(uplink string) {
	for _, m := range b.besides() {
		if b.manages(m, uplink) {
			b.step(fmt.Sprintf("Tell %s to leave %s alone", m, uplink),
				fmt.Sprintf("It would give %s its addresses again, or take it out of the bridge, at a reload, a restart, or when a cable is plugged in again.", uplink),
				model.LeaveAlone{Manager: m, Links: []string{uplink}, Follows: true})
		}
	}
}

// leaveGoing tells the managers of what is taken apart where they hold it, as they do from
// our own files, since a reboot or a [model.TakeOver]. NetworkManager plugs a port in again
// that is taken out, and makes a bridge anew: it is told first, and what it lets go stays as
// it is. networkd would take the addresses, and does nothing by itself meanwhile: it is
// told by [builder.leaveGone], when the uplink has its own addresses again.
func (b *builder) leaveGoing(w *wanted) {
	for _, manager := range []string{model.NetworkManager, model.Networkd} {
		links := b.going(w, manager)
		if len(links) == 0 {
			continue
		}
		if manager == model.Networkd {
			b.step(fmt.Sprintf("Note that %s is to leave %s alone", manager, namesOf(links)),
				"It holds them by files of ours, and would take the addresses if it were told now.",
				model.LeaveAlone{Manager: manager, Later: links})
			continue
		}
		b.step(fmt.Sprintf("Tell %s to leave %s alone", manager, namesOf(links)),
			"It has made them at boot, or has taken them over, and would make again what is taken apart here. It is told for this boot only.",
			model.LeaveAlone{Manager: manager, Links: links})
	}
}

// going are the links of ours that are taken apart, and that a manager holds.
func (b *builder) going(w *wanted, manager string) (links []string) {
	add := func(name string) {
		if b.manages(manager, name) && !slices.Contains(links, name) {
			links = append(links, name)
		}
	}
	for _, u := range b.own.Uplinks {
		if wb := w.bridge(u.Bridge); wb == nil || wb.uplink != u.Name {
			add(u.Name)
		}
	}
	for _, l := range b.own.Links {
		if w.bridge(l.Name) == nil && w.cable(l.Name) == nil && !b.stays(l, w) {
			add(l.Name)
		}
	}
	return links
}

// leaveGone tells networkd of what has been taken apart: it has given nothing any more to
// what is left of it. Where files are written by which it makes bridges and taps, it would make
// them anew when it reads them.
func (b *builder) leaveGone(gone []string) {
	left := slices.DeleteFunc(gone, func(name string) bool { return !b.manages(model.Networkd, name) })
	if len(left) > 0 {
		b.step(fmt.Sprintf("Tell %s to leave %s alone", model.Networkd, namesOf(left)),
			"By files of ours it would be a port of the bridge again at the next reload.",
			model.LeaveAlone{Manager: model.Networkd, Links: left, Follows: true, Unread: b.opt.Written})
	}
}

// unnote has ifupdown note what has been taken apart, that it has noted as up: 'ifdown' goes by
// what it has noted.
func (b *builder) unnote(noted []string) {
	if len(noted) > 0 {
		b.step(fmt.Sprintf("Note for %s that %s are as before", model.Ifupdown, namesOf(noted)),
			"It notes what is up, and 'ifdown' goes by that.",
			model.ManageAgain{Manager: model.Ifupdown, Links: noted})
	}
}

// notedGoing are the links that are taken apart and that ifupdown has noted: all or none.
func (b *builder) notedGoing(w *wanted) (noted []string) {
	for _, l := range b.own.Links {
		if w.bridge(l.Name) == nil && w.cable(l.Name) == nil && !b.stays(l, w) && b.noted(model.Ifupdown, l.Name) {
			noted = append(noted, l.Name)
		}
	}
	if len(noted) == 0 {
		return nil
	}
	for _, u := range b.own.Uplinks {
		if wb := w.bridge(u.Bridge); wb == nil || wb.uplink != u.Name {
			noted = append(noted, u.Name)
		}
	}
	return noted
}

// GiveBack plans what `down` left for later: see Options.Written.
func GiveBack(now model.Snapshot, own Owned, opt Options) (Plan, error) {
	b := newBuilder(now.Clone(), own, opt)
	b.manageAgain()
	return b.done()
}

// manageAgain gives back what is no longer ours. Where files are written that have a manager
// bring this network back, it would do so at once.
func (b *builder) manageAgain() {
	if b.opt.Written {
		return
	}
	for _, told := range slices.Clone(b.own.Beside) {
		var back []string
		var uplink string
		for _, name := range told.Links {
			if b.own.ownsLink(name) || slices.ContainsFunc(b.own.Uplinks, func(u OwnedUplink) bool { return u.Name == name }) {
				continue
			}
			if back = append(back, name); b.here().Link(name) != nil {
				uplink = name
			}
		}
		if len(back) == 0 {
			continue
		}
		restore := b.withoutDAD(told.Manager, uplink)
		b.step(fmt.Sprintf("Give %s back to %s", namesOf(back), told.Manager), "It was told to leave them alone; now all is as it was.",
			model.ManageAgain{Manager: told.Manager, Links: back})
		restore()
	}
}

// withoutDAD switches duplicate address detection off on a link that NetworkManager is
// given back: it takes every address off and puts it on again, and an IPv6 address is of no
// use for the second in which the kernel looks for another host that has it.
func (b *builder) withoutDAD(name, link string) (restore func()) {
	path := "ipv6/conf/" + link + "/accept_dad"
	was, known := b.here().Settings[path]
	if name != model.NetworkManager || !known || was == "0" {
		return func() {}
	}
	b.step("Let "+link+" take its addresses without looking for others that have them", name+" puts the addresses on again that are there already.",
		model.SetSetting{Path: path, Value: "0"})
	return func() {
		b.step("Look for other hosts with the addresses of "+link+" again", "As before.", model.SetSetting{Path: path, Value: was})
	}
}

// inverseForManager gives the links back, those that are told of later as well: by then all
// that came after is undone.
func inverseForManager(op model.Operation, ns *model.Namespace) model.Operations {
	switch op := op.(type) {
	case model.LeaveAlone:
		if op.Follows {
			return nil
		}
		if undo := takenBack(op, ns); undo != nil {
			return undo
		}
		back := model.ManageAgain{Manager: op.Manager, Links: slices.Concat(op.Links, op.Later)}
		undo := model.Operations{back}
		for _, link := range op.Later {
			path := "ipv6/conf/" + link + "/accept_dad"
			if was := ns.Settings[path]; op.Manager == model.NetworkManager && was != "" && was != "0" {
				undo = slices.Concat(model.Operations{model.SetSetting{Path: path, Value: "0"}}, undo, model.Operations{model.SetSetting{Path: path, Value: was}})
			}
		}
		return undo
	case model.TakeOver:
		return letGo(op, ns)
	case model.ManageAgain:
		if !model.CanBeTold(op.Manager) {
			return model.Operations{model.TakeOver{Manager: op.Manager, Ports: op.Links}} // it notes again what is there
		}
		// One that is there has its addresses from its manager again, and keeps them.
		gone := slices.DeleteFunc(slices.Clone(op.Links), func(name string) bool { return ns.Link(name) != nil })
		if len(gone) > 0 {
			return model.Operations{model.LeaveAlone{Manager: op.Manager, Links: gone}}
		}
	}
	return nil
}

// recordBeside notes who was told of what.
func (o *Owned) recordBeside(op model.Operation, before *model.Snapshot) {
	switch op := op.(type) {
	case model.LeaveAlone:
		if !model.CanBeTold(op.Manager) {
			return
		}
		told := at(o.Beside, func(b Beside) bool { return b.Manager == op.Manager })
		if told == nil {
			o.Beside = append(o.Beside, Beside{Manager: op.Manager})
			told = &o.Beside[len(o.Beside)-1]
		}
		held := maps.Clone(told.Held)
		for _, name := range op.Links {
			if l := before.Here().Link(name); l != nil {
				if m := at(l.Managers, func(m model.Manager) bool { return m.Name == op.Manager && !m.Told }); m != nil {
					if held == nil {
						held = map[string]model.Manager{}
					}
					held[name] = *m
				}
			}
		}
		told.Held = held
		links := slices.Concat(told.Links, op.Links)
		slices.Sort(links)
		told.Links = slices.Compact(links)
	case model.ManageAgain:
		o.dropBeside(op.Manager, op.Links)
	case model.TakeOver:
		o.dropBeside(op.Manager, op.Links())
	}
}

func (o *Owned) dropBeside(manager string, links []string) {
	if told := at(o.Beside, func(b Beside) bool { return b.Manager == manager }); told != nil {
		told.Links = slices.DeleteFunc(slices.Clone(told.Links), func(name string) bool { return slices.Contains(links, name) })
		told.Held = maps.Clone(told.Held)
		maps.DeleteFunc(told.Held, func(name string, _ model.Manager) bool { return slices.Contains(links, name) })
	}
	o.Beside = slices.DeleteFunc(o.Beside, func(b Beside) bool { return len(b.Links) == 0 })
}

// namesOf lists links, of many the first.
func namesOf(all []string) string {
	const most = 4
	if len(all) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most-1], ", "), len(all)-most+1)
	}
	return strings.Join(all, ", ")
}

// managerCommands are how a person tells it.
func managerCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.LeaveAlone:
		if len(op.Links) == 0 || !model.CanBeTold(op.Manager) {
			return []string{}
		}
		cmds := []string{fmt.Sprintf("printf '%s' >%s", strings.ReplaceAll(model.BesideText(op.Manager, op.Links), "\n", "\\n"), model.BesideFile(op.Manager)), reloadCommand(op.Manager)}
		if op.Unread {
			cmds = cmds[:1]
		}
		if op.Follows {
			cmds[0] = strings.Replace(cmds[0], " >", " >>", 1)
		}
		return append(cmds, managedCommands(op.Manager, op.Links, "no", op.Follows)...)
	case model.TakeOver:
		return takeOverCommands(op)
	case model.ManageAgain:
		if !model.CanBeTold(op.Manager) {
			return each(op.Links, func(l string) string { return "sed -i /^" + l + "=/d /run/network/ifstate" })
		}
		return append([]string{"rm " + model.BesideFile(op.Manager), reloadCommand(op.Manager)}, managedCommands(op.Manager, op.Links, "yes", true)...)
	default:
		return nil
	}
}

func reloadCommand(name string) string {
	if name == model.NetworkManager {
		return "nmcli general reload conf"
	}
	return "networkctl reload"
}

func managedCommands(name string, links []string, word string, there bool) []string {
	if name != model.NetworkManager || !there {
		return nil
	}
	return each(links, func(l string) string { return "nmcli device set " + l + " managed " + word })
}
