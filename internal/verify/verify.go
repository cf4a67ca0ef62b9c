// Package verify compares what should be with what is.
//
// In: two snapshots and the names of the objects that matter. Out: mismatches, in
// words. It is pure: no I/O, no clock, no netlink.
package verify

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// Presence is the property of a link that is there and should not be, or the
// other way round: what no waiting mends.
const Presence = "presence"

// Mismatch is one thing that is not as it should be.
type Mismatch struct {
	Object string // link, setting, machine or network
	What   string // "master": the property
	Want   string
	Got    string
}

func (m Mismatch) String() string {
	return fmt.Sprintf("%s: %s should be %s, is %s", m.Object, m.What, orNone(m.Want), orNone(m.Got))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Objects are the links, settings, machines, and networks' services and forwarding that a list of
// operations touches: those that are worth verifying.
type Objects struct {
	Links, Settings, Machines, Services, Forwarding []string

	Passages []model.Passage
}

// ObjectsOf collects the objects of operations.
func ObjectsOf(ops []model.Operation) Objects {
	var o Objects
	seen := map[*[]string]map[string]bool{&o.Links: {}, &o.Settings: {}, &o.Machines: {}, &o.Services: {}, &o.Forwarding: {}}
	add := func(list *[]string, names ...string) {
		for _, n := range names {
			if n != "" && !seen[list][n] {
				seen[list][n] = true
				*list = append(*list, n)
			}
		}
	}
	for _, op := range ops {
		switch op := op.(type) {
		case model.SetSetting:
			add(&o.Settings, op.Path)
		case model.MoveRoutes:
			add(&o.Links, op.From, op.To)
		case model.CreateTaps:
			add(&o.Links, op.Names()...)
		case model.DeleteLinks:
			add(&o.Links, op.Names()...)
		case model.SecurePorts:
			add(&o.Links, op.Names()...)
		case model.FreePorts:
			add(&o.Links, op.Links...)
		case model.SetIsolated:
			add(&o.Links, op.Links...)
		case model.SetForwarding, model.DropForwarding:
			add(&o.Forwarding, op.Object())
		case model.OpenPassage:
			o.Passages = append(o.Passages, op.Passage)
		case model.ClosePassage:
			o.Passages = append(o.Passages, op.Passage)
		case model.StartMachines:
			add(&o.Machines, op.Names()...)
		case model.StopMachines:
			add(&o.Machines, op.Machines...)
		case model.CopyNeighbours, model.WaitUp, model.RedirectIngress, model.EndRedirect, model.JoinGroups, model.LeaveGroups, model.LeaveAlone, model.ManageAgain, model.TakeOver, model.ResetOffloads, model.AllowOffloads:
		default:
			switch {
			case model.ForMachine(op):
				add(&o.Machines, op.Object())
			case model.ForService(op):
				add(&o.Services, op.Object())
			default:
				add(&o.Links, op.Object())
			}
		}
	}
	return o
}

// Check compares the objects of two snapshots: links with their place, state and
// size, their addresses and routes, settings, and machines with their cables. What
// the kernel and the wire change by themselves is not compared: indexes, lifetimes,
// carriers, link-local addresses, routes of table local.
func Check(want, got model.Snapshot, objects Objects) []Mismatch {
	var c checker
	w, g := indexOf(want.Here()), indexOf(got.Here())
	for _, name := range objects.Links {
		c.link(w, g, name)
	}
	for _, path := range objects.Settings {
		if w, ok := want.Here().Setting(path); ok {
			g, _ := got.Here().Setting(path)
			c.compare(path, "value", w, g)
		}
	}
	if !want.Here().SecurityUnseen && !got.Here().SecurityUnseen {
		for _, name := range objects.Forwarding {
			c.compare(name, "forwarding", forwarding(want.Here().ForwardingOf(name)), forwarding(got.Here().ForwardingOf(name)))
		}
		for _, p := range objects.Passages {
			c.compare(p.Network, "passage through "+p.Firewall, passage(want.Here(), p), passage(got.Here(), p))
		}
	}
	for _, name := range objects.Machines {
		c.machine(want.Machine(name), got.Machine(name), name)
	}
	for _, network := range objects.Services {
		c.service(want.Service(network), got.Service(network), network)
	}
	return c.found
}

// Unsettled tells whether the kernel still looks for another host that has one of the
// addresses (duplicate address detection): a second or two later it knows. On a link that
// carries nothing it does not even begin.
func Unsettled(got model.Snapshot, objects Objects) bool {
	ns := got.Here()
	return slices.ContainsFunc(ns.Addresses, func(a model.Address) bool {
		l := ns.Link(a.Link)
		return a.Flags.Tentative && !a.Flags.DADFailed && a.Origin != model.LinkLocal && a.Origin != model.RA &&
			l != nil && l.OperState == "up" && slices.Contains(objects.Links, a.Link)
	})
}

type checker struct{ found []Mismatch }

// index finds what belongs to a link: a thousand links times a thousand routes is too
// much to look through for each.
type index struct {
	links     map[string]*model.Link
	addresses map[string][]model.Address
	routes    map[string][]model.Route
	rules     map[string][]model.Rule
	secured   map[string]*model.PortSecurity
	unseen    bool // secured is not known
}

func indexOf(n *model.Namespace) index {
	x := index{make(map[string]*model.Link, len(n.Links)), map[string][]model.Address{}, map[string][]model.Route{}, map[string][]model.Rule{}, map[string]*model.PortSecurity{}, n.SecurityUnseen}
	for i := range n.Secured {
		x.secured[n.Secured[i].Link] = &n.Secured[i]
	}
	for i := range n.Links {
		x.links[n.Links[i].Name] = &n.Links[i]
	}
	for _, a := range n.Addresses {
		x.addresses[a.Link] = append(x.addresses[a.Link], a)
	}
	for _, r := range n.Rules {
		for _, link := range []string{r.IIF, r.OIF} {
			if link != "" {
				x.rules[link] = append(x.rules[link], r)
			}
		}
	}
	for _, r := range n.Routes {
		if r.Table == model.TableLocal {
			continue // the kernel's own
		}
		for i, h := range r.NextHops {
			if !slices.ContainsFunc(r.NextHops[:i], func(o model.NextHop) bool { return o.Link == h.Link }) {
				x.routes[h.Link] = append(x.routes[h.Link], r)
			}
		}
	}
	return x
}

func (c *checker) compare(object, what, want, got string) {
	if want != got {
		c.found = append(c.found, Mismatch{object, what, want, got})
	}
}

func (c *checker) link(want, got index, name string) {
	w, g := want.links[name], got.links[name]
	if w == nil || g == nil {
		c.compare(name, Presence, presence(w != nil), presence(g != nil))
		return
	}
	c.compare(name, "kind", string(w.Kind), string(g.Kind))
	c.compare(name, "master", w.Master, g.Master)
	c.compare(name, "up", fmt.Sprint(w.Up), fmt.Sprint(g.Up))
	if w.MTU != 0 {
		c.compare(name, "mtu", fmt.Sprint(w.MTU), fmt.Sprint(g.MTU))
	}
	if w.MAC != "" {
		c.compare(name, "mac", string(w.MAC), string(g.MAC))
	}
	if w.Bridge != nil && g.Bridge != nil {
		c.compare(name, "spanning tree", fmt.Sprint(w.Bridge.STP), fmt.Sprint(g.Bridge.STP))
		// Not the forward delay: what is read back is the root bridge's (br_fill_info).
		c.compare(name, "multicast querier", fmt.Sprint(w.Bridge.McastQuerier), fmt.Sprint(g.Bridge.McastQuerier))
	}
	if w.Port != nil && g.Port != nil {
		c.compare(name, "isolated", fmt.Sprint(w.Port.Isolated), fmt.Sprint(g.Port.Isolated))
	}
	if !want.unseen && !got.unseen {
		c.compare(name, "port security", security(want.secured[name]), security(got.secured[name]))
	}
	c.compare(name, "addresses", addresses(want.addresses[name], nil), addresses(got.addresses[name], want.addresses[name]))
	c.routes(want.routes[name], got.routes[name], name)
	c.compare(name, "rules", rules(want.rules[name]), rules(got.rules[name]))
}

// routes reports each missing route by itself: a list of all would bury it. Routes
// with a lifetime come and go with the router that announces them.
func (c *checker) routes(want, got []model.Route, link string) {
	wanted, there := routes(want, link), routes(got, link)
	for _, r := range wanted {
		if !slices.Contains(there, r) {
			c.found = append(c.found, Mismatch{link, "route " + r, "present", "absent"})
		}
	}
	for _, r := range there {
		if !slices.Contains(wanted, r) {
			c.found = append(c.found, Mismatch{link, "route " + r, "absent", "present"})
		}
	}
}

func (c *checker) machine(want, got *model.Machine, name string) {
	if want == nil || got == nil {
		c.compare(name, "machine", presence(want != nil), presence(got != nil))
		return
	}
	c.compare(name, "state", want.State, got.State)
	for _, n := range want.NICs {
		at := ""
		if g := got.NIC(n.Name); g != nil {
			at = g.Link.String()
		}
		c.compare(name+"/"+n.Name, "cable", n.Link.String(), at)
	}
}

func (c *checker) service(want, got *model.Service, network string) {
	if want == nil || got == nil {
		c.compare(network, "servers", presence(want != nil), presence(got != nil))
		return
	}
	c.compare(network, "servers", want.State, got.State)
	if !want.Same(*got) {
		c.found = append(c.found, Mismatch{network, "servers", fmt.Sprintf("%s on %s as planned", want.Parts(), want.Link), fmt.Sprintf("%s on %s, otherwise", got.Parts(), got.Link)})
	}
}

// rules are those of the routing policy that name a link, in words.
func rules(list []model.Rule) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%d: %s %s", r.Priority, r.Selector, r.Action))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// security tells a port's security apart from any other.
func security(p *model.PortSecurity) string {
	switch {
	case p == nil:
		return ""
	case p.Altered:
		return "altered by somebody"
	default:
		return fmt.Sprintf("%+v", p.Wish())
	}
}

// forwarding tells what is forwarded for a network apart from anything else.
func forwarding(f *model.Forwarding) string {
	switch {
	case f == nil:
		return ""
	case f.Altered:
		return "altered by somebody"
	default:
		return fmt.Sprintf("%+v", f.Wish())
	}
}

// passage tells apart whether a passage is there, and what else is in its place.
func passage(n *model.Namespace, p model.Passage) string {
	open, is := n.Passage(p)
	switch {
	case open:
		return "open"
	case is == nil:
		return ""
	default:
		return fmt.Sprintf("other rules %+v, misplaced %v", is.Crossings, is.Misplaced)
	}
}

func presence(there bool) string {
	if there {
		return "present"
	}
	return "absent"
}

// addresses lists them; one that another host was found to have is there, and of no use,
// unless it was so in what is wanted.
func addresses(as, want []model.Address) string {
	var out []string
	for _, a := range as {
		if a.Origin == model.LinkLocal || a.Origin == model.RA {
			continue
		}
		word := a.Prefix.String()
		known := slices.ContainsFunc(want, func(w model.Address) bool { return w.Prefix == a.Prefix && w.Flags.DADFailed })
		if a.Flags.DADFailed && want != nil && !known {
			word += " (another host on this LAN has it)"
		}
		out = append(out, word)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func routes(rs []model.Route, link string) []string {
	var out []string
	for _, r := range rs {
		kernels := r.Destination.Addr().IsLinkLocalUnicast() || r.Destination.Addr().IsMulticast()
		// What a relay of ours learns comes and goes with the machines.
		if r.Expires != 0 || r.Protocol == "ra" || r.Protocol == model.ProtocolLearned || kernels {
			continue
		}
		s := fmt.Sprintf("%s dev %s table %d metric %d", r.Destination, link, r.Table, r.Metric)
		if r.Gateway().IsValid() {
			s += " via " + r.Gateway().String()
		}
		out = append(out, s)
	}
	return out
}
