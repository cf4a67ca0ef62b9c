# Prints how this host's network is wired, for "drawbridge draw --from -". It only reads.
# Its arguments are the names of network namespaces to read as well; "all" is all of /run/netns.
# It needs ip and bridge (iproute2, 4.20 or later) and /proc.
PATH=$PATH:/usr/sbin:/sbin
# run prints what a command says; what fails is not the same as what is empty.
run() {
	if out=$("$@" 2>/dev/null); then
		echo "### $*"
		echo "$out"
	else
		echo "### failed $*"
	fi
}
# every VIEW...: the network as "ip VIEW" sees it; VIEW is nothing, or -n NAME.
every() {
	run ip "$@" -d -j link
	run ip "$@" -d -j addr
	run ip "$@" -d -j route show table all
	run ip "$@" -6 -d -j route show table all
	run ip "$@" -j rule
	run ip "$@" -6 -j rule
	run ip "$@" -d -j neigh show nud all
	run ip "$@" -d -j neigh show proxy
	run bridge "$@" -d -j link
	run bridge "$@" -d -j vlan
	run bridge "$@" -d -j fdb
}
# sysctls IN...: with cat, not read: dash reads byte by byte, and a sysctl has one byte then
# (proc_first_pos_non_zero_ignore and the like, kernel/sysctl.c).
sysctls() {
	echo "### sysctl"
	for f in ipv4/ip_forward ipv6/conf/all/forwarding; do
		value=$("$@" cat "/proc/sys/net/$f" 2>/dev/null) && echo "$f=$value"
	done
}
# holders: who has taps open; fdinfo of /dev/net/tun has a line "iff: NAME" (drivers/net/tun.c).
holders() {
	echo "### holders"
	grep -s '^iff:' /proc/[0-9]*/fdinfo/* | while IFS=: read -r path _ tap; do
		pid=${path#/proc/}
		pid=${pid%%/*}
		[ "$(readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ] || continue
		read -r comm < "/proc/$pid/comm" && echo $tap $pid $comm
	done 2>/dev/null | sort -u
}
# machines: what a VM's monitor was called by, of each process that has a tap open; of its command
# line only that.
machines() {
	echo "### machines"
	for pid; do
		name=$(tr '\0' '\n' < "/proc/$pid/cmdline" | sed -n '/^--\{0,1\}name$/{n;p;q}; /^--id$/{n;p;q}; s/^umid=//p') && [ -n "$name" ] && echo $pid $name
	done 2>/dev/null
}
# extras: what other programs know, where they are there and there are the rights: whom this host
# hides behind its own address, the peers of tunnels, the active ports of teams, DHCP servers.
extras() {
	run nft -j list ruleset
	run iptables-save -t nat
	run wg show all endpoints
	echo "### active"
	for team in $(ip -br link show type team | cut -d ' ' -f 1); do
		echo "$team $(teamnl "$team" getoption activeport)"
	done 2>/dev/null
	echo "### leases"
	grep -hs -e '^ *fixed-address ' -e '^ *option dhcp-server-identifier ' -e '^ADDRESS=' -e '^SERVER_ADDRESS=' \
		/var/lib/dhcp/dhclient*.leases /run/systemd/netif/leases/* /var/lib/NetworkManager/*.lease
}
echo "### collector"
echo "### hostname"
cat /proc/sys/kernel/hostname
echo "### os-release"
cat /etc/os-release 2>/dev/null
every
sysctls
extras
h=$(holders)
echo "$h"
machines $(echo "$h" | sed 1d | cut -d ' ' -f 2 | sort -u)
[ "$1" != all ] || set -- $(ip netns list 2>/dev/null | cut -d ' ' -f 1)
[ $# = 0 ] || run ip -j netns list # by which id this namespace knows the others
for name; do
	[ "/run/netns/$name" -ef /proc/self/ns/net ] && continue # this one, by its name
	echo "### netns $name"
	every -n "$name"
	sysctls ip netns exec "$name"
done
echo "### end"
