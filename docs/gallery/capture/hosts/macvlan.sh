# Containers without a bridge: macvlan and ipvlan on one NIC, each moved into a namespace, and a
# macvtap for a VM.
# NICs: 1
name apps
static eth0 198.18.0.60/24 198.18.0.1
modprobe -a macvlan macvtap
for n in 1 2 3; do
	ip netns add app$n
	ip link add link eth0 name mv$n type macvlan mode bridge
	ip link set mv$n netns app$n
	ip -n app$n link set lo up
	ip -n app$n link set mv$n name eth0
	ip -n app$n link set eth0 up
	ip -n app$n addr add 198.18.0.6$n/24 dev eth0
	ip -n app$n route add default via 198.18.0.1
done
ip link add link eth0 name macvtap0 type macvtap mode bridge
ip link set macvtap0 up
ip link add link eth0 name mv0 type macvlan mode bridge
ip link set mv0 up
ip addr add 198.18.0.70/32 dev mv0
capture() { collect app1 app2 app3; }
