package model

import (
	"cmp"
	"slices"
	"strings"
)

// Firewall is a filter of somebody else's that packets of our networks meet, as far as it
// concerns us. It sees what the host forwards or, by Input, what is for the host itself.
type Firewall struct {
	// Name is the command that the chain FORWARD (or INPUT) of table filter belongs to:
	// iptables-nft, ip6tables-nft, iptables-legacy, ip6tables-legacy; the chain of nft(8):
	// "nft inet filter forward"; or firewalld.
	Name  string `json:"name"`
	Input bool   `json:"input,omitempty"`
	// IPv4 and IPv6 tell what passes it.
	IPv4 bool `json:"ipv4,omitempty"`
	IPv6 bool `json:"ipv6,omitempty"`
	// Drops says what drops packets that none of its rules knows, "" if they pass.
	Drops string `json:"drops,omitempty"`
	// End is the place of the rule that drops all that comes as far, from 1 on, 0 for none.
	End int `json:"end,omitempty"`
	// Locked: nobody but the program that made its table may change it (NFT_TABLE_F_OWNER).
	Locked bool `json:"locked,omitempty"`
	// Zones are firewalld's, by link; that of "" is for all other links.
	Zones map[string]string `json:"zones,omitempty"`
	// Ours are the passages that were made for networks of ours.
	Ours []Passage `json:"ours,omitempty"`
}

// Firewalld is the name of the firewall that has zones.
const Firewalld = "firewalld"

// Passage lets packets of a network through a firewall that is not ours, where that drops
// what it does not know: an accept of our own table does not overrule a drop of another
// (nf_hook_slow). Its rules only let through what our table leaves over.
type Passage struct {
	Network string `json:"network"`
	// Firewall that it is made in; see [Firewall].
	Firewall  string     `json:"firewall"`
	Input     bool       `json:"input,omitempty"`
	Crossings []Crossing `json:"crossings"`
	// Before is the place of the rule that it comes before, 0 for the end: for words, as it was
	// when it was planned.
	Before int `json:"before,omitempty"`
	// Zone of firewalld that the links of Crossings are put into.
	Zone string `json:"zone,omitempty"`
	// Misplaced: rules of the firewall's own come after ours, or all is dropped before. It is
	// observed, and compared with nothing.
	Misplaced bool `json:"misplaced,omitempty"`
}

// Crossing is what passes: what comes in by one link and leaves by the other; what comes in
// by a link for a port of the host; of a zone, all that comes in by the link.
type Crossing struct {
	In       string `json:"in"`
	Out      string `json:"out,omitempty"`
	Protocol string `json:"protocol,omitempty"` // tcp or udp
	Port     uint16 `json:"port,omitempty"`
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

func (o OpenPassage) apply(s *Snapshot) error {
	if err := o.Passage.Check(); err != nil {
		return err
	}
	f := s.Here().FirewallOf(o.Passage)
	if f == nil {
		return refuse(o.Passage.Firewall, ErrNotFound)
	}
	if o.Passage.Zone == "" {
		f.close(o.Passage)
		p := o.Passage
		p.Before = 0 // it is not observed
		f.Ours = append(f.Ours, p)
		slices.SortFunc(f.Ours, comparePassages)
		return nil
	}
	if f.Zones == nil {
		f.Zones = map[string]string{}
	}
	for _, c := range o.Passage.Crossings {
		f.Zones[c.In] = o.Passage.Zone
	}
	return nil
}

func (o ClosePassage) apply(s *Snapshot) error {
	if err := o.Passage.Check(); err != nil {
		return err
	}
	f := s.Here().FirewallOf(o.Passage)
	if f == nil {
		return nil
	}
	f.close(o.Passage)
	if o.Passage.Zone != "" {
		for _, c := range o.Passage.Crossings {
			if f.Zones[c.In] == o.Passage.Zone {
				delete(f.Zones, c.In)
			}
		}
	}
	return nil
}

func (f *Firewall) close(p Passage) {
	f.Ours = slices.DeleteFunc(f.Ours, func(o Passage) bool { return o.Network == p.Network })
	if len(f.Ours) == 0 {
		f.Ours = nil // one way of being empty
	}
}

// FirewallOf finds the firewall that a passage is made in, nil if there is none.
func (n *Namespace) FirewallOf(p Passage) *Firewall {
	for i := range n.Firewalls {
		if f := &n.Firewalls[i]; f.Name == p.Firewall && f.Input == p.Input {
			return f
		}
	}
	return nil
}

// Passage tells whether a passage is there as it is to be, and what else is in its place,
// nil for nothing.
func (n *Namespace) Passage(p Passage) (open bool, is *Passage) {
	f := n.FirewallOf(p)
	if f == nil {
		return false, nil
	}
	if p.Zone != "" { // whose doing it is that a link is in a zone, nobody tells
		return !slices.ContainsFunc(p.Crossings, func(c Crossing) bool { return f.Zones[c.In] != p.Zone }), nil
	}
	for i := range f.Ours {
		if f.Ours[i].Network == p.Network {
			return f.Ours[i].Same(p), &f.Ours[i]
		}
	}
	return false, nil
}

// Check refuses what is no passage. Its words become those of a command.
func (p Passage) Check() error {
	odd := func(s string) bool { return s == "" || s[0] == '-' || strings.ContainsAny(s, " \t\n\"'\\") }
	if odd(p.Network) || p.Firewall == "" || len(p.Crossings) == 0 || p.Zone != "" && odd(p.Zone) || (p.Zone != "") != (p.Firewall == Firewalld) {
		return refuse("passage of "+p.Network, ErrInvalid)
	}
	for _, c := range p.Crossings {
		served := c.Out == "" && (c.Protocol == "tcp" || c.Protocol == "udp") && c.Port != 0
		between := c.Out != "" && CheckLinkName(c.Out) == nil && !odd(c.Out) && c.Protocol == "" && c.Port == 0
		zoned := c == Crossing{In: c.In}
		if odd(c.In) || CheckLinkName(c.In) != nil || p.Zone == "" && p.Input && !served || p.Zone == "" && !p.Input && !between || p.Zone != "" && !zoned {
			return refuse("passage of "+p.Network, ErrInvalid)
		}
	}
	return nil
}

// At tells whether two passages are one network's through the same firewall.
func (p Passage) At(o Passage) bool {
	return p.Network == o.Network && p.Firewall == o.Firewall && p.Input == o.Input
}

// Same compares what is asked for, whatever the order of the crossings.
func (p Passage) Same(o Passage) bool {
	return p.At(o) && p.Zone == o.Zone && !p.Misplaced && !o.Misplaced && slices.Equal(sortedCrossings(p.Crossings), sortedCrossings(o.Crossings))
}

func sortedCrossings(list []Crossing) []Crossing {
	out := slices.Clone(list)
	slices.SortFunc(out, compareCrossings)
	return slices.Compact(out)
}

func compareCrossings(a, b Crossing) int {
	return cmp.Or(strings.Compare(a.In, b.In), strings.Compare(a.Out, b.Out), strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func comparePassages(a, b Passage) int { return strings.Compare(a.Network, b.Network) }

func compareFirewalls(a, b Firewall) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 || a.Input == b.Input {
		return c
	}
	if a.Input {
		return 1
	}
	return -1
}
