# A router of two customers that are kept apart by VRFs, each with its own uplink and LAN.
# NICs: 4
name pe1
modprobe vrf
table=100
n=0
for customer in red blue; do
	ip link add $customer type vrf table $table
	ip link set $customer up
	ip link set eth$n master $customer up
	ip addr add 198.18.$n.2/24 dev eth$n
	ip route add default via 198.18.$n.1 table $table
	n=$((n + 1))
	ip link set eth$n master $customer up
	ip addr add 198.18.$n.2/24 dev eth$n
	n=$((n + 1))
	table=$((table + 1))
done
echo 1 >/proc/sys/net/ipv4/ip_forward
capture() { collect; }
