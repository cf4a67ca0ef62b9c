# A mistake: a bridge over both halves of one veth pair, with spanning tree to keep it alive; and
# names that are hard to write.
# NICs: 1
name 'lo<o>p & "co"'
ip link set eth0 up
ip link add br0 type bridge stp_state 1
ip link set br0 up
ip addr add 198.18.0.99/24 dev br0
ip link set eth0 master br0
ip link add veth0 type veth peer name veth1
ip link set veth0 master br0 up
ip link set veth1 master br0 up
ip tuntap add '"><script>&' mode tap
ip tuntap add '日本語ｗ' mode tap
ip tuntap add 'שלום' mode tap
ip tuntap add 'tap🌉🌉' mode tap
for l in '"><script>&' '日本語ｗ' 'שלום' 'tap🌉🌉'; do ip link set "$l" up; ip link set "$l" master br0; done
capture() { collect; }
