# A laptop on Wi-Fi: two simulated radios (mac80211_hwsim), an access point (hostapd) with DHCP
# (dnsmasq) in a namespace, and the laptop with wpa_supplicant and dhclient; its Ethernet
# socket is not used, and a VPN's tun is up.
# NICs: 1
name laptop
modprobe mac80211_hwsim radios=2
modprobe -a tun veth
wait_for iw phy phy1 info
ip netns add ap
iw phy phy1 set netns name ap
cat >/tmp/ap.conf <<END
interface=wlan1
ssid=home
hw_mode=g
channel=1
wpa=2
wpa_key_mgmt=WPA-PSK
wpa_passphrase=correct horse
rsn_pairwise=CCMP
END
ip netns exec ap ip link set wlan1 up
ip netns exec ap ip addr add 198.18.0.1/24 dev wlan1
ip netns exec ap hostapd -B /tmp/ap.conf
ip netns exec ap dnsmasq --no-daemon --port=0 --interface=wlan1 --dhcp-range=198.18.0.50,198.18.0.99,12h >/dev/null 2>&1 &
# The laptop is a namespace as well: it has the one radio, not the simulation's own device.
ip netns add laptop
iw phy phy0 set netns name laptop
ip link set eth0 netns laptop
cat >/tmp/laptop.sh <<'END'
rename() { ip link set "$1" down; ip link set "$1" name "$2"; }
ip link set lo up
rename wlan0 wlp3s0
rename eth0 enp2s0
ip link set wlp3s0 address 02:11:22:33:44:55 up
wpa_passphrase home 'correct horse' >/tmp/wpa.conf
wpa_supplicant -B -i wlp3s0 -c /tmp/wpa.conf
until iw dev wlp3s0 link | grep -q Connected; do sleep 1; done
dhclient -1 wlp3s0
ip tuntap add tun0 mode tun user nobody
ip link set tun0 up
ip addr add 198.19.9.2 peer 198.19.9.1 dev tun0
ip route add 198.19.0.0/17 dev tun0
END
ip netns exec laptop sh /tmp/laptop.sh
capture() { ip netns exec laptop sh /capture/collect.sh >"/out/$host.txt"; }
