# A thousand taps on one bridge; forty are held by QEMUs.
# NICs: 1
name taps
ip link add br0 type bridge
ip link set eth0 master br0
ip link set eth0 up
ip link set br0 up
ip addr add 198.18.0.5/24 dev br0
ip route add default via 198.18.0.1
n=0
while [ $n -lt 1000 ]; do
	echo "tuntap add tap$n mode tap user nobody"
	echo "link set tap$n master br0 up"
	n=$((n + 1))
done | ip -batch -
n=0
while [ $n -lt 40 ]; do
	vm "web$n" "tap$n" "52:54:00:00:00:$(printf %02x $n)"
	n=$((n + 1))
done
carriers() { [ "$(grep -l 1 /sys/class/net/tap*/carrier 2>/dev/null | wc -l)" -ge 40 ]; }
wait_for carriers
capture() { collect; }
