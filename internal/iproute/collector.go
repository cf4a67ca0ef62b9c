package iproute

import _ "embed"

// Collector is a POSIX shell script that prints a bundle of the host that it runs on. It
// reads only, and needs nothing but ip, bridge and /proc. Its arguments are the names of
// network namespaces to read as well, or "all".
//
//go:embed collect.sh
var Collector string
