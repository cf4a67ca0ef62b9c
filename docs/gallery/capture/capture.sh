#!/bin/sh
# Captures the bundles of the gallery: builds each host of hosts/*.sh for real, in a virtual
# machine with Debian's own kernel (which has what a namespace on your machine may lack:
# bonds, VRFs, wireguard, Wi-Fi), and writes what our collector says there, or what
# "drawbridge draw --format json" says where containers are to be seen, into ../bundles.
#
#   docs/gallery/capture/capture.sh [HOST...]     as root; every host, if none is named
#
# It needs mmdebstrap, qemu-system-x86, e2fsprogs, bin/drawbridge ("make build"), and the
# network, for Debian's packages. The disk (4 GB) is built once, in $GALLERY_CACHE
# (default: bin/gallery). Nothing is changed on this machine. Captures differ from one time
# to the next in what a kernel chooses by chance: MACs, ids of containers.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
cache=${GALLERY_CACHE:-$top/bin/gallery}
bundles=$here/../bundles
mkdir -p "$cache" "$bundles"

packages=linux-image-amd64,iproute2,iw,wpasupplicant,hostapd,wireguard-tools,nftables,iptables,openvswitch-switch,docker.io,libvirt-daemon-system,libvirt-daemon,libvirt-clients,libvirt-daemon-driver-qemu,qemu-system-x86,lxc,containernetworking-plugins,dnsmasq-base,isc-dhcp-client,busybox-static,procps,kmod,libteam-utils,jq,user-mode-linux

disk() {
	[ -e "$cache/root.img" ] && return
	mmdebstrap --variant=important --aptopt='APT::Install-Recommends "false"' --include=$packages bookworm "$cache/root.tar"
	mkdir -p "$cache/root"
	tar -C "$cache/root" --exclude='./dev/*' -xf "$cache/root.tar"
	cat >"$cache/root/sbin/capture" <<-'END'
		#!/bin/sh
		mkdir -p /capture
		tar -C /capture -xf /dev/vdb
		exec sh /capture/guest.sh "$(sed 's/.*gallery=//; s/ .*//' /proc/cmdline)"
	END
	chmod +x "$cache/root/sbin/capture"
	cp "$cache"/root/boot/vmlinuz* "$cache/vmlinuz"
	cp "$cache"/root/boot/initrd* "$cache/initrd"
	truncate -s 4G "$cache/root.img.new"
	mke2fs -q -F -t ext4 -d "$cache/root" "$cache/root.img.new"
	mv "$cache/root.img.new" "$cache/root.img"
	rm -rf "$cache/root" "$cache/root.tar"
}

# nics N: N network cards, each on a LAN of its own with a router, DHCP and router
# advertisements (QEMU's user network).
nics() {
	n=0
	while [ $n -lt "$1" ]; do
		echo "-netdev user,id=n$n,net=198.18.$n.0/24,host=198.18.$n.1,dns=198.18.$n.3,dhcpstart=198.18.$n.50,ipv6-net=2001:db8:$n::/64"
		echo "-device virtio-net-pci,netdev=n$n,mac=02:11:22:33:44:0$n"
		n=$((n + 1))
	done
}

capture() {
	host=$1
	work=$(mktemp -d "$cache/run.XXXXXX")
	mkdir "$work/in"
	cp "$here"/guest.sh "$here/hosts/$host.sh" "$top/bin/drawbridge" "$work/in/"
	"$top/bin/drawbridge" draw --print-collector >"$work/in/collect.sh"
	tar -C "$work/in" -cf "$work/in.tar" .
	truncate -s 64M "$work/in.tar" "$work/out.tar"
	count=$(sed -n 's/^# NICs: //p' "$here/hosts/$host.sh")
	# shellcheck disable=SC2046 # each word is an argument
	timeout 900 qemu-system-x86_64 -accel tcg,thread=multi -m 3G -smp 2 -nodefaults -nographic -serial stdio -no-reboot \
		-kernel "$cache/vmlinuz" -initrd "$cache/initrd" \
		-append "console=ttyS0 root=/dev/vda rw quiet panic=-1 net.ifnames=0 init=/sbin/capture gallery=$host" \
		-drive "file=$cache/root.img,if=virtio,format=raw,snapshot=on" \
		-drive "file=$work/in.tar,if=virtio,format=raw,readonly=on" \
		-drive "file=$work/out.tar,if=virtio,format=raw" \
		$(nics "${count:-1}") </dev/null >"$work/console" 2>&1 || true
	# An image that nothing was written to is an empty archive.
	if ! tar -tf "$work/out.tar" 2>/dev/null | grep -q "/$host" || ! tar -C "$bundles" -xf "$work/out.tar"; then
		tail -n 30 "$work/console"
		echo "$host: nothing was captured; $work/console has the whole console" >&2
		return 1
	fi
	find "$bundles" -name "$host.*" ! -newer "$work/in.tar" -delete # of another kind, of a time before
	echo "$host: captured"
	[ -n "${GALLERY_KEEP:-}" ] || rm -rf "$work"
}

disk
[ $# -gt 0 ] || set -- $(cd "$here/hosts" && ls | sed 's/\.sh$//')
failed=
for host; do
	capture "$host" || failed="$failed $host"
done
[ -z "$failed" ] || { echo "not captured:$failed" >&2; exit 1; }
