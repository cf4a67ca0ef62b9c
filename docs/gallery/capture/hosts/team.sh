# A team of two NICs by teamd, with a bridge over it, and a second bond that balances.
# NICs: 4
name pair
modprobe -a team team_mode_activebackup bonding
mkdir -p /run/teamd
teamd -d -t team0 -c '{"device":"team0","runner":{"name":"activebackup"},"link_watch":{"name":"ethtool"},"ports":{"eth0":{"prio":100},"eth1":{"prio":10}}}'
wait_for ip link show team0
ip link set team0 up
ip link add br0 type bridge
ip link set team0 master br0
ip link set br0 up
ip addr add 198.18.0.12/24 dev br0
ip route add default via 198.18.0.1
tap tap0 br0
vm web tap0 52:54:00:00:00:01
ip link add bond1 type bond mode 802.3ad miimon 100
ip link set eth2 down
ip link set eth3 down
ip link set eth2 master bond1
ip link set eth3 master bond1
ip link set bond1 up
ip addr add 198.18.2.12/24 dev bond1
sleep 3
capture() { collect; }
