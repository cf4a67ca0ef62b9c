package preflight

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// Session is the SSH session that a command was given by, as sshd(8) tells it in
// SSH_CONNECTION.
type Session struct {
	Client, Server netip.AddrPort // addresses with their zones
}

// ParseSession reads SSH_CONNECTION: client address and port, server address and port.
func ParseSession(s string) (Session, bool) {
	f := strings.Fields(s)
	if len(f) != 4 {
		return Session{}, false
	}
	client, err1 := addrPort(f[0], f[1])
	server, err2 := addrPort(f[2], f[3])
	return Session{client, server}, err1 == nil && err2 == nil
}

func addrPort(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := netip.ParseAddrPort("0.0.0.0:" + port)
	return netip.AddrPortFrom(a.Unmap(), p.Port()), err
}

// Has tells whether a socket is this session's.
func (s Session) Has(f model.Socket) bool {
	return s.Client.IsValid() && f.Protocol == "tcp" &&
		f.Remote == netip.AddrPortFrom(s.Client.Addr().WithZone(""), s.Client.Port()) &&
		f.Local == netip.AddrPortFrom(s.Server.Addr().WithZone(""), s.Server.Port())
}

// loginServers hold the connections by which people are on a host. The name is cut to
// 15 bytes by the kernel (proc(5), comm).
var loginServers = []string{"sshd", "sshd-session", "sshd-auth", "dropbear", "in.telnetd", "telnetd", "login", "mosh-server"}

const sshPort = 22

// IsLogin tells whether somebody is on this host by a connection.
func (f Facts) IsLogin(s model.Socket) bool {
	if s.State != "established" {
		return false
	}
	return f.Session.Has(s) || s.Local.Port() == sshPort && s.Protocol == "tcp" || slices.Contains(loginServers, f.Holders[s.Inode].Command)
}

// boundSockets: the kernel delivers to a bound socket only what comes in by its link
// (inet_bound_dev_eq), and after the move everything comes in by another.
func (c *checker) boundSockets() {
	logins := 0
	for _, s := range c.Facts.Sockets {
		if s.Bound != c.move.From {
			continue
		}
		who := describe(s, c.Facts.Holders[s.Inode])
		if c.Facts.IsLogin(s) {
			logins++
			whose := "a login"
			if c.Facts.Session.Has(s) {
				whose = "your own SSH session"
			}
			c.add(Refuse, c.move.From, fmt.Sprintf("%s is bound to it (%s): it would hang once %s is the host's interface", whose, who, c.move.To), c.comeAgain(s))
			continue
		}
		c.add(Warn, c.move.From, fmt.Sprintf("%s is bound to it: it hears and reaches nobody once %s is the host's interface", who, c.move.To),
			fmt.Sprintf("start that program anew afterwards, bound to %s or to no interface", c.move.To))
	}
	// Another user's process may not be seen; the environment tells of our own session.
	zone := c.Facts.Session.Server.Addr().Zone()
	if zone == "" {
		zone = c.Facts.Session.Client.Addr().Zone()
	}
	if zone == c.move.From && logins == 0 {
		c.add(Refuse, c.move.From, fmt.Sprintf("your own SSH session came by its link-local address: it would hang once %s is the host's interface", c.move.To), c.comeAgain(model.Socket{}))
	}
}

// comeAgain names an address by which a login would follow.
func (c *checker) comeAgain(s model.Socket) string {
	for _, a := range c.Before.Here().AddressesOf(c.move.From) {
		if own := a.Prefix.Addr(); c.move.Host && !own.IsLinkLocalUnicast() && own != s.Local.Addr() && !a.Flags.Temporary {
			return fmt.Sprintf("log in by %s, which moves along, end that session, and try again", own)
		}
	}
	return "log in by another interface, or from the console, end that session, and try again"
}

func describe(s model.Socket, h model.Holder) string {
	out := fmt.Sprintf("%s %s", s.Protocol, s.Local)
	if s.Remote.Port() != 0 {
		out += " - " + s.Remote.String()
	}
	if h.PID != 0 {
		out = fmt.Sprintf("%s (pid %d, %s)", h.Command, h.PID, out)
	}
	return out
}

// lostLogins: a connection whose own address is not on the host any more gets no packet.
func (c *checker) lostLogins() {
	here := func(s *model.Snapshot, a netip.Addr) bool {
		return slices.ContainsFunc(s.Here().Addresses, func(x model.Address) bool { return x.Prefix.Addr() == a })
	}
	lost := func(a netip.Addr) bool { return here(&c.Before, a) && !here(&c.After, a) && !a.IsLinkLocalUnicast() }
	own := c.Facts.Session.Server.Addr()
	if own.IsValid() && lost(own) {
		c.add(Refuse, own.String(), "your own SSH session goes to this address, and the host would have it no longer", "give the host an address on this LAN (host: move), or log in by another interface")
	}
	for _, s := range c.Facts.Sockets {
		if s.Bound == "" && c.Facts.IsLogin(s) && lost(s.Local.Addr()) && s.Local.Addr() != own {
			c.add(Warn, s.Local.Addr().String(), fmt.Sprintf("a login goes to this address, and the host would have it no longer: %s", describe(s, c.Facts.Holders[s.Inode])), "")
		}
	}
}
