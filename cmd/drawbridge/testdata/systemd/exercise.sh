# 'up --confirm' in a session's scope, and the scope is stopped with all that is in it, as
# logind does at the end of a session. The guard has a scope of its own, and rolls back.
# $1: the folder with the program and the file; $2: how long the change waits to be confirmed.
set -e
ip netns add host
ip netns add lan
ip -n host link add eth0 type veth peer name host0 netns lan
ip -n host link set eth0 up
ip -n lan link set host0 up
ip -n host addr add 198.18.0.5/24 dev eth0
ip -n host route add default via 198.18.0.1
dump() {
	for what in link addr route "-6 route" rule; do
		ip -n host -j $what # shellcheck disable=SC2086 # an option and a word
	done
}
for i in $(seq 50); do # until the links have their link-local addresses for good
	dump | grep -q tentative || break
	sleep 0.1
done
dump > "$1/before"
systemd-run --quiet --scope --unit=session-1 "$1/drawbridge" up --netns host --yes --confirm "$2" "$1/lan.yaml" &
for i in $(seq 50); do
	ip -n host link show br0 >/dev/null 2>&1 && "$1/drawbridge" status --netns host | grep -q 'waits to be confirmed' && break
	sleep 0.1
done
echo "scopes: $(systemctl list-units --no-legend --type=scope | awk '{print $1}' | tr '\n' ' ')"
lost=$(date +%s%N)
systemctl kill --signal=KILL session-1.scope
systemctl stop session-1.scope || true
ip -n host link show br0 >/dev/null && echo "made, and the session is dead"
until dump | cmp -s - "$1/before" || [ $(($(date +%s%N) - lost)) -gt 30000000000 ]; do
	sleep 0.1
done
dump | cmp - "$1/before" && echo "rolled back: the dumps of ip are equal, $((($(date +%s%N) - lost) / 1000000)) ms after the session's end"
