package spec

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"drawbridge/internal/model"
)

// check tells what is wrong with a name, and what to write instead.
func (r nameRule) check(name string) (problem, hint string) {
	switch r {
	case nameOfLink:
		return checkLinkName(name)
	case nameOfMachine:
		// It is a host name (RFC 1123 2.1), and part of UML's mconsole socket, whose
		// whole path has 108 bytes (unix(7)).
		plain := name
		if verb := numberVerb.FindString(name); verb != "" {
			plain = strings.Replace(name, verb, "1", 1)
		}
		if !isPlain(plain, 32, "-") || strings.HasSuffix(plain, "-") {
			return "no name for a machine: " + quote(name), "letters, digits and hyphens, 32 at most, beginning and ending with a letter or digit; with count:, %d for the number"
		}
	case nameOfNetwork:
		if !isPlain(name, 63, "-_.") {
			return "no name for a network: " + quote(name), "letters, digits, '-', '_' and '.', 63 at most, beginning with a letter or digit"
		}
	}
	return "", ""
}

// numberVerb stands for the number in the name of machines that are counted: %d, or
// %02d for two digits.
var numberVerb = regexp.MustCompile(`%(0[1-9])?d`)

// isPlain: ASCII letters and digits, after the first one also the extra ones.
func isPlain(s string, most int, extra string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune(extra, c)) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// checkLinkName knows the kernel's rule (net/core/dev.c dev_valid_name: not empty,
// under IFNAMSIZ bytes, not "." or "..", no '/', ':' or white space), that it makes a
// number of a '%' (__dev_alloc_name), and that "all" and "default" are taken below
// /proc/sys/net (net/ipv4/devinet.c sysctl_dev_name_is_allowed).
func checkLinkName(name string) (problem, hint string) {
	switch {
	case name == "":
		return "the name of a link is empty", "one to 15 bytes: tap0"
	case len(name) > model.MaxNameLen:
		problem = fmt.Sprintf("%s has %d bytes; the kernel takes %d at most in the name of a link", quote(name), len(name), model.MaxNameLen)
		cut := name[:model.MaxNameLen]
		for !utf8.ValidString(cut) {
			cut = cut[:len(cut)-1]
		}
		return problem, "shorten it: " + cut
	case name == "." || name == "..":
		return "the kernel does not take " + quote(name) + " as the name of a link", "it would be a folder's in /sys/class/net"
	case name == "all" || name == "default":
		return "the kernel keeps the name " + quote(name) + " for its settings of every link", "choose another"
	case name == "lo":
		return "lo is every stack's loopback", "choose another, such as eth1"
	case name[0] == '-':
		return fmt.Sprintf("%s would be an option to every command", quote(name)), "begin with a letter"
	}
	for _, r := range name {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`/:%,="'\`, r) {
			return fmt.Sprintf("%q may not be in the name of a link: %s", r, quote(name)), "letters, digits, '-', '_' and '.' are safe"
		}
	}
	return "", ""
}

var sizeUnits = map[string]int64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

// parseSize reads bytes: 67108864, 64M, 64MiB. The units are of 1024, as memory is.
func parseSize(s string) (size int64, problem, hint string) {
	hint = "a whole number of bytes, or with K, M or G: 64M"
	digits := strings.TrimRight(s, "kKmMgGiIbB ")
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	factor, ok := sizeUnits[strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")]
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || !ok || unit == "i" || unit == "ib" {
		return 0, "not a size: " + quote(s), hint
	}
	if n > math.MaxInt64/uint64(factor) || int64(n)*factor > maxMemory {
		return 0, s + " is more than any machine has", hint
	}
	return int64(n) * factor, "", ""
}

// maxCount is how many machines one entry makes at most: a bridge takes 1,023 ports.
const maxCount = 1000

func parseCount(s string) (n int, problem, hint string) {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil || strconv.Itoa(n) != s:
		return 0, "not a whole number: " + quote(s), "for example 20"
	case n < 1:
		return 0, s + " of them is none", "leave the entry out, or write 1"
	}
	return n, "", ""
}

// formatSize is the shortest way to write a size.
func formatSize(n int64) string {
	for _, u := range []string{"g", "m", "k"} {
		if f := sizeUnits[u]; n > 0 && n%f == 0 {
			return strconv.FormatInt(n/f, 10) + strings.ToUpper(u)
		}
	}
	return strconv.FormatInt(n, 10)
}

// parseMAC reads six pairs of hexadecimal digits with ':' or '-' between them.
func parseMAC(s string) (mac model.MAC, problem, hint string) {
	hint = "six pairs of hexadecimal digits: 02:11:22:33:44:55"
	parts := strings.Split(strings.ReplaceAll(s, "-", ":"), ":")
	if len(parts) != 6 {
		return "", "not a MAC address: " + quote(s), hint
	}
	var bytes [6]byte
	for i, part := range parts {
		b, err := strconv.ParseUint(part, 16, 8)
		if err != nil || len(part) != 2 || part[0] == '+' {
			return "", "not a MAC address: " + quote(s), hint
		}
		bytes[i] = byte(b)
	}
	format := func() model.MAC {
		return model.MAC(fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]))
	}
	switch {
	case bytes == [6]byte{}:
		return "", "all zeros is no MAC address", "leave mac: out, and one is chosen"
	case bytes[0]&1 != 0: // IEEE 802-2014 8.2: the group bit
		bad := format()
		bytes[0] = bytes[0]&^1 | 2
		return "", fmt.Sprintf("%s is a group address (the lowest bit of its first byte is set); the kernel refuses it", bad), "for example " + string(format())
	}
	return format(), "", ""
}
