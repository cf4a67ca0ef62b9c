package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// Style is the tools that a command is written for.
type Style int

// The styles.
const (
	Modern  Style = iota // ip(8), bridge(8), sysctl(8)
	Classic              // brctl(8), tunctl(8), ifconfig(8), route(8), as the old pages have it
)

// Commands are the commands that a person would type for the step, as root.
func (s Step) Commands(style Style) []string { return Commands(s.Do, style) }

// Commands renders an operation as commands. They do what the operation does, by
// hand; what has no classic form is written with ip(8) in both styles.
func Commands(op model.Operation, style Style) []string {
	if style == Classic {
		if cmds := classic(op); cmds != nil {
			return cmds
		}
	}
	switch op := op.(type) {
	case model.CreateBridge:
		c := "ip link add " + op.Name
		if op.MTU != 0 {
			c += fmt.Sprintf(" mtu %d", op.MTU)
		}
		if op.MAC != "" {
			c += fmt.Sprintf(" address %s", op.MAC)
		}
		return []string{c + " up type bridge stp_state 0 forward_delay 0"}
	case model.CreateTap:
		c := "ip tuntap add dev " + op.Name + " mode tap"
		if u := userWord(op.Owner, op.OwnerName); u != "" {
			c += " user " + u
		}
		if g := userWord(op.Group, op.GroupName); g != "" {
			c += " group " + g
		}
		if op.VnetHeader {
			c += " vnet_hdr"
		}
		if op.MultiQueue {
			c += " multi_queue"
		}
		if op.MAC != "" {
			return []string{c, fmt.Sprintf("ip link set %s address %s", op.Name, op.MAC)}
		}
		return []string{c}
	case model.CreateVeth:
		c := "ip link add " + op.Name
		if op.MAC != "" {
			c += fmt.Sprintf(" address %s", op.MAC)
		}
		return []string{c + " type veth peer name " + op.Peer.Name}
	case model.DeleteLink:
		return []string{"ip link del " + op.Name}
	case model.MoveLink:
		return []string{fmt.Sprintf("ip link set %s netns %s name %s", op.Link, op.Namespace, orSame(op.NewName, op.Link))}
	case model.SetUp:
		return []string{fmt.Sprintf("ip link set %s %s", op.Link, upDown(op.Up))}
	case model.SetMaster:
		if op.Master == "" {
			return []string{fmt.Sprintf("ip link set %s nomaster", op.Link)}
		}
		return []string{fmt.Sprintf("ip link set %s master %s", op.Link, op.Master)}
	case model.SetMAC:
		return []string{fmt.Sprintf("ip link set %s address %s", op.Link, op.MAC)}
	case model.SetMTU:
		return []string{fmt.Sprintf("ip link set %s mtu %d", op.Link, op.MTU)}
	case model.SetSetting:
		return []string{fmt.Sprintf("sysctl -w net.%s=%s", strings.ReplaceAll(strings.ReplaceAll(op.Path, ".", "\x00"), "/", "."), op.Value)}
	case model.WaitUp:
		return []string{fmt.Sprintf("until ip link show %s up | grep -q 'state UP'; do sleep 0.01; done", op.Link)}
	case model.RedirectIngress:
		return []string{fmt.Sprintf("bpftool net attach tcx_ingress pinned /sys/fs/bpf/to-%s dev %s", op.To, op.From)}
	case model.EndRedirect:
		return []string{"bpftool net detach tcx_ingress dev " + op.From}
	case model.CopyNeighbours:
		return []string{fmt.Sprintf("ip neigh show dev %s | while read ip _ mac _; do ip neigh replace $ip lladdr $mac dev %s; done", op.From, op.To)}
	}
	if cmds := batchCommands(op, style); cmds != nil {
		return cmds
	}
	for _, of := range []func(model.Operation) []string{managerCommands, securityCommands, forwardingCommands, passageCommands, followCommands, addressCommands, serviceCommands, mendCommands, proxyCommands} {
		if cmds := of(op); cmds != nil {
			return cmds
		}
	}
	return machineCommands(op, style)
}

func addressCommands(op model.Operation) []string {
	switch op := op.(type) {
	case model.AddAddresses:
		return each(op.Addresses, func(a model.Address) string { return "ip addr add " + addressWords(a) + " dev " + op.Link })
	case model.DeleteAddresses:
		return each(op.Addresses, func(a model.Address) string { return fmt.Sprintf("ip addr del %s dev %s", a.Prefix, op.Link) })
	case model.SettleAddresses:
		return each(op.Addresses, func(a model.Address) string { return "ip addr change " + addressWords(a) + " dev " + op.Link })
	case model.AddRoutes:
		return each(op.Routes, func(r model.Route) string { return "ip" + six(r) + " route add " + routeWords(r) })
	case model.DeleteRoutes:
		return each(op.Routes, func(r model.Route) string { return "ip" + six(r) + " route del " + routeWords(r) })
	case model.MoveRoutes:
		return each(model.Moved(op.Routes, op.From, op.To), func(r model.Route) string { return "ip" + six(r) + " route replace " + routeWords(r) })
	}
	return nil
}

