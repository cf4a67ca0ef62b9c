package model

import (
	"slices"
	"strings"
)

// Passage lets packets through the forwarding chain of a firewall that is not ours, where
// that drops what it does not know: an accept of our own table does not overrule a drop of
// another (nf_hook_slow). Its rules only let through what our table leaves over.
//
// It is not part of a Snapshot: whose firewall it is, knows what is in it.
type Passage struct {
	Network string `json:"network"`
	// Firewall whose chain it is; see [Firewall].
	Firewall  string     `json:"firewall"`
	Crossings []Crossing `json:"crossings"`
}

// Crossing is a pair of links: what comes in by one and leaves by the other.
type Crossing struct {
	In  string `json:"in"`
	Out string `json:"out"`
}

// Firewall is a forwarding chain of somebody else's, as far as it concerns us.
type Firewall struct {
	// Name is the command that the chain FORWARD of table filter belongs to: iptables-nft,
	// ip6tables-nft, iptables-legacy, ip6tables-legacy; or the chain of nft(8):
	// "nft inet filter forward".
	Name string `json:"name"`
	// IPv4 and IPv6 tell what passes it.
	IPv4 bool `json:"ipv4,omitempty"`
	IPv6 bool `json:"ipv6,omitempty"`
	// Drops says what drops packets that none of its rules knows, "" if they pass.
	Drops string `json:"drops,omitempty"`
	// Ours are the passages that were made for networks of ours.
	Ours []Passage `json:"ours,omitempty"`
}

// OpenPassage makes a passage in the place of the one that the network has there.
type OpenPassage struct {
	Passage Passage `json:"passage"`
}

// ClosePassage takes a passage away. What is gone already is no error.
type ClosePassage struct {
	Passage Passage `json:"passage"`
}

// Op implements [Operation].
func (OpenPassage) Op() string { return "open-passage" }

// Op implements [Operation].
func (ClosePassage) Op() string { return "close-passage" }

// Object implements [Operation].
func (o OpenPassage) Object() string { return o.Passage.Network }

// Object implements [Operation].
func (o ClosePassage) Object() string { return o.Passage.Network }

func (o OpenPassage) apply(*Snapshot) error { return o.Passage.Check() }

func (o ClosePassage) apply(*Snapshot) error { return o.Passage.Check() }

// Check refuses what is no passage. Its words become those of a command.
func (p Passage) Check() error {
	odd := func(s string) bool { return s == "" || s[0] == '-' || strings.ContainsAny(s, " \t\n\"'\\") }
	if odd(p.Network) || p.Firewall == "" || len(p.Crossings) == 0 || slices.ContainsFunc(p.Crossings, func(w Crossing) bool {
		return odd(w.In) || odd(w.Out) || CheckLinkName(w.In) != nil || CheckLinkName(w.Out) != nil
	}) {
		return refuse("passage of "+p.Network, ErrInvalid)
	}
	return nil
}

// Same compares passages, whatever the order of their crossings.
func (p Passage) Same(o Passage) bool {
	return p.Network == o.Network && p.Firewall == o.Firewall && slices.Equal(sortedCrossings(p.Crossings), sortedCrossings(o.Crossings))
}

func sortedCrossings(list []Crossing) []Crossing {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b Crossing) int { return strings.Compare(a.In+"\x00"+a.Out, b.In+"\x00"+b.Out) })
	return slices.Compact(out)
}
