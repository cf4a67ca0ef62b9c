#!/bin/sh
# Captures how a host looks in each mode in a lab ("drawbridge lab": namespaces, no rights
# needed) with User-Mode Linux: the host alone on its LAN, the network made, its machines
# there. The firewall's rules are captured too, as packets are traced through the pictures.
#
#   docs/gallery/capture/modes.sh
#
# It needs bin/drawbridge ("make build"), nft and Debian's user-mode-linux.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bundles=$here/../bundles
db=$(cd "$here/../../.." && pwd)/bin/drawbridge
lab=modes$$
work=$(mktemp -d)
trap '"$db" lab down --name "$lab"; rm -rf "$work"' EXIT

host() { "$db" lab exec --name "$lab" host -- "$@"; }
picture() { host "$db" draw --trace host lan --format json | gzip -9n >"$bundles/mode-$1.json.gz"; }

# mode NAME NETWORKS MACHINES: the network, and then its machines.
mode() {
	printf 'networks:\n%s\n' "$2" >"$work/drawbridge.yaml"
	host "$db" up --yes "$work/drawbridge.yaml"
	sleep 2
	picture "$1-1"
	printf 'networks:\n%s\nmachines:\n%s\n' "$2" "$3" >"$work/drawbridge.yaml"
	host "$db" up --yes "$work/drawbridge.yaml"
	sleep 8
	picture "$1-2"
	host "$db" down --yes
}

# vm NAME NIC
vm() { printf '  %s: {vmm: uml, memory: 64M, nics: {eth1: {%s}}}\n' "$1" "$2"; }

two=$(
	vm web 'network: lan, address: [198.18.7.10/24, "2001:db8:7::10/64"]'
	vm db 'network: lan, address: [198.18.7.11/24, "2001:db8:7::11/64"]'
)

"$db" lab up --name "$lab" >/dev/null
sleep 2
picture host
for cable in 'cable: false, ' ''; do
	printf 'machines:\n%s\n' "$(vm web "${cable}tap: tap0, address: [198.18.8.2/30], host: [198.18.8.1/30]")" >"$work/drawbridge.yaml"
	[ -n "$cable" ] || host "$db" machine plug web eth1 tap0
	host "$db" up --yes "$work/drawbridge.yaml"
	sleep 4
	[ -n "$cable" ] && picture tap-1 || picture tap-2
done
host "$db" down --yes
mode host-only '  lan: {mode: host-only, bridge: br1, host: [198.18.7.1/24, "2001:db8:7::1/64"]}' "$two"
mode isolated '  lan: {mode: isolated, bridge: br1}' "$two"
mode routed '  lan: {mode: routed, bridge: br1, uplink: eth0}' "$(vm web 'network: lan')"
mode nat '  lan: {mode: nat, bridge: br1, subnet: 198.18.7.0/24, subnet6: "2001:db8:7::/64", zone: lab.home.arpa}' \
	"$(vm web 'network: lan, publish: ["8080:80"]')"
"$db" lab down --name "$lab"
"$db" lab up --name "$lab" --access-point >/dev/null
sleep 2
mode auto '  lan: {mode: auto, uplink: eth0, bridge: br1}' "$(vm web 'network: lan')"
