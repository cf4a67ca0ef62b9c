# ipvlan in its three modes over one NIC and two VLANs of it.
# NICs: 1
name edge
static eth0 198.18.0.61/24 198.18.0.1
modprobe -a ipvlan 8021q
ip link add link eth0 name eth0.5 type vlan id 5
ip link set eth0.5 up
for mode in l2 l3 l3s; do
	ip netns add $mode
	lower=eth0
	[ $mode = l2 ] || ip link add link eth0 name eth0.$((6 + ${#mode})) type vlan id $((6 + ${#mode}))
	[ $mode = l2 ] || lower=eth0.$((6 + ${#mode}))
	ip link set $lower up
	ip link add link $lower name ipv-$mode type ipvlan mode $mode
	ip link set ipv-$mode netns $mode
	ip -n $mode link set lo up
	ip -n $mode link set ipv-$mode up
	ip -n $mode addr add 198.19.${#mode}.2/24 dev ipv-$mode
done
capture() { collect l2 l3 l3s; }