// machineCommands start the page's own User-Mode Linux, or what stands in for it.
func machineCommands(op model.Operation, style Style) []string {
	if cmds := qemuCommands(op); cmds != nil {
		return cmds
	}
	switch op := op.(type) {
	case model.StartMachine:
		return []string{startCommand(op.Machine, style)}
	case model.StopMachine:
		return []string{"uml_mconsole " + op.Name + " cad"}
	case model.StartMachines:
		return each(op.Machines, func(m model.MachineConfig) string { return startCommand(m, style) + " &" })
	case model.StopMachines:
		return []string{fmt.Sprintf("for m in %s; do uml_mconsole $m cad & done", braces(op.Machines))}
	case model.PlugNIC:
		return []string{fmt.Sprintf("uml_mconsole %s config %s", op.Machine, nicArgument(op.NIC, style))}
	case model.UnplugNIC:
		return []string{fmt.Sprintf("uml_mconsole %s remove %s", op.Machine, op.NIC)}
	case model.ConfigureNIC:
		if op.NIC.DHCP {
			return []string{fmt.Sprintf("%s# dhclient %s", op.Machine, op.NIC.Name)}
		}
		if len(op.NIC.Addresses) == 0 {
			return []string{fmt.Sprintf("%s# ip addr flush dev %s", op.Machine, op.NIC.Name)}
		}
		return each(op.NIC.Addresses, func(p netip.Prefix) string {
			return fmt.Sprintf("%s# ip addr add %s dev %s", op.Machine, p, op.NIC.Name)
		})
	}
	return nil
}

func startCommand(m model.MachineConfig, style Style) string {
	switch m.VMM {
	case spec.NamespaceKind:
		return "ip netns add " + m.Name
	case spec.QEMU:
		return qemuCommand(m)
	}
	words := []string{"linux.uml", "umid=" + m.Name}
	if m.Memory != 0 {
		words = append(words, fmt.Sprintf("mem=%dM", m.Memory>>20))
	}
	words = append(words, rootWords(m)...)
	for _, n := range m.NICs {
		if n.Link != "" {
			words = append(words, nicArgument(n, style))
		}
	}
	return strings.Join(append(words, m.Args...), " ")
}

// rootWords say what a User-Mode Linux of the page's runs from.
func rootWords(m model.MachineConfig) []string {
	dir, isFolder := strings.CutPrefix(m.Root, "hostfs:")
	switch {
	case m.Root == "" || m.Root == "embedded":
		return nil
	case isFolder && m.Writes == "through":
		return []string{"root=/dev/root", "rootfstype=hostfs", "rootflags=" + dir, "rw"}
	case isFolder:
		return []string{"root=/dev/root", "rootfstype=hostfs", "rootflags=" + dir, "ro"}
	case m.Writes == "through":
		return []string{"ubd0=" + m.Root, "rw"}
	case m.Writes == "none":
		return []string{"ubd0r=" + m.Root, "ro"}
	default:
		return []string{fmt.Sprintf("ubd0=%s.cow,%s", m.Name, m.Root), "rw"}
	}
}

// nicArgument is UML's kernel argument for a NIC: the page's eth1=tuntap,tap0, or the
// vector transport that is the only one from Linux 6.16 on.
func nicArgument(n model.NICConfig, style Style) string {
	number := strings.TrimLeft(n.Name, "abcdefghijklmnopqrstuvwxyz-_.")
	switch {
	case style == Classic && n.Transport == model.TransportTap:
		return fmt.Sprintf("eth%s=tuntap,%s,%s", orSame(number, "0"), n.Link, n.MAC)
	case n.Transport == model.TransportVeth:
		return fmt.Sprintf("vec%s:transport=raw,ifname=%s,mac=%s", orSame(number, "0"), model.PeerName(n.Link), n.MAC)
	default:
		return fmt.Sprintf("vec%s:transport=tap,ifname=%s,depth=128,gro=1,mac=%s", orSame(number, "0"), n.Link, n.MAC)
	}
}

