package plan

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// Need is a sysctl that a network of the file needs to be as it is, and as it was before.
// It goes back when no network needs it any more, before 'down' as well.
type Need struct {
	Path string `json:"path"`
	Was  string `json:"was"`
	// Value is what is needed; "" in notes of a drawbridge that did not write it down.
	Value string `json:"value,omitempty"`
}

// need sets a sysctl for a network. One that this kernel does not have is left out.
func (b *builder) need(path, value, title, why string) {
	now, known := b.here().Setting(path)
	if !known {
		return
	}
	b.needed[path] = true
	if now == value {
		return
	}
	if n := at(b.own.Needs, func(n Need) bool { return n.Path == path }); n != nil {
		n.Value = value
	} else {
		b.own.Needs = append(b.own.Needs, Need{path, now, value})
	}
	b.step(title, why, model.SetSetting{Path: path, Value: value})
}

// before is what a sysctl was before a network of ours needed it otherwise.
func (o *Owned) before(path string) (was string, needed bool) {
	if n := at(o.Needs, func(n Need) bool { return n.Path == path }); n != nil {
		return n.Was, true
	}
	return "", false
}

// restoreNeeds writes back what no network needs any more.
func (b *builder) restoreNeeds(w *wanted) {
	natted := map[string]string{}
	if w.forwards() {
		natted = b.forwardSettings(w)
	}
	for _, n := range slices.Clone(b.own.Needs) {
		if b.needed[n.Path] {
			continue
		}
		if _, still := natted[n.Path]; still { // a network of mode: nat needs it, and it goes with that
			b.own.Needs = slices.DeleteFunc(b.own.Needs, func(o Need) bool { return o.Path == n.Path })
			continue
		}
		link := settingLink(n.Path)
		if now, known := b.here().Setting(n.Path); known && now != n.Was && (link == "" || b.here().Link(link) != nil) {
			b.step(fmt.Sprintf("Set %s back to %s", n.Path, n.Was), "No network needs it otherwise any more.", model.SetSetting{Path: n.Path, Value: n.Was})
		}
		b.own.Needs = slices.DeleteFunc(b.own.Needs, func(o Need) bool { return o.Path == n.Path })
	}
}

// forward lets the host route IPv4 packets that come in by a link. By each that needs it,
// not by all: ip_forward would open every other one, a VPN's or a container's, too.
func (b *builder) forward4(link string) {
	b.need("ipv4/conf/"+link+"/forwarding", "1", fmt.Sprintf("Route IPv4 packets that come in by %s", link),
		"The host is a router between the two. Only for these interfaces: ip_forward would open every other one as well.")
}

// forward6 is forward4 for IPv6. Until Linux 6.17 (force_forwarding) the kernel knows one
// switch for all interfaces only (ip6_forward); the one of an interface then says whether
// it behaves as a router's, which answers in others' stead and, unless told otherwise,
// takes no advertisements of other routers.
func (b *builder) forward6(link string) {
	conf := "ipv6/conf/" + link
	if off, known := b.here().Setting(conf + "/disable_ipv6"); !known || off == "1" {
		return
	}
	if _, single := b.here().Setting("ipv6/conf/all/force_forwarding"); !single {
		b.forwardAll6()
	}
	if !b.own.ownsLink(link) { // ours hears what we send there ourselves
		b.hearAsRouter(link)
	}
	b.need(conf+"/forwarding", "1", fmt.Sprintf("Let %s be a router's interface for IPv6", link),
		"Only so does the kernel answer there for addresses that are behind it.")
	b.need(conf+"/force_forwarding", "1", fmt.Sprintf("Route IPv6 packets that come in by %s", link),
		"Only for this interface: the switch for all would make each a router's, and those take no router advertisements.")
}

// forwardAll6 is for kernels that know no better.
func (b *builder) forwardAll6() {
	if now, known := b.here().Setting("ipv6/conf/all/forwarding"); !known || now == "1" {
		b.needed["ipv6/conf/all/forwarding"] = known
		return
	}
	for _, l := range b.here().Links {
		b.hearAsRouter(l.Name)
	}
	b.note("this kernel (before Linux 6.17) routes IPv6 between all interfaces, or none: what else shall not be routed, a firewall has to say")
	b.need("ipv6/conf/all/forwarding", "1", "Route IPv6 packets", "This kernel has one switch for all interfaces.")
}

// hearAsRouter lets an interface go on hearing router advertisements when it becomes a
// router's: 1 is for hosts only, and what was learned would run out.
func (b *builder) hearAsRouter(link string) {
	path := "ipv6/conf/" + link + "/accept_ra"
	now, known := b.here().Setting(path)
	if was, ours := b.own.before(path); known && now == "2" && ours && was == "1" {
		b.needed[path] = true
		return
	}
	if known && now == "1" && hears(b.here(), link) {
		b.need(path, "2", fmt.Sprintf("Let %s hear router advertisements also as a router", link),
			"A host that routes takes none unless it is told to: its own IPv6 address and default route would run out.")
	}
}
