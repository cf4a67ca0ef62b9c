# An LXC host: four containers of liblxc, three on lxcbr0 behind NAT, one on the LAN by macvlan.
# NICs: 1
name lx
static eth0 198.18.0.80/24 198.18.0.1
modprobe -a veth bridge macvlan nf_nat
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link add lxcbr0 type bridge
ip link set lxcbr0 up
ip addr add 198.19.3.1/24 dev lxcbr0
nft -f - <<END
table ip lxc {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip saddr 198.19.3.0/24 ip daddr != 198.19.3.0/24 masquerade
	}
}
END
box() { # NAME then the lines of its network
	mkdir -p "/var/lib/lxc/$1/rootfs/bin" "/var/lib/lxc/$1/rootfs/dev" "/var/lib/lxc/$1/rootfs/proc" "/var/lib/lxc/$1/rootfs/sys"
	cp /bin/busybox "/var/lib/lxc/$1/rootfs/bin/sleep"
	{
		echo "lxc.uts.name = $1"
		echo "lxc.rootfs.path = dir:/var/lib/lxc/$1/rootfs"
		echo "lxc.init.cmd = /bin/sleep 100000"
		echo "lxc.apparmor.profile = unconfined"
		cat
	} >"/var/lib/lxc/$1/config"
	lxc-start -n "$1" -l INFO -o "/tmp/$1.log" || tail -20 "/tmp/$1.log"
}
n=1
for c in dns web db; do
	n=$((n + 1))
	box $c <<END
lxc.net.0.type = veth
lxc.net.0.link = lxcbr0
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.ipv4.address = 198.19.3.$n/24
lxc.net.0.ipv4.gateway = 198.19.3.1
END
done
box media <<END
lxc.net.0.type = macvlan
lxc.net.0.macvlan.mode = bridge
lxc.net.0.link = eth0
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.ipv4.address = 198.18.0.81/24
lxc.net.0.ipv4.gateway = 198.18.0.1
END
capture() { picture; }
