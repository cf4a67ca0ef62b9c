# A router: three VLANs on one trunk, an uplink with NAT, and a wireguard to two peers.
# NICs: 2
name gate
rename eth0 wan0
rename eth1 trunk0
static wan0 198.18.0.2/24 198.18.0.1
ip link set trunk0 up
modprobe -a 8021q wireguard nf_nat nft_masq dummy
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
for vlan in 10 20 30; do
	ip link add link trunk0 name trunk0.$vlan type vlan id $vlan
	ip link set trunk0.$vlan up
	ip addr add 198.19.$vlan.1/24 dev trunk0.$vlan
	ip addr add 2001:db8:$vlan::1/64 dev trunk0.$vlan
done
ip link add wg0 type wireguard
wg genkey >/tmp/key
wg set wg0 private-key /tmp/key listen-port 51820
for peer in 1 2; do
	wg set wg0 peer "$(wg genkey | wg pubkey)" endpoint 198.18.0.$((100 + peer)):51820 allowed-ips 198.19.10$peer.0/24
done
ip link set wg0 up
ip addr add 198.19.100.1/24 dev wg0
ip route add 198.19.101.0/24 dev wg0
ip route add 198.19.102.0/24 dev wg0
nft -f - <<END
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "wan0" ip saddr 198.19.0.0/16 masquerade
	}
}
END
capture() { collect; }
