package booted

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// Uplink is the interface that a manager is given, with static addresses: those of the
// lab's host, say.
type Uplink struct {
	Link      string
	Addresses []netip.Prefix
	Gateways  []netip.Addr
}

// Manager is a program that owns a host's network, and how it is told.
type Manager struct {
	Name string
	// Package has the Program; "" where systemd brings it.
	Package, Program string
	// Also are packages beside it, with the program that tells whether they are here.
	Also [][2]string
	// Units are started at boot.
	Units []string
	// Manage are files by which it gives the uplink its addresses at boot.
	Manage func(Uplink) map[string]string
	// Bridged is a script by which a person moves the uplink into the bridge br0 with it,
	// without STP and forward delay.
	Bridged func(Uplink) string
}

// Folders are the manager's packages where they are not of this machine; see [Package].
func (m Manager) Folders(dir string) (out []string, err error) {
	for _, p := range append([][2]string{{m.Package, m.Program}}, m.Also...) {
		if p[0] == "" {
			continue
		}
		folder, err := Package(dir, p[0], p[1])
		if err != nil {
			return nil, err
		}
		if folder != "" {
			out = append(out, folder)
		}
	}
	return out, nil
}

// Boot boots a host whose uplink the manager owns.
func (m Manager) Boot(ctx context.Context, dir string, u Uplink, o Options) (*Host, error) {
	folders, err := m.Folders(dir)
	if err != nil {
		return nil, err
	}
	files := m.Manage(u)
	for path, text := range o.Files {
		files[path] = text
	}
	o.Packages, o.Units, o.Files = append(folders, o.Packages...), append(m.Units, o.Units...), files
	return Boot(ctx, o)
}

// Managers are those that are known, by what a person calls them.
func Managers() []Manager {
	return []Manager{
		{
			Name: "systemd-networkd", Program: "networkctl", Units: []string{"systemd-networkd.service"},
			Manage: func(u Uplink) map[string]string {
				return map[string]string{"etc/systemd/network/10-uplink.network": networkFile(u.Link, u)}
			},
			Bridged: func(u Uplink) string {
				return script(
					file("/etc/systemd/network/br0.netdev", "[NetDev]\nName=br0\nKind=bridge\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"),
					file("/etc/systemd/network/br0.network", networkFile("br0", u)),
					file("/etc/systemd/network/10-uplink.network", "[Match]\nName="+u.Link+"\n[Network]\nBridge=br0\n"),
					"networkctl reload")
			},
		},
		{
			Name: "NetworkManager", Package: "network-manager", Program: "nmcli", Units: []string{"NetworkManager.service", "NetworkManager-wait-online.service"},
			Manage: func(u Uplink) map[string]string {
				return map[string]string{
					// It leaves veths alone otherwise (85-nm-unmanaged.rules), and asks polkit.
					"etc/NetworkManager/NetworkManager.conf":                    "[main]\nplugins=keyfile\nauth-polkit=false\n",
					"etc/NetworkManager/system-connections/uplink.nmconnection": keyFile("uplink", u),
				}
			},
			Bridged: func(u Uplink) string {
				return script(
					"nmcli connection add type bridge con-name br0 ifname br0 bridge.stp no "+nmcliAddresses(u),
					"nmcli connection add type ethernet con-name port ifname "+u.Link+" master br0",
					"nmcli connection up port")
			},
		},
		{
			Name: "netplan apply (networkd)", Package: "netplan.io", Program: "netplan", Units: []string{"systemd-networkd.service"},
			Manage: func(u Uplink) map[string]string {
				return map[string]string{
					"etc/netplan/10-uplink.yaml": "network:\n  version: 2\n  ethernets:\n    " + u.Link + ":\n" + netplanAddresses(u),
					// 'netplan apply' has udev look at the links again; there is no udev.
					"usr/local/sbin/udevadm": "#!/bin/sh\n",
				}
			},
			Bridged: func(u Uplink) string {
				return script(
					file("/etc/netplan/10-uplink.yaml", "network:\n  version: 2\n  ethernets:\n    "+u.Link+": {}\n  bridges:\n    br0:\n      interfaces: ["+u.Link+"]\n      parameters: {stp: false, forward-delay: 0}\n"+netplanAddresses(u)),
					"chmod 600 /etc/netplan/10-uplink.yaml",
					"netplan apply")
			},
		},
		{
			Name: "ifupdown2, ifreload", Package: "ifupdown2", Program: "ifreload", Units: []string{"networking.service"},
			Manage: func(u Uplink) map[string]string {
				return map[string]string{"etc/network/interfaces": "auto " + u.Link + "\niface " + u.Link + "\n" + stanza(u.Addresses, u.Gateways)}
			},
			Bridged: func(u Uplink) string {
				return script(
					file("/etc/network/interfaces", "auto "+u.Link+"\niface "+u.Link+"\nauto br0\niface br0\n\tbridge-ports "+u.Link+"\n\tbridge-stp off\n\tbridge-fd 0\n"+stanza(u.Addresses, u.Gateways)),
					"ifreload -a")
			},
		},
		{
			Name: "ifupdown, ifdown and ifup", Package: "ifupdown", Program: "ifup", Also: [][2]string{{"bridge-utils", "brctl"}}, Units: []string{"networking.service"},
			Manage: func(u Uplink) map[string]string {
				return map[string]string{"etc/network/interfaces": "auto " + u.Link + "\n" + stanzas(u.Link, u, "")}
			},
			Bridged: func(u Uplink) string {
				return script(
					"ifdown "+u.Link,
					file("/etc/network/interfaces", "iface "+u.Link+" inet manual\nauto br0\n"+stanzas("br0", u, "\tbridge_ports "+u.Link+"\n\tbridge_stp off\n\tbridge_fd 0\n")),
					"ifup br0")
			},
		},
	}
}