// classic is nil where the old tools have no word for it.
func classic(op model.Operation) []string {
	switch op := op.(type) {
	case model.CreateBridge:
		cmds := []string{"brctl addbr " + op.Name, "brctl stp " + op.Name + " off", "brctl setfd " + op.Name + " 0"}
		if op.MAC != "" {
			cmds = append(cmds, fmt.Sprintf("ifconfig %s hw ether %s", op.Name, op.MAC))
		}
		return append(cmds, "ifconfig "+op.Name+" up")
	case model.CreateTap:
		c := "tunctl -t " + op.Name
		if u := userWord(op.Owner, op.OwnerName); u != "" {
			c = "tunctl -u " + u + " -t " + op.Name
		}
		if g := userWord(op.Group, op.GroupName); g != "" {
			c += " -g " + g
		}
		return []string{c}
	case model.DeleteLink:
		switch op.Kind {
		case model.Bridged:
			return []string{"ifconfig " + op.Name + " down", "brctl delbr " + op.Name}
		case model.TapKind:
			return []string{"tunctl -d " + op.Name}
		}
	case model.SetUp:
		return []string{fmt.Sprintf("ifconfig %s %s", op.Link, upDown(op.Up))}
	case model.SetMaster:
		if op.Master != "" {
			return []string{fmt.Sprintf("brctl addif %s %s", op.Master, op.Link)}
		}
		return []string{fmt.Sprintf("brctl delif $(basename $(readlink /sys/class/net/%s/master)) %s", op.Link, op.Link)}
	case model.SetMAC:
		return []string{fmt.Sprintf("ifconfig %s hw ether %s", op.Link, op.MAC)}
	case model.SetMTU:
		return []string{fmt.Sprintf("ifconfig %s mtu %d", op.Link, op.MTU)}
	case model.AddAddresses:
		return each(op.Addresses, func(a model.Address) string {
			return "ifconfig " + op.Link + " " + classicFamily(a) + "add " + a.Prefix.String()
		})
	case model.DeleteAddresses:
		return each(op.Addresses, func(a model.Address) string {
			return "ifconfig " + op.Link + " " + classicFamily(a) + "del " + a.Prefix.String()
		})
	case model.MoveRoutes:
		return classicMove(op)
	}
	return nil
}

// classicMove leaves the connected routes out: ifconfig makes them with the address.
func classicMove(op model.MoveRoutes) []string {
	cmds := []string{}
	for _, r := range op.Routes {
		if r.Protocol == "kernel" {
			continue
		}
		family, via := "", ""
		if !r.Is4() {
			family = "-A inet6 "
		}
		if r.Gateway().IsValid() {
			via = " gw " + r.Gateway().String()
		}
		cmds = append(cmds, fmt.Sprintf("route %sdel %s%s dev %s", family, classicDestination(r), via, op.From),
			fmt.Sprintf("route %sadd %s%s dev %s", family, classicDestination(r), via, op.To))
	}
	return cmds
}

func classicDestination(r model.Route) string {
	switch {
	case r.IsDefault() && r.Is4():
		return "default"
	case r.Is4():
		return "-net " + r.Destination.String()
	default:
		return r.Destination.String()
	}
}

func classicFamily(a model.Address) string {
	if a.Prefix.Addr().Is6() {
		return "inet6 "
	}
	return ""
}

func addressWords(a model.Address) string {
	w := a.Prefix.String()
	if a.Peer.IsValid() {
		w = a.Prefix.Addr().String() + " peer " + a.Peer.String()
	}
	if a.Broadcast.IsValid() {
		w += " broadcast " + a.Broadcast.String()
	}
	if a.Lifetime != nil {
		w += fmt.Sprintf(" valid_lft %d preferred_lft %d", a.Lifetime.Valid, a.Lifetime.Preferred)
	}
	if a.Flags.NoDAD {
		w += " nodad"
	}
	if a.Flags.NoPrefixRoute {
		w += " noprefixroute"
	}
	return w
}

func routeWords(r model.Route) string {
	w := r.Destination.String()
	if r.IsDefault() {
		w = "default"
	}
	if r.Type != "unicast" && r.Type != "" {
		w = r.Type + " " + w
	}
	multi := len(r.NextHops) > 1
	for _, h := range r.NextHops {
		if multi {
			w += fmt.Sprintf(" nexthop weight %d", max(h.Weight, 1))
		}
		if h.Gateway.IsValid() {
			w += " via " + h.Gateway.String()
		}
		if h.Link != "" {
			w += " dev " + h.Link
		}
		if h.OnLink {
			w += " onlink"
		}
	}
	if r.Protocol != "" && r.Protocol != "boot" {
		w += " proto " + r.Protocol
	}
	if r.Source.IsValid() {
		w += " src " + r.Source.String()
	}
	if r.Metric != 0 {
		w += fmt.Sprintf(" metric %d", r.Metric)
	}
	if r.Table != model.TableMain {
		w += fmt.Sprintf(" table %d", r.Table)
	}
	names := make([]string, 0, len(r.Metrics))
	for k := range r.Metrics {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		w += fmt.Sprintf(" %s %d", k, r.Metrics[k])
	}
	return w
}

func each[T any](list []T, f func(T) string) []string {
	out := make([]string, 0, len(list))
	for _, t := range list {
		out = append(out, f(t))
	}
	return out
}

func six(r model.Route) string {
	if r.Is4() {
		return ""
	}
	return " -6"
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func orSame(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func userWord(id *uint32, name string) string {
	if name == "" && id != nil {
		return fmt.Sprint(*id)
	}
	return name
}
