package manager

import (
	"context"
	"path"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// program is a manager or DHCP client that is known by its process.
type program struct {
	name string
	// all: it sees to every link unless it is told otherwise.
	all bool
	// client: it is a DHCP client, and nothing more.
	client bool
	// sockets are where it can be spoken to, below the root; %s is the link.
	sockets []string
}

// programs by the names of their processes, cut to 15 bytes.
var programs = map[string]program{
	"dhclient":      {name: "dhclient", client: true, sockets: []string{"run/dhclient.%s.pid", "run/dhclient-%s.pid"}},
	"udhcpc":        {name: "udhcpc", client: true, sockets: []string{"run/udhcpc.%s.pid"}},
	"dhcpcd":        {name: "dhcpcd", client: true, sockets: []string{"run/dhcpcd/%s.sock", "run/dhcpcd/%s.pid", "run/dhcpcd/sock", "run/dhcpcd.sock"}},
	"connmand":      {name: "ConnMan", all: true},
	"wickedd":       {name: "wicked", all: true},
	"netifd":        {name: "netifd", all: true},
	"dhcpcanon":     {name: "dhcpcanon", client: true},
	"pump":          {name: "pump", client: true},
	"ifplugd":       {name: "ifplugd"},
	"netplugd":      {name: "netplugd", all: true},
	"wicd":          {name: "Wicd", all: true},
	"iwd":           {name: "iwd"},
	"wickedd-nanny": {name: "wicked", all: true},
}

// clients are the managers of a link that are known by their processes.
func (s System) clients(l model.Link, processes []Process) (out []model.Manager) {
	for _, p := range processes {
		known, ok := programs[p.Command]
		if !ok || !s.serves(p, known, l) {
			continue
		}
		m := model.Manager{Name: known.name, How: model.ByProcess, PID: p.PID, Acts: true, Client: known.client && !p.forAll()}
		for _, socket := range known.sockets {
			if file := strings.ReplaceAll(socket, "%s", l.Name); s.exists(file) {
				m.File = "/" + file
				break
			}
		}
		// dhcpcd is several processes, of which one is for all links; dhclient one a family.
		switch i := slices.IndexFunc(out, func(o model.Manager) bool { return o.Name == m.Name }); {
		case i < 0:
			out = append(out, m)
		case out[i].Client && !m.Client:
			out[i] = m
		}
	}
	return out
}

// serves tells whether a process sees to a link: its arguments name it, or no link at all
// and it is of those that see to all.
func (s System) serves(p Process, known program, l model.Link) bool {
	if p.Names(l.Name) {
		return true
	}
	hardware := l.Kind == model.Physical || l.Kind == model.Wireless || l.Kind == model.Veth
	switch {
	case !hardware:
		return false // what a program has made they are told of, or leave alone
	case known.all:
		return true
	case p.Command == "udhcpc":
		return l.Name == "eth0" && !slices.Contains(p.words(), "-i") // its default
	case p.Command == "dhcpcd":
		return p.forAll() && !s.dhcpcdDenies(l.Name)
	default:
		return false
	}
}

// forAll tells by its title whether a dhcpcd sees to all links: to their addresses, routes
// and name servers, as a manager does.
func (p Process) forAll() bool {
	return slices.Contains(p.words(), "[manager]") || slices.Contains(p.words(), "[master]")
}

// dhcpcdDenies reads dhcpcd.conf(5): patterns of the links that it leaves alone.
func (s System) dhcpcdDenies(link string) bool {
	for line := range strings.Lines(s.read("etc/dhcpcd.conf")) {
		w := strings.Fields(line)
		if len(w) < 2 || w[0] != "denyinterfaces" {
			continue
		}
		for _, pattern := range w[1:] {
			if ok, err := path.Match(pattern, link); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// The ports of DHCP clients (RFC 2131, 4.1; RFC 8415, 7.2).
const (
	dhcp4Client = 68
	dhcp6Client = 546
)

// strangers are programs that nobody knows, and that have a DHCP client's socket: bound to
// a link, or to an address of one, and to none where there is one way out only.
func (s System) strangers(ctx context.Context, ns *model.Namespace, processes []Process, known map[string][]model.Manager) map[string]model.Manager {
	if s.Sockets == nil || s.Holders == nil {
		return nil
	}
	sockets, err := s.Sockets(ctx)
	if err != nil {
		return nil
	}
	links := map[uint64]string{}
	inodes := map[uint64]bool{}
	for _, k := range sockets {
		if port := k.Local.Port(); k.Protocol != "udp" || port != dhcp4Client && port != dhcp6Client {
			continue
		}
		if link := linkOf(ns, k); link != "" {
			links[k.Inode], inodes[k.Inode] = link, true
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	holders, err := s.Holders(inodes)
	if err != nil {
		return nil
	}
	out := map[string]model.Manager{}
	for inode, h := range holders {
		link := links[inode]
		if slices.ContainsFunc(known[link], func(m model.Manager) bool { return m.PID == h.PID }) || isOurs(h.Command) {
			continue
		}
		if _, ok := programs[h.Command]; ok || slices.ContainsFunc(daemons, func(d daemon) bool { return d.command == h.Command }) {
			continue
		}
		if slices.ContainsFunc(processes, func(p Process) bool { return p.PID == h.PID }) {
			out[link] = model.Manager{Name: h.Command, How: model.ByProcess, PID: h.PID, Acts: true, Client: true}
		}
	}
	return out
}

// isOurs: a keeper of this program renews leases too.
func isOurs(command string) bool { return strings.HasPrefix(command, "drawbridge") }

// linkOf is the link that a client's socket is about, "" if it cannot be told.
func linkOf(ns *model.Namespace, k model.Socket) string {
	if k.Bound != "" {
		return k.Bound
	}
	for _, a := range ns.Addresses {
		if a.Prefix.Addr() == k.Local.Addr().WithZone("") {
			return a.Link
		}
	}
	if r := ns.DefaultRoute(); r != nil && k.Local.Addr().IsUnspecified() {
		return r.NextHops[0].Link
	}
	return ""
}
