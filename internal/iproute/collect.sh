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
sysctls() {
	echo "### sysctl"
	for f in ipv4/ip_forward ipv6/conf/all/forwarding; do
		read -r value < "/proc/sys/net/$f" && echo "$f=$value"
	done 2>/dev/null
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
echo "### collector"
echo "### hostname"
cat /proc/sys/kernel/hostname
echo "### os-release"
cat /etc/os-release 2>/dev/null
every
sysctls
holders
[ "$1" != all ] || set -- $(ip netns list 2>/dev/null | cut -d ' ' -f 1)
[ $# = 0 ] || run ip -j netns list # by which id this namespace knows the others
for name; do
	[ "/run/netns/$name" -ef /proc/self/ns/net ] && continue # this one, by its name
	echo "### netns $name"
	every -n "$name"
	echo "### sysctl"
	ip netns exec "$name" sh -c 'for f in ipv4/ip_forward ipv6/conf/all/forwarding; do read -r v < /proc/sys/net/$f && echo "$f=$v"; done' 2>/dev/null
done
echo "### end"
