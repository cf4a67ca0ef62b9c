package preflight

import (
	"regexp"
	"slices"
	"strings"
)

// Answer tells whether a rule is about a link.
type Answer int

// The answers.
const (
	Any Answer = iota // the rule asks for no interface, or for one that it does not name itself
	Yes               // it names the link
	Not               // it names others, or all but this one
)

// Interface is what a rule asks of the interface that a packet comes in or goes out by.
type Interface struct {
	names   []string
	negated bool
}

// Names tells whether the link is meant. Names that end in * or + stand for many.
func (i Interface) Names(link string) Answer {
	if len(i.names) == 0 {
		return Any
	}
	named := slices.ContainsFunc(i.names, func(n string) bool { return matches(n, link) })
	if named != i.negated {
		return Yes
	}
	return Not
}

// Exactly tells whether the link itself is named, not by a pattern, and not to be left out.
func (i Interface) Exactly(link string) bool { return !i.negated && slices.Contains(i.names, link) }

func matches(name, link string) bool {
	prefix, many := strings.CutSuffix(name, "*")
	if !many {
		prefix, many = strings.CutSuffix(name, "+")
	}
	return name == link || many && strings.HasPrefix(link, prefix)
}

var (
	nftSide      = regexp.MustCompile(`(?:^|\s)(iif|oif)(?:name)?\s+(!=\s*)?("[^"]+"|\{[^}]*\})`)
	iptablesSide = regexp.MustCompile(`(?:^|\s)(! )?(-i|-o|--in-interface|--out-interface)\s+(! )?(\S+)`)
	quoted       = regexp.MustCompile(`"([^"]+)"`)
)

// Interfaces reads what a rule of nft(8) or iptables(8) asks of the interfaces.
func Interfaces(line string) (in, out Interface) {
	side := func(word string) *Interface {
		if strings.HasPrefix(strings.TrimLeft(word, "-"), "o") {
			return &out
		}
		return &in
	}
	for _, m := range nftSide.FindAllStringSubmatch(line, -1) {
		i := side(m[1])
		i.negated = m[2] != ""
		for _, q := range quoted.FindAllStringSubmatch(m[3], -1) {
			i.names = append(i.names, q[1])
		}
	}
	for _, m := range iptablesSide.FindAllStringSubmatch(line, -1) {
		i := side(m[2])
		i.negated = m[1]+m[3] != ""
		i.names = append(i.names, strings.Trim(m[4], `"`))
	}
	return in, out
}
