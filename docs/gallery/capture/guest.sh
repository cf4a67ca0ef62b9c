# The first process of the virtual machine: builds one host, captures it, and ends.
# shellcheck shell=sh
host=$1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec </dev/null >/dev/console 2>&1
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns /dev/net /run/lock
modprobe -a tun virtio_net
ip link set lo up

# wait COMMAND...: until it succeeds, three minutes at most.
wait_for() {
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 180 ] || { echo "waited in vain for: $*"; return 1; }
		sleep 1
	done
}
# name NAME: the host's.
name() { echo "$1" >/proc/sys/kernel/hostname; }
# rename OLD NEW: a NIC, to what udev would call it.
rename() { ip link set "$1" down; ip link set "$1" name "$2"; }
# lan IF: brings it up, with a static address in its LAN, and the default route.
static() { ip link set "$1" up; ip addr add "$2" dev "$1"; ip route add default via "$3"; }
# tap NAME BRIDGE: a persistent tap in a bridge, "" for none.
tap() { ip tuntap add "$1" mode tap; [ -z "$2" ] || ip link set "$1" master "$2"; ip link set "$1" up; }
# vm NAME TAP MAC [TAP MAC]...: a QEMU that holds taps; its processor is stopped, so that many of
# them are cheap.
vm() {
	vm_name=$1
	shift
	set -- "$@" end
	vm_args=
	vm_n=0
	while [ "$1" != end ]; do
		vm_args="$vm_args -netdev tap,id=n$vm_n,ifname=$1,script=no,downscript=no -device virtio-net-pci,netdev=n$vm_n,mac=$2"
		vm_n=$((vm_n + 1))
		shift 2
	done
	# shellcheck disable=SC2086 # each word is an argument
	qemu-system-x86_64 -S -m 16 -nodefaults -nographic -name "$vm_name,process=${VM_PROCESS:-qemu-system-x86}" $vm_args &
}
# collect [NAMESPACE...]: what the collector says, to be drawn with --from.
collect() { sh /capture/collect.sh "$@" >"/out/$host.txt"; }
# picture [SUFFIX]: what drawbridge itself sees, containers too.
picture() { /capture/drawbridge draw --all-namespaces --format json -o "/out/$host$1.json"; }

mkdir -p /out
. "/capture/$host.sh"
settled() { ! ip -6 addr | grep -q tentative; }
sleep 1
wait_for settled # duplicate address detection
capture
ls -l /out
for big in /out/*; do
	[ "$(wc -c <"$big")" -lt 300000 ] || gzip -9n "$big"
done
tar -C /out -cf /dev/vdc . && sync
echo o >/proc/sysrq-trigger
sleep 60
