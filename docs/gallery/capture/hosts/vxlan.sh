# Two hosts joined by vxlan: each a namespace with a bridge, a tap and a vxlan over the LAN
# between them.
# NICs: 0
modprobe -a vxlan bridge veth
ip netns add left
ip netns add right
ip netns add switch
ip -n switch link add sw0 type bridge
ip -n switch link set sw0 up
for h in left right; do
	case $h in left) me=1 you=2 ;; right) me=2 you=1 ;; esac
	ip -n switch link add port-$h type veth peer name eth0 netns $h
	ip -n switch link set port-$h master sw0 up
	ip -n $h link set lo up
	ip -n $h link set eth0 up
	ip -n $h addr add 198.18.0.$me/24 dev eth0
	ip -n $h link add br0 type bridge
	ip -n $h link set br0 up
	ip -n $h addr add 198.19.0.$me/24 dev br0
	ip -n $h link add vxlan42 type vxlan id 42 remote 198.18.0.$you local 198.18.0.$me dstport 4789 dev eth0
	ip -n $h link set vxlan42 master br0 up
	ip -n $h tuntap add tap0 mode tap
	ip -n $h link set tap0 master br0 up
done
name left
capture() { ip netns exec left sh /capture/collect.sh right switch >"/out/$host.txt"; }
