# A host as Proxmox VE sets it up: a bond of two NICs, a VLAN-aware bridge over it, and 12
# VMs on taps that are named as Proxmox names them, each in a VLAN of its own kind.
# NICs: 3
name pve1
rename eth0 eno1
rename eth1 eno2
rename eth2 eno3
modprobe bonding max_bonds=0
ip link add bond0 type bond mode active-backup miimon 100
ip link set eno1 master bond0
ip link set eno2 master bond0
ip link set eno1 up
ip link set eno2 up
ip link set bond0 up
ip link add vmbr0 type bridge vlan_filtering 1 vlan_default_pvid 1
ip link set bond0 master vmbr0
bridge vlan add vid 2-4094 dev bond0
ip link set vmbr0 up
ip link set eno3 up
ip addr add 198.18.2.11/24 dev eno3
ip link add link vmbr0 name vmbr0.10 type vlan id 10
bridge vlan add vid 10 dev vmbr0 self
ip link set vmbr0.10 up
ip addr add 198.18.0.11/24 dev vmbr0.10
ip route add default via 198.18.0.1
VM_PROCESS=kvm
for id in 101 102 103 104 105 106 107 108 109 110 111 112; do
	tap "tap${id}i0" vmbr0
	vm "vm$id" "tap${id}i0" "bc:24:11:00:00:$(printf %02x $((id - 100)))"
	case $id in
	101) bridge vlan add vid 2-4094 dev tap101i0 ;; # a firewall VM: a trunk
	102 | 103 | 104 | 105) bridge vlan del vid 1 dev "tap${id}i0"; bridge vlan add vid 10 pvid untagged dev "tap${id}i0" ;;
	106 | 107 | 108 | 109) bridge vlan del vid 1 dev "tap${id}i0"; bridge vlan add vid 20 pvid untagged dev "tap${id}i0" ;;
	*) bridge vlan del vid 1 dev "tap${id}i0"; bridge vlan add vid 30 pvid untagged dev "tap${id}i0" ;;
	esac
done
carriers() { [ "$(grep -l 1 /sys/class/net/tap*/carrier 2>/dev/null | wc -l)" = 12 ]; }
wait_for carriers
capture() { collect; }
