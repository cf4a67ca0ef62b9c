package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// AddedTap is what is known of a tap that was made beside the file.
type AddedTap struct {
	// By is [ByCommand] or [ByBroker].
	By string `json:"by"`
	// Network that it was asked for, as it was named then; "" for a plain tap.
	Network string `json:"network,omitempty"`
	// MAC is the hardware address that the VM's NIC is to have, "" if none was agreed.
	MAC model.MAC `json:"mac,omitempty"`
	// PortMAC is the tap's own hardware address, which nobody but us has a reason to change.
	PortMAC model.MAC `json:"port_mac,omitempty"`
	// Machine is what the VM is called by who asked, "" if nothing was said.
	Machine string `json:"machine,omitempty"`
	// Holder asked the broker for it; nil for one that the command added.
	Holder *TapHolder `json:"holder,omitempty"`
	// Secure is how the port is to be secured once the VM's MAC address is known; nil where
	// that is done, or is not wanted.
	Secure *model.PortSecurity `json:"secure,omitempty"`
}

// Sources are the addresses that a VM may send from.
type Sources struct {
	Any  bool // whatever it likes
	DHCP bool // what a DHCP server gives it
	List []netip.Prefix
}

// ParseSources reads the words "any" and "dhcp", addresses and subnets.
func ParseSources(words []string) (Sources, error) {
	var s Sources
	for _, w := range words {
		switch w {
		case "any":
			s.Any = true
			continue
		case "dhcp":
			s.DHCP = true
			continue
		}
		p, err := netip.ParsePrefix(w)
		if a, aerr := netip.ParseAddr(w); aerr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return s, fmt.Errorf("%q: neither dhcp nor any, nor an address or a subnet", w)
		}
		s.List = append(s.List, p.Masked())
	}
	return s, nil
}

// Port is the security of one VM's port by its level, nil for off. The link and, where it
// is not known yet, the MAC address are filled in by who makes it.
func (s Sources) Port(link, level string, mac model.MAC) *model.PortSecurity {
	if level != model.SecurityStrict && level != model.SecurityMAC {
		return nil
	}
	p := &model.PortSecurity{Link: link, Level: level}
	if mac != "" {
		p.MACs = []model.MAC{mac}
	}
	if level != model.SecurityStrict {
		return p
	}
	p.IPv4, p.IPv6, p.Sources = model.SourceAny, model.SourceAny, s.List
	switch {
	case s.Any:
		p.Sources = nil
	case s.DHCP:
		p.IPv4 = model.SourceLease
	case len(s.List) > 0:
		p.IPv4 = model.SourceList
	}
	if !s.Any && slices.ContainsFunc(s.List, func(x netip.Prefix) bool { return x.Addr().Is6() }) {
		p.IPv6 = model.SourceList
	}
	return p
}

// Who made a tap beside the file.
const (
	ByCommand = "command" // drawbridge tap add
	ByBroker  = "broker"  // drawbridge serve --broker, for a user without rights
)

// TapHolder is who asked the broker for a tap. The tap lives as long as its descriptor; one
// that is opened by its name lives as long as the process.
type TapHolder struct {
	UID  uint32 `json:"uid"`
	User string `json:"user,omitempty"`
	// PID and Started tell the process from a later one with its number.
	PID     int    `json:"pid"`
	Started uint64 `json:"started,omitempty"` // clock ticks after boot, proc_pid_stat(5)
	// Named: the tap is persistent, and opened by its name.
	Named bool `json:"named,omitempty"`
}

// NewTap is a tap to be added beside the file.
type NewTap struct {
	Name string // "" for the first tapN that is free
	// Network is one of the file's, or a bridge of this namespace; "" for a plain tap.
	Network      string
	Owner, Group string
	Host         []netip.Prefix // of a plain tap
	MultiQueue   bool
	// Security of the port; nil: it may send anything. Where it has no MAC address, it is
	// the VM's.
	Security *model.PortSecurity
	// Added is noted as it is; where it has no MAC, one is chosen.
	Added AddedTap
}

