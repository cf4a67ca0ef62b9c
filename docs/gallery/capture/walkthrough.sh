#!/bin/sh
# Captures the states of the walkthrough in a lab ("drawbridge lab": namespaces, no rights
# needed) with a User-Mode Linux: what drawbridge sees on the lab's host after each step.
#
#   docs/gallery/capture/walkthrough.sh
#
# It needs bin/drawbridge ("make build") and Debian's user-mode-linux.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bundles=$here/../bundles
db=$(cd "$here/../../.." && pwd)/bin/drawbridge
lab=walkthrough$$
work=$(mktemp -d)
trap '"$db" lab down --name "$lab"; rm -rf "$work"' EXIT

host() { "$db" lab exec --name "$lab" host -- "$@"; }
picture() { host "$db" draw --format json -o "$bundles/walkthrough-$1.json"; }

# file NETWORKS NIC: the configuration.
file() {
	printf '%s\nmachines:\n  web:\n    vmm: uml\n    memory: 64M\n    nics:\n      eth1: {%s, tap: tap0, owner: nobody}\n' "$1" "$2" >"$work/drawbridge.yaml"
}

"$db" lab up --name "$lab" --unplugged >/dev/null
picture 1
"$db" lab plug --name "$lab"
sleep 2
picture 2
# The VM is there, its NIC and the tap are not yet joined.
file '' 'cable: false, address: [198.18.8.2/30], host: [198.18.8.1/30]'
host "$db" up --yes "$work/drawbridge.yaml"
picture 3
host "$db" machine plug web eth1 tap0
file '' 'address: [198.18.8.2/30], host: [198.18.8.1/30]'
host "$db" up --yes "$work/drawbridge.yaml"
sleep 3
picture 4
host ip link add br0 type bridge
host ip link set br0 up
sleep 2
picture 5
host ip link del br0
# And now drawbridge does it: the tap and the uplink move into the bridge.
file 'networks:
  lan: {mode: bridged, bridge: br0, uplink: eth0, host: move}' 'network: lan'
host "$db" up --yes "$work/drawbridge.yaml"
sleep 5
picture 6
