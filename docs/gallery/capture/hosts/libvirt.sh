# A libvirt host: libvirtd's own default network (virbr0, NAT, DHCP by its dnsmasq) and a bridged
# network, each with virtual machines that libvirt started.
# NICs: 1
name virt
modprobe -a nf_nat nf_tables bridge
ip link add br0 type bridge
ip link set eth0 master br0
ip link set eth0 up
ip link set br0 up
ip addr add 198.18.0.30/24 dev br0
ip route add default via 198.18.0.1
mkdir -p /run/libvirt /var/log/libvirt /run/dbus
sed -i 's/^#user = .*/user = "root"/; s/^#group = .*/group = "root"/; s/^#security_driver.*/security_driver = "none"/; s/^#cgroup_controllers.*/cgroup_controllers = [ ]/; s/^#namespaces.*/namespaces = [ ]/' /etc/libvirt/qemu.conf
virtlogd -d
libvirtd -d
wait_for virsh list
cat >/tmp/default.xml <<END
<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='on' delay='0'/>
<ip address='198.19.122.1' netmask='255.255.255.0'><dhcp><range start='198.19.122.2' end='198.19.122.254'/></dhcp></ip></network>
END
virsh net-destroy default
virsh net-undefine default
virsh net-define /tmp/default.xml
virsh net-start default
machine() { # NAME INTERFACE...
	name=$1
	shift
	{
		echo "<domain type='qemu'><name>$name</name><memory unit='MiB'>16</memory><os><type>hvm</type></os><devices>"
		for source; do echo "<interface $source<model type='virtio'/></interface>"; done
		echo "</devices></domain>"
	} >/tmp/machine.xml
	virsh create --paused /tmp/machine.xml
}
nat="type='network'><source network='default'/>"
bridged="type='bridge'><source bridge='br0'/>"
machine build1 "$nat"
machine build2 "$nat"
machine web "$bridged"
machine gateway "$nat" "$bridged"
capture() { picture; }