// AddTap plans one tap more, whatever the file says. The plan's Owned has it as the last
// of its links.
func AddTap(now model.Snapshot, t NewTap, own Owned, opt Options) (Plan, error) {
	b := newBuilder(now, own, opt)
	c := wantedCable{link: t.Name, transport: model.TransportTap, host: t.Host, multiQueue: t.MultiQueue}
	if c.link == "" {
		c.link = b.freeName("tap")
	}
	c.owner, c.ownerName = b.user(t.Owner)
	c.group, c.groupName = b.group(t.Group)
	if t.Network != "" {
		bridge, err := own.BridgeOf(t.Network, b.here())
		if err != nil {
			b.fails = append(b.fails, err)
		}
		c.bridge = bridge
	}
	switch l := b.here().Link(c.link); {
	case model.CheckLinkName(c.link) != nil:
		b.refuse(c.link, "is no name for a link", "at most 15 bytes, without '/' and spaces: tap7")
	case l != nil:
		b.refuse(c.link, fmt.Sprintf("exists already, and is a %s", kindWord(l.Kind)), "choose another name, or none: the first that is free is taken then")
	case opt.NoTaps:
		b.refuse(c.link, "taps cannot be made here", "run as root, where there is /dev/net/tun: modprobe tun")
	}
	if t.Security != nil && opt.NoSecurity != "" {
		b.refuse(c.link, "cannot be secured: "+opt.NoSecurity, "load the module (modprobe nf_tables), or leave out --security")
	}
	if len(t.Host) > 0 && c.bridge != "" {
		b.refuse(c.link, "a tap in a bridge has no address of its own: its host end is in the bridge", "leave out --host, or --network")
	}
	b.checkRoom(c.bridge)
	if len(b.fails) > 0 {
		return b.done()
	}
	added := t.Added
	if added.MAC == "" {
		added.MAC = chooseMAC(b.opt.Seed, "tap", c.link)
	}
	if t.Security != nil {
		p := *t.Security
		if p.Link = c.link; len(p.MACs) == 0 {
			p.MACs = []model.MAC{added.MAC}
		}
		c.security = &p
	}
	b.makeCable(c)
	b.securePorts([]wantedCable{c})
	b.plugCable(c)
	if own := b.own.link(c.link); own != nil {
		added.Network, added.PortMAC = cmp.Or(added.Network, t.Network), b.here().Link(c.link).MAC
		own.Added = &added
	}
	return b.done()
}

// DropTaps plans the end of taps that are ours. One of the file's, and one that somebody
// has open, is refused unless forced.
func DropTaps(now model.Snapshot, names []string, force bool, own Owned, opt Options) (Plan, error) {
	b := newBuilder(now, own, opt)
	for _, name := range names {
		o, l := b.own.link(name), b.here().Link(name)
		switch {
		case o == nil && l == nil:
			b.refuse(name, "no such tap", "the taps here: drawbridge tap list")
		case o == nil:
			b.refuse(name, fmt.Sprintf("is a %s that is not ours", kindWord(l.Kind)), "ip link del "+name+" deletes it all the same")
		case o.Kind != model.TapKind:
			b.refuse(name, fmt.Sprintf("is a %s, not a tap", kindWord(o.Kind)), "change the file, and run drawbridge up")
		case o.Added == nil && !force:
			b.refuse(name, "is a tap of the file", "take it out of the file, and run drawbridge up; --force deletes it now, and the next up makes it again")
		case l != nil && l.Tap != nil && len(l.Tap.Holders) > 0 && !force:
			h := l.Tap.Holders[0]
			b.refuse(name, fmt.Sprintf("is held by %s (pid %d)", h.Command, h.PID), "end it first; --force pulls the cable out of it")
		}
	}
	if len(b.fails) > 0 {
		return b.done()
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		b.dropLink(*b.own.link(name), "Nobody wants it any more.")
	}
	return b.done()
}

