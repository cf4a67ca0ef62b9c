#!/bin/sh
# Checks that there is a Go that can build this module, and says how to get one.
set -eu

want=$(sed -n 's/^go //p' go.mod)

# newer A B: is A at least B?
newer() {
	[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

how() {
	arch=$(uname -m)
	case $arch in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; esac
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null || true)
	cat <<-EOF

	How to get it:
	  from https://go.dev/dl/ (any system):
	      curl -fLO https://go.dev/dl/go$want.linux-$arch.tar.gz
	      sudo rm -rf /usr/local/go && sudo tar -C /usr/local -xzf go$want.linux-$arch.tar.gz
	      export PATH=/usr/local/go/bin:\$PATH
	EOF
	if grep -qs '^ID=debian' /etc/os-release; then
		echo "  from Debian's backports, where they have 1.21 or newer (it fetches go$want by itself):"
		echo "      sudo apt install -t ${codename:-stable}-backports golang-go"
	elif grep -qs '^ID=ubuntu' /etc/os-release; then
		echo "  from Ubuntu's snap store:"
		echo "      sudo snap install go --classic"
	fi
	echo "  Any Go from 1.21 on fetches the version of go.mod by itself, with GOTOOLCHAIN=auto and a network."
}

if ! command -v go >/dev/null 2>&1; then
	if [ -x /usr/local/go/bin/go ]; then
		echo "Go is in /usr/local/go/bin, which is not in PATH: export PATH=/usr/local/go/bin:\$PATH"
		exit 1
	fi
	echo "drawbridge is built with Go $want or newer, and there is no go command in PATH."
	how
	exit 1
fi

# Outside the module, so that an old go does not read go.mod, and none is fetched yet.
have=$(cd / && GOTOOLCHAIN=local go version | sed -n 's/^go version go\([0-9.]*\).*/\1/p')
if [ -z "$have" ] || newer "$have" "$want"; then
	exit 0 # also a development version, which has no number
fi
if ! newer "$have" 1.21; then
	echo "drawbridge is built with Go $want or newer; $(command -v go) is Go $have, too old to read go.mod."
	how
	exit 1
fi
if error=$(go version 2>&1); then
	exit 0 # fetched, now or earlier
fi
echo "drawbridge is built with Go $want or newer; $(command -v go) is Go $have, and could not fetch it:"
echo "    $error"
if [ "$(cd / && go env GOTOOLCHAIN)" = local ]; then
	echo "GOTOOLCHAIN=local keeps it from trying: run make with GOTOOLCHAIN=auto in the environment."
fi
how
exit 1
