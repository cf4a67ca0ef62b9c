package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
	"drawbridge/internal/portsec"
	"drawbridge/internal/spec"
)

// secure notes what the wire end of a cable may send.
func (c *wantedCable) secure(b *builder, s spec.Security, mac model.MAC, dhcp bool, addresses []netip.Prefix) {
	c.isolated = s.Isolated
	p := portSecurity(c.link, s, mac, dhcp, addresses)
	switch {
	case p == nil:
	case b.opt.NoSecurity == "":
		c.security = p
		if b.opt.NoSnoop && p.IPv4 == model.SourceLease {
			b.note("%s: this kernel cannot see which address a DHCP server gives (it has no egress hook, Linux 5.16): it may send from any IPv4 address", c.link)
		}
	case s.Asked:
		b.refuse(c.link, "cannot be secured: "+b.opt.NoSecurity, "load the module (modprobe nf_tables), or write security: off")
	default:
		b.note("%s is not secured, and may send what it likes: %s", c.link, b.opt.NoSecurity)
	}
}

// portSecurity is what a port may send by the file, nil for anything.
func portSecurity(link string, s spec.Security, mac model.MAC, dhcp bool, addresses []netip.Prefix) *model.PortSecurity {
	p := model.PortSecurity{Link: link, Level: cmp.Or(s.Level, model.SecurityOff), Rate: s.Rate, Storm: s.Storm}
	if !s.Limits() {
		return nil
	}
	if p.Level == model.SecurityOff {
		return &p
	}
	p.MACs, p.Allow = append([]model.MAC{mac}, s.MACs...), s.Allow
	if p.Level != model.SecurityStrict {
		return &p
	}
	p.IPv4, p.IPv6 = model.SourceAny, model.SourceAny
	switch {
	case dhcp:
		p.IPv4 = model.SourceLease
	case len(addresses) > 0:
		p.IPv4 = model.SourceList
	}
	for _, a := range addresses {
		if a.Addr().Is6() {
			p.IPv6 = model.SourceList
		}
		p.Sources = append(p.Sources, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	for _, a := range s.Sources {
		if !slices.Contains(p.Sources, a) {
			p.Sources = append(p.Sources, a)
		}
	}
	return &p
}

// freePorts takes the security off ports of ours whose links stay and whose file no
// longer wants it, and what is left of links that somebody else deleted.
func (b *builder) freePorts(w *wanted) {
	var links []string
	for _, p := range b.own.Secured {
		if c := w.cable(p.Link); c != nil && c.security != nil {
			continue
		}
		if w.bridge(p.Link) != nil { // see closeBridge
			continue
		}
		if o := b.own.link(p.Link); o != nil && o.Added != nil { // it stands beside the file
			continue
		}
		if b.here().SecurityOf(p.Link) != nil {
			links = append(links, p.Link)
		}
	}
	var again []model.PortSecurity
	b.own.Secured = slices.DeleteFunc(b.own.Secured, func(p model.PortSecurity) bool {
		is := b.here().SecurityOf(p.Link)
		o := b.own.link(p.Link)
		beside := o != nil && o.Added != nil && b.here().Link(p.Link) != nil && !w.empty()
		if beside && (is == nil || !is.Same(p)) {
			again = append(again, p)
		}
		return is == nil && !beside
	})
	if len(again) > 0 {
		op := model.SecurePorts{Ports: again}
		b.step("Secure "+shortRuns(op.Names())+" again", "Somebody changed or deleted the rules.", op)
	}
	if len(links) == 0 {
		return
	}
	b.step("Take the port security off "+shortRuns(links), "The file no longer asks for it.", model.FreePorts{Links: links})
}

// securePorts secures the ports that are not as they should be, all of them in one step.
func (b *builder) securePorts(cables []wantedCable) {
	there := make(map[string]model.PortSecurity, len(b.here().Secured))
	for _, p := range b.here().Secured {
		there[p.Link] = p
	}
	var ports []model.PortSecurity
	altered := 0
	for _, c := range cables {
		if c.security == nil {
			continue
		}
		was, secured := there[c.link]
		if secured && was.Same(*c.security) {
			continue
		}
		if secured && was.Altered {
			altered++
		}
		ports = append(ports, *c.security)
	}
	if len(ports) == 0 {
		return
	}
	op := model.SecurePorts{Ports: ports}
	title := "Secure the port " + ports[0].Link
	if len(ports) > 1 {
		title = fmt.Sprintf("Secure %s ports: %s", thousands(len(ports)), shortRuns(op.Names()))
	}
	why := securityWhy(ports)
	if altered > 0 {
		why = "Somebody changed the rules. " + why
	}
	b.step(title, why, op)
}

func securityWhy(ports []model.PortSecurity) string {
	p := ports[0]
	if len(ports) > 1 {
		return "What arrives by these cables is checked before anybody sees it: each may send from its own MAC address only, and where they are known from its own addresses. Nothing of a DHCP server, a router or a switch gets in, unless the file allows it."
	}
	var limits []string
	if p.Rate > 0 {
		limits = append(limits, fmt.Sprintf("more than %s bit/s either way", rateWord(p.Rate)))
	}
	if p.Storm > 0 {
		limits = append(limits, fmt.Sprintf("more than %d broadcasts a second", p.Storm))
	}
	why := fmt.Sprintf("What arrives by the cable at %s is checked before anybody sees it. ", p.Link)
	switch p.Level {
	case model.SecurityOff:
		if len(limits) == 0 {
			return fmt.Sprintf("What is addressed to the bridge itself is dropped at %s: the host would get it by that port, although it is not on the network.", p.Link)
		}
		return fmt.Sprintf("What exceeds its limits is dropped at %s: %s.", p.Link, strings.Join(limits, ", "))
	case model.SecurityMAC:
		why += fmt.Sprintf("Frames from any MAC address but %s are dropped.", macWords(p.MACs))
	default:
		why += fmt.Sprintf("Only frames from %s get in%s. Nothing of a DHCP server, a router or a switch does, and no VLAN tags", macWords(p.MACs), sourceWords(p))
		if len(p.Allow) > 0 {
			why += ", but for what the file allows: " + strings.Join(p.Allow, ", ")
		}
		why += "."
	}
	if len(limits) > 0 {
		why += " Nor does " + strings.Join(limits, ", or ") + "."
	}
	return why
}

func macWords(ms []model.MAC) string {
	var out []string
	for _, m := range ms {
		out = append(out, string(m))
	}
	return strings.Join(out, ", ")
}

func sourceWords(p model.PortSecurity) string {
	var out []string
	for _, s := range p.Sources {
		if s.IsSingleIP() {
			out = append(out, s.Addr().String())
		} else {
			out = append(out, s.String())
		}
	}
	switch {
	case p.Allows(model.AllowRouter):
		return ""
	case p.IPv4 == model.SourceLease:
		return ", with the IPv4 address that a DHCP server gave it" + strings.Join(append([]string{""}, out...), ", ")
	case len(out) > 0:
		return ", with its own addresses (" + strings.Join(out, ", ") + ")"
	default:
		return ""
	}
}

// rateWord writes 100000000 as 100M.
func rateWord(n int64) string {
	for _, u := range []struct {
		unit string
		of   int64
	}{{"G", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if n%u.of == 0 {
			return fmt.Sprint(n/u.of) + u.unit
		}
	}
	return fmt.Sprint(n)
}

// isolate isolates the ports that shall be, and no others of these.
func (b *builder) isolate(cables []wantedCable) {
	links := map[bool][]string{}
	is := make(map[string]*model.BridgePort, len(b.here().Links))
	for _, l := range b.here().Links {
		is[l.Name] = l.Port
	}
	for _, c := range cables {
		if port := is[c.link]; port != nil && port.Isolated != c.isolated {
			links[c.isolated] = append(links[c.isolated], c.link)
		}
	}
	for _, isolated := range []bool{false, true} {
		if len(links[isolated]) > 0 {
			b.setIsolated(links[isolated], isolated)
		}
	}
}

func (b *builder) setIsolated(links []string, isolated bool) {
	if isolated {
		b.step("Isolate "+shortRuns(links), "No frames go from an isolated port to another one, only to and from the rest of the bridge: the uplink and the host.",
			model.SetIsolated{Links: links, Isolated: true})
		return
	}
	b.step("Isolate "+shortRuns(links)+" no longer", "Frames go to and from all ports of the bridge again.", model.SetIsolated{Links: links})
}

func inverseForPort(op model.Operation, ns *model.Namespace) model.Operations {
	switch op := op.(type) {
	case model.SecurePorts:
		return resecure(ns, op.Names())
	case model.FreePorts:
		return resecure(ns, op.Links)
	case model.SetIsolated:
		return inverseIsolation(ns, op)
	default:
		return nil
	}
}

// resecure lists what brings the security of ports back to what it is.
func resecure(ns *model.Namespace, links []string) model.Operations {
	var free []string
	for _, l := range links {
		if ns.SecurityOf(l) == nil {
			free = append(free, l)
		}
	}
	ops := securityAgain(ns, links...)
	if len(free) > 0 {
		ops = append(ops, model.FreePorts{Links: free})
	}
	return ops
}

// securityAgain lists what gives ports the security that they have. Rules that somebody
// altered cannot be told; those that were meant come back.
func securityAgain(ns *model.Namespace, links ...string) model.Operations {
	var ports []model.PortSecurity
	for _, l := range links {
		if p := ns.SecurityOf(l); p != nil && p.Check() == nil {
			ports = append(ports, p.Wish())
		}
	}
	if len(ports) == 0 {
		return nil
	}
	return model.Operations{model.SecurePorts{Ports: ports}}
}

// reisolate isolates a port that is made anew, as it was.
func reisolate(l *model.Link) model.Operations {
	if l.Port == nil || !l.Port.Isolated {
		return nil
	}
	return model.Operations{model.SetIsolated{Links: []string{l.Name}, Isolated: true}}
}

func inverseIsolation(ns *model.Namespace, op model.SetIsolated) model.Operations {
	var links []string
	for _, name := range op.Links {
		if l := ns.Link(name); l != nil && l.Port != nil && l.Port.Isolated != op.Isolated {
			links = append(links, name)
		}
	}
	if len(links) == 0 {
		return nil
	}
	return model.Operations{model.SetIsolated{Links: links, Isolated: !op.Isolated}}
}

// portsInFull is how many ports have all their rules in a command.
const portsInFull = 8

// securityCommands are for nft(8) and bridge(8), nil for any other operation.
func securityCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.SecurePorts:
		ports := op.Ports[:min(len(op.Ports), portsInFull)]
		text := portsec.Text(ports...)
		if more := len(op.Ports) - len(ports); more > 0 {
			text += fmt.Sprintf("# and alike for %d more ports\n", more)
		}
		return []string{"nft -f - <<'END'\n" + text + "END"}
	case model.FreePorts:
		return each(op.Links, func(l string) string {
			return fmt.Sprintf("for c in %s; do nft delete chain netdev %s $c; done", strings.Join(portsec.Names(l), " "), nft.Table)
		})
	case model.SetIsolated:
		return each(op.Links, func(l string) string {
			return fmt.Sprintf("bridge link set dev %s isolated %s", l, map[bool]string{true: "on", false: "off"}[op.Isolated])
		})
	}
	return nil
}
