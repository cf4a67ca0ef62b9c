# An Open vSwitch with an uplink, an internal port for the host, four VMs and a vxlan.
# NICs: 1
name ovs1
modprobe -a openvswitch vport_vxlan
mkdir -p /run/openvswitch /var/log/openvswitch
/usr/share/openvswitch/scripts/ovs-ctl start --system-id=gallery --no-monitor
ovs-vsctl add-br br-int
ovs-vsctl add-port br-int eth0
ip link set eth0 up
ip link set br-int up
ip addr add 198.18.0.70/24 dev br-int
ip route add default via 198.18.0.1
for n in 1 2 3 4; do
	ip tuntap add vnet$n mode tap
	ip link set vnet$n up
	ovs-vsctl add-port br-int vnet$n tag=$((n * 10))
	vm "vm$n" vnet$n 52:54:00:00:00:0$n
done
ovs-vsctl add-port br-int mgmt0 -- set interface mgmt0 type=internal
ip link set mgmt0 up
ip addr add 198.19.7.1/24 dev mgmt0
ovs-vsctl add-port br-int vx0 -- set interface vx0 type=vxlan options:remote_ip=198.18.0.71 options:key=7
capture() { collect; }
