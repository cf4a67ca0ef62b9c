#!/bin/sh
# Installs what "make demo", "make test" or "make bench" needs and this machine lacks,
# and says what and why. Debian and Ubuntu: with apt, without recommended packages (they
# would bring a service: uml-utilities starts a uml_switch). Elsewhere it says what to
# install. What is optional never stops the run, but where CI=true.
#
#   scripts/need.sh demo|test|bench
set -eu

purpose=${1:?usage: need.sh demo|test|bench}
missing=
required=

# need PACKAGE COMMAND FOR WHY: FOR is a list of the purposes.
need() {
	case " $3 " in *" $purpose "*) ;; *) return 0 ;; esac
	command -v "$2" >/dev/null 2>&1 && return 0
	missing="$missing $1"
	echo "missing: $2 (package $1): $4"
}

PATH=$PATH:/usr/sbin:/sbin
export PATH
need user-mode-linux linux.uml "demo test bench" "runs the virtual machine; without it the demo uses a network namespace instead, and the tests of real VMs are skipped"
need qemu-system-x86 qemu-system-x86_64 "test" "runs virtual machines of the other kind"
need qemu-utils qemu-img "test" "makes disk images and their overlays"
need busybox busybox "test" "is the guest that is not ours, of a folder and of an image"
need e2fsprogs mkfs.ext4 "test" "makes that image"
need kmod depmod "test" "lists the modules of the kernel that those boot"
need iproute2 ip "test bench" "the tests and benchmarks compare with what ip prints"
need iputils-ping ping "test" "the tests of the pretend LAN ping with it"
need tcpdump tcpdump "test" "the tests look at the pretend LAN's wire with it"
need nftables nft "test" "the tests let it read the rules that secure a port, and look at its rules before a change"
need graphviz dot "test bench" "reads the graphs that we write, beside our own pictures"
need dnsmasq-base dnsmasq "test bench" "is the DHCP server of a LAN that machines are routed to; serves DHCP too: compared with"
need plotnetcfg plotnetcfg "bench" "draws a live host too, with Graphviz: compared with"
need libxml2-utils xmllint "test" "the tests check with it that the SVG is well-formed"
need librsvg2-bin rsvg-convert "test" "the tests let it render the SVG"
command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 ||
	need chromium chromium "test" "the tests turn the pages that we write in it, and let it draw Mermaid"
need isc-dhcp-client dhclient "test" "the tests take over the lease of a real DHCP client"
need udhcpc udhcpc "test" "and of one that is deaf on a bridge's port"
need iptables iptables-save "test" "the tests look at its rules before a change"
need curl curl "test" "the tests ask machines for their page, at the ports that they publish"
need systemd systemctl "test bench" "boots pretend hosts in namespaces, with network managers of their own"
need dbus dbus-daemon "test bench" "as systemd"
# What would take this machine's network, or start a service, is fetched and not installed.
case $purpose in
test) scripts/packages.sh network-manager netplan.io ifupdown2 ifupdown bridge-utils dhcpcd firewalld ufw ;;
bench) scripts/packages.sh network-manager netplan.io ifupdown2 ifupdown bridge-utils uml-utilities containernetworking-plugins ;;
esac
# guest_kernel fetches the kernel that a QEMU's guest boots: installed, it would become
# one that this machine itself boots.
guest_kernel() {
	[ "$purpose" = test ] || return 0
	scripts/packages.sh "linux-image-cloud-$(dpkg --print-architecture 2>/dev/null || echo amd64)"
}

[ -n "$missing" ] || {
	guest_kernel
	exit 0
}

give_up() {
	echo "$1"
	if [ "${CI:-}" = true ]; then
		echo "CI=true: what is needed must be there."
		exit 1
	fi
	echo "Going on without."
	exit 0
}

if ! command -v apt-get >/dev/null 2>&1; then
	give_up "This is not Debian or Ubuntu: install what is missing with your own package manager. The names above are Debian's."
fi

as_root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		give_up "As root: apt-get install --no-install-recommends$missing"
	fi
	as_root=sudo
	# Without a terminal nobody can type a password.
	if ! [ -t 0 ]; then
		as_root="sudo -n"
		$as_root true 2>/dev/null || give_up "sudo asks for a password, and there is no terminal. As root: apt-get install --no-install-recommends$missing"
	fi
fi
apt() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@"
}

# apt-get update is for a machine that has no package lists at all, as a fresh
# container has, or whose lists are too old to fetch by.
if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
	echo "apt-get update (there are no package lists yet)"
	apt update -qq || give_up "apt-get update did not work."
fi

known=
for package in $missing; do
	candidate=$(LC_ALL=C apt-cache policy "$package" 2>/dev/null | sed -n 's/^  Candidate: //p')
	case $candidate in
	'' | '(none)')
		echo "$package: not in this system's package archive ($(dpkg --print-architecture)); Ubuntu and arm64 have no user-mode-linux."
		required="$required $package"
		;;
	*) known="$known $package" ;;
	esac
done
if [ -n "$known" ]; then
	echo "installing:$known (apt-get install --no-install-recommends${as_root:+, with sudo})"
	# shellcheck disable=SC2086 # a list of packages
	if ! apt install -y -qq --no-install-recommends $known </dev/null; then
		echo "apt-get update (the package lists may be too old)"
		# shellcheck disable=SC2086
		apt update -qq && apt install -y -qq --no-install-recommends $known </dev/null ||
			give_up "apt-get could not install$known."
	fi
fi
guest_kernel
[ -z "$required" ] || give_up "Not to be had here:$required."