// BridgeOf finds the bridge of a network: of one that the file in force has, or else a
// bridge by its own name. The error is a [*Refusal].
func (o Owned) BridgeOf(network string, here *model.Namespace) (string, error) {
	bridge := network
	for _, n := range o.Networks {
		if n.Name == network {
			bridge = n.Bridge
		}
	}
	switch l := here.Link(bridge); {
	case l != nil && l.Kind == model.Bridged:
		return bridge, nil
	case l != nil:
		return "", &Refusal{network, fmt.Sprintf("is a %s, neither a network nor a bridge", kindWord(l.Kind)), o.networkHint(here)}
	default:
		return "", &Refusal{network, "no such network here, and no such bridge", o.networkHint(here)}
	}
}

// Brokered are the taps that the broker gave away.
func (o Owned) Brokered() []OwnedLink {
	return slices.DeleteFunc(slices.Clone(o.Links), func(l OwnedLink) bool {
		return l.Added == nil || l.Added.By != ByBroker || l.Added.Holder == nil
	})
}

// With is what is owned with one link more.
func (o Owned) With(l OwnedLink) Owned {
	o = o.clone()
	o.Links = append(o.Links, l)
	return o
}

// Securing is what is owned with a port secured.
func (o Owned) Securing(p model.PortSecurity) Owned {
	o = o.clone()
	o.dropSecured([]string{p.Link})
	o.Secured = append(o.Secured, p.Wish())
	return o
}

// Secures tells whether a port was secured by us.
func (o Owned) Secures(link string) bool {
	return slices.ContainsFunc(o.Secured, func(p model.PortSecurity) bool { return p.Link == link })
}

// Amended is what is owned with something else known of a tap that was added.
func (o Owned) Amended(name string, change func(*AddedTap)) Owned {
	o = o.clone()
	if l := o.link(name); l != nil && l.Added != nil {
		added := *l.Added
		change(&added)
		l.Added = &added
	}
	return o
}

// Without is what is owned without a link.
func (o Owned) Without(name string) Owned {
	o = o.clone()
	o.drop(map[string]bool{name: true})
	return o
}

func (o Owned) networkHint(here *model.Namespace) string {
	var names []string
	for _, n := range o.Networks {
		names = append(names, n.Name)
	}
	for _, l := range here.Links {
		if l.Kind == model.Bridged && !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return "there is none yet: drawbridge up makes those of the file"
	}
	return "there are: " + strings.Join(names, ", ")
}

// freeName is the first of prefix0, prefix1 ... that no link here has.
func (b *builder) freeName(prefix string) string {
	for n := 0; ; n++ {
		if name := fmt.Sprintf("%s%d", prefix, n); b.here().Link(name) == nil && !b.own.ownsLink(name) {
			return name
		}
	}
}

// checkRoom refuses one port more than a bridge takes.
func (b *builder) checkRoom(bridge string) {
	if bridge != "" && len(b.here().Ports(bridge)) >= model.MaxPorts {
		b.refuse(bridge, fmt.Sprintf("has its %s ports, and takes no more", thousands(model.MaxPorts)), "use another network, or delete taps that nobody uses: drawbridge tap list")
	}
}

// stays tells whether a tap that was added beside the file outlives a change of the file:
// as long as its bridge does. The wish of 'down' leaves nothing.
func (b *builder) stays(o OwnedLink, w *wanted) bool {
	if o.Added == nil || w.empty() {
		return false
	}
	l := b.here().Link(o.Name)
	return l != nil && (l.Master == "" || w.bridge(l.Master) != nil || !b.own.ownsLink(l.Master))
}

// adopt makes a tap that was added by hand the file's own, once the file has one of that
// name. One that the broker gave away ends with its holder, and cannot be the file's.
func (b *builder) adopt(c wantedCable) {
	own := b.own.link(c.link)
	switch {
	case own == nil || own.Added == nil:
	case own.Added.Holder != nil && b.here().Link(c.link) != nil:
		b.refuse(c.link, "is a tap that the broker gave to "+own.Added.Holder.Who(), "choose another tap name in the file")
	default:
		own.Added = nil
	}
}

// Who names a holder in words.
func (h *TapHolder) Who() string {
	switch {
	case h.User != "":
		return h.User
	default:
		return fmt.Sprintf("user %d", h.UID)
	}
}
