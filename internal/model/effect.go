package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The refusals of [Snapshot.Apply], and of a kernel that carries an operation out.
var (
	ErrExists    = errors.New("exists already")
	ErrNotFound  = errors.New("not found")
	ErrBusy      = errors.New("busy")
	ErrInvalid   = errors.New("invalid argument")
	ErrNotOurs   = errors.New("is no longer the one that was made here")
	ErrDenied    = errors.New("not permitted")
	ErrPortLimit = errors.New("bridge is full (1023 ports)")
)

// Apply changes the snapshot as the kernel (or the VMM) would, or returns the
// refusal and leaves it as it was. It is the one simulation of the kernel: plans
// predict with it, pictures of steps are drawn from it, the fake kernel is made of
// it, and the contract suite of internal/kernel proves it against the real one.
//
// Left out, because the kernel does them in its own time and nothing here depends
// on them: link-local addresses, table local, and what the wire brings (neighbours,
// router advertisements, learned forwarding entries).
func (s *Snapshot) Apply(op Operation) error {
	next := s.Clone()
	if err := op.apply(&next); err != nil {
		return err
	}
	next.Settle()
	*s = next
	return nil
}

// Advance is [Snapshot.Apply] for a caller that applies many operations to a copy of
// its own and gives up at the first refusal: nothing is copied, and the snapshot is
// neither sorted nor are carriers brought up to date until [Snapshot.Settle].
func (s *Snapshot) Advance(op Operation) error { return op.apply(s) }

// Settle brings carriers, operational states and the order of the lists up to date.
func (s *Snapshot) Settle() {
	s.Here().settle()
	s.Sort()
}

func refuse(object string, err error) error { return fmt.Errorf("%s: %w", object, err) }

func (n *Namespace) mustLink(name string) (*Link, error) {
	if l := n.Link(name); l != nil {
		return l, nil
	}
	return nil, refuse(name, ErrNotFound)
}

// addLink adds a link with the next free index.
func (n *Namespace) addLink(l Link) error {
	if err := CheckLinkName(l.Name); err != nil {
		return err
	}
	if n.Link(l.Name) != nil {
		return refuse(l.Name, ErrExists)
	}
	for _, o := range n.Links {
		l.Index = max(l.Index, o.Index)
	}
	l.Index++
	if l.MTU == 0 {
		l.MTU = 1500
	}
	l.OperState = "down"
	n.Links = append(n.Links, l)
	n.inheritDefaults(l.Name)
	return nil
}

// inheritDefaults gives a new link the settings of conf/default (inetdev_init,
// ipv6_add_dev).
func (n *Namespace) inheritDefaults(link string) {
	for _, d := range n.defaults() {
		n.Settings[d.of(link)] = d.value
	}
}

// linkDefault is a setting of conf/default: what every new link begins with.
type linkDefault struct{ family, key, value string }

func (d linkDefault) of(link string) string { return d.family + "/conf/" + link + "/" + d.key }

func (n *Namespace) defaults() []linkDefault {
	var out []linkDefault
	for path, value := range n.Settings {
		if family, key, ok := strings.Cut(path, "/conf/default/"); ok {
			out = append(out, linkDefault{family, key, value})
		}
	}
	return out
}

// withRoom copies a map into one that more entries fit into without growing.
func withRoom(m map[string]string, more int) map[string]string {
	out := make(map[string]string, len(m)+more)
	maps.Copy(out, m)
	return out
}

// CheckLinkName is the kernel's dev_valid_name: 1 to 15 bytes, no slash, colon or
// white space, and not "." or "..".
func CheckLinkName(name string) error {
	switch {
	case name == "", name == ".", name == "..", len(name) > MaxNameLen, strings.ContainsAny(name, "/: \t\n\r\v\f"):
		return fmt.Errorf("%q as an interface name: %w", name, ErrInvalid)
	default:
		return nil
	}
}

// dropLink removes a link with all that hangs on it.
func (n *Namespace) dropLink(name string) { n.dropLinks(map[string]bool{name: true}) }

// dropLinks removes links with all that hangs on them, in one pass over the namespace.
func (n *Namespace) dropLinks(gone map[string]bool) {
	n.Links = slices.DeleteFunc(n.Links, func(l Link) bool { return gone[l.Name] })
	for i := range n.Links {
		if gone[n.Links[i].Master] {
			n.Links[i].Master, n.Links[i].Port = "", nil
		}
	}
	n.dropL3(gone)
	n.dropSecurity(gone)
	maps.DeleteFunc(n.Settings, func(path, _ string) bool { return gone[linkOfSetting(path)] })
	n.FDB = slices.DeleteFunc(n.FDB, func(f FDBEntry) bool { return gone[f.Link] || gone[f.Master] })
}

// linkOfSetting is the link of ipv4/conf/LINK/KEY and ipv4/neigh/LINK/KEY.
func linkOfSetting(path string) string {
	_, rest, _ := strings.Cut(path, "/")
	area, rest, _ := strings.Cut(rest, "/")
	if area != "conf" && area != "neigh" {
		return ""
	}
	link, _, _ := strings.Cut(rest, "/")
	return link
}

// dropL3 removes the addresses, routes and neighbours of links.
func (n *Namespace) dropL3(gone map[string]bool) {
	n.Addresses = slices.DeleteFunc(n.Addresses, func(a Address) bool { return gone[a.Link] })
	n.dropRoutes(gone)
	n.Neighbours = slices.DeleteFunc(n.Neighbours, func(nb Neighbour) bool { return gone[nb.Link] })
}

// settle brings what follows from the rest up to date: carriers, operational
// states and the states of bridge ports. Ports first, their bridges after.
func (n *Namespace) settle() {
	for i := range n.Links {
		l := &n.Links[i]
		switch l.Kind {
		case TapKind:
			l.Carrier = l.Up && l.Tap != nil && len(l.Tap.Holders) > 0
		case Veth:
			if l.Peer != nil && l.Peer.Namespace == n.Name {
				if p := n.Link(l.Peer.Name); p != nil {
					l.Carrier = l.Up && p.Up
				}
			}
		case Dummy:
			l.Carrier = l.Up
		}
		if l.Port != nil {
			l.Port.State = "disabled"
			if m := n.Link(l.Master); l.Up && l.Carrier && m != nil && m.Up {
				l.Port.State = "forwarding"
			}
		}
	}
	for i := range n.Links {
		l := &n.Links[i]
		// A bridge that never had a port; see CreateBridge.apply.
		fresh := l.Kind == Bridged && l.Up && l.OperState == "unknown" && len(n.Ports(l.Name)) == 0
		if l.Kind == Bridged && !fresh {
			l.Carrier = l.Up && slices.ContainsFunc(n.Links, func(p Link) bool {
				return p.Master == l.Name && p.Port != nil && p.Port.State == "forwarding"
			})
		}
		switch {
		case l.Kind == Loopback, l.Kind == Dummy && l.Up, fresh:
			l.OperState = "unknown"
		case l.Carrier:
			l.OperState = "up"
		case l.Kind == Veth && l.Up:
			l.OperState = "lowerlayerdown"
		default:
			l.OperState = "down"
		}
	}
}