func script(commands ...string) string { return "set -e\n" + strings.Join(commands, "\n") + "\n" }

// file is a command that writes a file.
func file(path, text string) string { return "cat >" + path + " <<'END'\n" + text + "END" }

func networkFile(link string, u Uplink) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Match]\nName=%s\n[Network]\n", link)
	for _, a := range u.Addresses {
		fmt.Fprintf(&b, "Address=%s\n", a)
	}
	for _, g := range u.Gateways {
		fmt.Fprintf(&b, "Gateway=%s\n", g)
	}
	return b.String()
}

// gatewayOf is the gateway of a family, "" for none.
func gatewayOf(gateways []netip.Addr, four bool) string {
	for _, g := range gateways {
		if g.Is4() == four {
			return g.String()
		}
	}
	return ""
}

// family splits the addresses of one family off.
func (u Uplink) family(four bool) (out []string) {
	for _, a := range u.Addresses {
		if a.Addr().Is4() == four {
			out = append(out, a.String())
		}
	}
	return out
}

func keyFile(id string, u Uplink) string {
	var b strings.Builder
	// Every file that nmcli writes has a uuid.
	fmt.Fprintf(&b, "[connection]\nid=%s\nuuid=5a4c1d1e-3f0e-4f7e-9a52-6d1b8f5a0001\ntype=ethernet\ninterface-name=%s\n", id, u.Link)
	for i, section := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, "[%s]\nmethod=manual\n", section)
		for n, a := range u.family(i == 0) {
			fmt.Fprintf(&b, "address%d=%s\n", n+1, a)
		}
		if g := gatewayOf(u.Gateways, i == 0); g != "" {
			fmt.Fprintf(&b, "gateway=%s\n", g)
		}
	}
	return b.String()
}

func nmcliAddresses(u Uplink) string {
	var out []string
	for i, section := range []string{"ipv4", "ipv6"} {
		out = append(out, section+".method manual", section+".addresses "+strings.Join(u.family(i == 0), ","))
		if g := gatewayOf(u.Gateways, i == 0); g != "" {
			out = append(out, section+".gateway "+g)
		}
	}
	return strings.Join(out, " ")
}

func netplanAddresses(u Uplink) string {
	var all, routes []string
	for _, a := range u.Addresses {
		all = append(all, `"`+a.String()+`"`)
	}
	for _, g := range u.Gateways {
		routes = append(routes, fmt.Sprintf(`{to: default, via: "%s"}`, g))
	}
	return fmt.Sprintf("      addresses: [%s]\n      routes: [%s]\n", strings.Join(all, ", "), strings.Join(routes, ", "))
}

// stanza is the body of ifupdown2's one iface.
func stanza(addresses []netip.Prefix, gateways []netip.Addr) string {
	var b strings.Builder
	for _, a := range addresses {
		fmt.Fprintf(&b, "\taddress %s\n", a)
	}
	for _, g := range gateways {
		fmt.Fprintf(&b, "\tgateway %s\n", g)
	}
	return b.String()
}

// stanzas are ifupdown's: one for each family, what is the link's own in the first.
func stanzas(link string, u Uplink, own string) string {
	var b strings.Builder
	for i, family := range []string{"inet", "inet6"} {
		for _, a := range u.family(i == 0) {
			fmt.Fprintf(&b, "iface %s %s static\n%s\taddress %s\n", link, family, own, a)
			own = ""
			if g := gatewayOf(u.Gateways, i == 0); g != "" {
				fmt.Fprintf(&b, "\tgateway %s\n", g)
			}
		}
	}
	return b.String()
}
