package plan

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// isolate makes a network one that the host is not on: its bridge is closed to the host,
// and its ports are guarded, see [model.PortSecurity].
func (b *builder) isolateNetwork(wb *wantedBridge) {
	wb.closed = true
	if b.opt.NoSecurity != "" {
		b.refuse("network "+wb.network, "cannot be isolated from this host: "+b.opt.NoSecurity, "load the module (modprobe nf_tables), or write mode: host-only")
	}
	l := b.here().Link(wb.name)
	if l != nil && l.Kind == model.Bridged && !b.own.ownsLink(wb.name) {
		b.refuse(wb.name, "exists already, and others may be on it: it cannot be the bridge of the isolated network "+wb.network, "choose another name for the bridge")
	}
	if b.opt.NoSnoop {
		b.note("%s: this kernel cannot drop what it sends itself (it has no egress hook, Linux 5.16): the host is deaf on network %s, and has no address to speak from", wb.name, wb.network)
	}
}

// guardPorts guards the ports of isolated networks that nothing else secures.
func (w *wanted) guardPorts(b *builder) {
	for i := range w.cables {
		c := &w.cables[i]
		wb := w.bridge(c.bridge)
		if c.bridge == "" || wb == nil || !wb.closed {
			l := b.here().Link(c.link)
			c.heard = l != nil && wasClosed(b.own, l.Master)
			continue
		}
		c.quiet = true
		if c.security == nil {
			c.security = &model.PortSecurity{Link: c.link, Level: model.SecurityOff}
		}
		c.security.Guarded = c.security.Level == model.SecurityOff
	}
}

// closeBridge takes the host off the network of a bridge, and lets it on again.
func (b *builder) closeBridge(wb wantedBridge) {
	if b.here().Link(wb.name) == nil {
		return
	}
	is := b.here().SecurityOf(wb.name)
	switch want := (model.PortSecurity{Link: wb.name, Level: model.SecurityClosed}); {
	case wb.closed:
		if is == nil || !is.Same(want) {
			why := fmt.Sprintf("A bridge's own interface must be up for its ports to work, and by it the host would be on the network: it answers there for any of its addresses. What the bridge has for the host is dropped at %s, and what the host would send there too: so the machines of network %s reach one another, and nobody else.", wb.name, wb.network)
			if is != nil && is.Altered {
				why = "Somebody changed the rules. " + why
			}
			b.step(fmt.Sprintf("Take the host off %s", wb.name), why, model.SecurePorts{Ports: []model.PortSecurity{want}})
		}
		b.ipv6Off(wb.name, "The host shall have no address there, and IPv6 gives every interface one.")
	case wasClosed(b.own, wb.name):
		if is != nil && is.Level == model.SecurityClosed {
			b.step(fmt.Sprintf("Let the host on %s again", wb.name), "The file no longer asks for an isolated network.", model.FreePorts{Links: []string{wb.name}})
		}
		b.ipv6On(wb.name)
	}
}

// quietPort sees to the host's own voice at a port, see [wantedCable].
func (b *builder) quietPort(c wantedCable) {
	switch {
	case c.quiet:
		b.ipv6Off(c.link, fmt.Sprintf("The host's own IPv6 would speak at this port beside the bridge: it gives every interface an address, and tells which groups it listens to there. Machines on %s shall not hear it.", c.bridge))
	case c.heard:
		b.ipv6On(c.link)
	}
}

func (b *builder) ipv6Off(link, why string) {
	path := "ipv6/conf/" + link + "/disable_ipv6"
	if is, known := b.here().Settings[path]; known && is != "1" {
		b.step("Switch IPv6 off at "+link, why, model.SetSetting{Path: path, Value: "1"})
	}
}

// ipv6On makes IPv6 at a link of ours what it is at new ones.
func (b *builder) ipv6On(link string) {
	path, usual := "ipv6/conf/"+link+"/disable_ipv6", b.here().Settings["ipv6/conf/default/disable_ipv6"]
	if is := b.here().Settings[path]; is == "1" && usual != "" && usual != is {
		b.step("Switch IPv6 on at "+link, "As it is at other interfaces.", model.SetSetting{Path: path, Value: usual})
	}
}

func wasClosed(o Owned, bridge string) bool {
	return slices.ContainsFunc(o.Secured, func(p model.PortSecurity) bool { return p.Link == bridge && p.Level == model.SecurityClosed })
}

// notForwarded keeps a network to its machines and the host, which may forward for others,
// as one with containers does.
func (b *builder) notForwarded(network, link string) *model.Forwarding {
	if b.opt.NoSecurity != "" {
		b.note("%s: should this host forward packets, it does so to and from there as well: %s", link, b.opt.NoSecurity)
		return nil
	}
	return &model.Forwarding{Network: network, Link: link}
}
