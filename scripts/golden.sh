#!/bin/sh
# Writes the golden files anew, in every package whose tests know -update.
set -eu

packages=$(grep -rlE 'flag\.Bool(Var)?\([^)]*"update"' --include='*_test.go' internal cmd | xargs -n 1 dirname | sort -u | sed 's|^|./|')
# shellcheck disable=SC2086 # a list of packages
go test -count=1 $packages -update
git status --short -- '*testdata*' docs 2>/dev/null || true
