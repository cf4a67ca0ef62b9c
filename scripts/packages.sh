#!/bin/sh
# Fetches packages and unpacks them below bin/packages, without installing anything: the
# tests and benchmarks lay them over a pretend host's files (internal/lab/booted). A
# network manager that were installed would take this machine's own network.
#
#   scripts/packages.sh PACKAGE...
#
# What is installed here is not fetched. Debian and Ubuntu; elsewhere, or where a package
# is not to be had, what needs it is left out, and says so.
set -eu
cd "$(dirname "$0")/.."
command -v apt-get >/dev/null 2>&1 || {
	echo "packages: no apt-get here: left out: $*"
	exit 0
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# download PACKAGE: that changes nothing, and takes no lock and no rights.
download() {
	apt-get -qq -y --download-only --no-install-recommends -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
		-o Dir::Cache::archives="$PWD/$new/debs" install "$1" >"$new/log" 2>&1 </dev/null
}

# update fetches the package lists once, where they are missing or too old to fetch by.
updated=
update() {
	[ -z "$updated" ] && [ "$(id -u)" = 0 ] || return 1
	updated=yes
	echo "apt-get update (the package lists are missing or too old)"
	apt-get -qq -o DPkg::Lock::Timeout=120 update
}

for package; do
	to=bin/packages/$package
	if [ -d "$to" ] || installed "$package"; then
		continue
	fi
	new=$to.new
	rm -rf "$new"
	mkdir -p "$new/debs/partial" "$new/root"
	echo "fetching $package (unpacked into $to, not installed)"
	if ! download "$package" && ! { update && download "$package"; }; then
		tail -n 1 "$new/log"
		echo "packages: $package could not be fetched: left out"
		rm -rf "$new"
		continue
	fi
	for deb in "$new"/debs/*.deb; do
		# A newer version of what is installed: the machine's own serves.
		installed "$(dpkg-deb -f "$deb" Package)" || dpkg-deb -x "$deb" "$new/root"
	done
	# What their postinst would do, and the files need: ifupdown2's, a kernel's.
	find "$new/root" -name __main__.py -exec chmod +x {} +
	for modules in "$new"/root/lib/modules/*; do
		[ ! -d "$modules" ] || PATH=$PATH:/usr/sbin:/sbin depmod -b "$new/root" "$(basename "$modules")"
	done
	mv "$new/root" "$to"
	rm -rf "$new"
done
