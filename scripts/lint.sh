#!/bin/sh
# Runs golangci-lint of the pinned version, built into bin/tools at the first time.
# Where it cannot be built (no network), gofmt and go vet do what they can; not in CI.
set -eu

version=v2.15.0
tool=bin/tools/golangci-lint-$version

if [ ! -x "$tool" ]; then
	echo "building golangci-lint $version into bin/tools (some minutes, once)"
	mkdir -p bin/tools
	if GOBIN=$PWD/bin/tools GOFLAGS= CGO_ENABLED=0 go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"; then
		mv bin/tools/golangci-lint "$tool"
	else
		echo "golangci-lint $version cannot be built here (it comes from the Go module proxy)."
		[ "${CI:-}" != true ] || exit 1
		echo "Only gofmt and go vet are run."
		unformatted=$(gofmt -l cmd internal)
		[ -z "$unformatted" ] || { echo "not formatted: $unformatted"; exit 1; }
		exec go vet ./...
	fi
fi
# Another run on this machine, in another clone, is waited for.
exec "$tool" run --allow-serial-runners "$@"
