# A laptop on Wi-Fi: two simulated radios (mac80211_hwsim), an access point (hostapd) with DHCP
# (dnsmasq) in a namespace, and the laptop with wpa_supplicant and dhclient; its Ethernet
# socket is empty, and a VPN's tun is up.
# NICs: 0
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
rename wlan0 wlp3s0
ip link set wlp3s0 up
wpa_passphrase home 'correct horse' >/tmp/wpa.conf
wpa_supplicant -B -i wlp3s0 -c /tmp/wpa.conf
wait_for sh -c 'iw dev wlp3s0 link | grep -q Connected'
dhclient -1 wlp3s0
modprobe e1000e
ip tuntap add tun0 mode tun user nobody
ip link set tun0 up
ip addr add 198.19.9.2 peer 198.19.9.1 dev tun0
ip route add 198.19.0.0/17 dev tun0
capture() { collect; }
