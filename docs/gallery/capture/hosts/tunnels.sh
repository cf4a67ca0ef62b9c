# Every kind of tunnel, and kinds that lead nowhere: gre, gretap, ipip, sit, geneve, vxlan by multicast,
# ip6gre, dummy, ifb, and some that no picture knows.
# NICs: 2
name zoo
static eth0 198.18.0.90/24 198.18.0.1
ip link set eth1 up
ip addr add 198.18.1.90/24 dev eth1
modprobe -a ip_gre ipip sit geneve vxlan ip6_gre dummy ifb nlmon macsec vcan team team_mode_activebackup vti
ip link add gre1 type gre local 198.18.0.90 remote 198.18.0.91 key 7
ip link add gretap1 type gretap local 198.18.0.90 remote 198.18.0.92
ip link add ipip1 type ipip local 198.18.0.90 remote 198.18.0.93
ip link add sit1 type sit local 198.18.0.90 remote 198.18.0.94
ip link add gen1 type geneve id 5001 remote 198.18.0.95
ip link add vx1 type vxlan id 42 group 239.1.1.1 dev eth1 dstport 4789
ip link add g6 type ip6gre local 2001:db8::1 remote 2001:db8::2
ip link add dummy0 type dummy
ip link add ifb0 type ifb
ip link add mon0 type nlmon
ip link add link eth1 macsec0 type macsec
ip link add can0 type vcan
for l in gre1 gretap1 ipip1 sit1 gen1 vx1 g6 dummy0 ifb0 mon0 macsec0 can0; do ip link set $l up; done
ip addr add 198.19.1.1/30 dev gre1
ip addr add 198.19.2.1/30 dev ipip1
ip addr add 198.19.3.1/24 dev gen1
ip addr add 198.19.255.1/32 dev dummy0
capture() { collect; }
