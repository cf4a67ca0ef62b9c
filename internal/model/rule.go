package model

import (
	"slices"
	"strings"
)

// CopyRules gives rules of the routing policy that name From (iif or oif) a twin that
// names To, each behind its original, with every attribute that it has. A twin that is
// there already is no error; a rule that is gone is [ErrNotFound].
type CopyRules struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Rules []Rule `json:"rules"` // as they name From
}

// DeleteRules deletes rules that name a link. What is gone already is no error.
type DeleteRules struct {
	Link  string `json:"link"`
	Rules []Rule `json:"rules"`
	// Of is the link that the originals name, of which these are twins.
	Of string `json:"of,omitempty"`
}

func (CopyRules) Op() string   { return "copy-rules" }
func (DeleteRules) Op() string { return "delete-rules" }

func (o CopyRules) Object() string   { return o.To }
func (o DeleteRules) Object() string { return o.Link }

// Names tells whether a rule selects by a link.
func (r Rule) Names(link string) bool { return r.IIF == link || r.OIF == link }

// RulesOf lists the rules that name a link.
func (n *Namespace) RulesOf(link string) []Rule {
	var out []Rule
	for _, r := range n.Rules {
		if r.Names(link) {
			out = append(out, r)
		}
	}
	return out
}

// Renamed lists rules with to in the place of from.
func Renamed(rules []Rule, from, to string) []Rule {
	var out []Rule
	for _, r := range rules {
		words := strings.Fields(r.Selector)
		for i := 1; i < len(words); i++ {
			if words[i] == from && (words[i-1] == "iif" || words[i-1] == "oif") {
				words[i] = to
			}
		}
		r.Selector = strings.Join(words, " ")
		if r.IIF == from {
			r.IIF = to
		}
		if r.OIF == from {
			r.OIF = to
		}
		out = append(out, r)
	}
	return out
}

func (o CopyRules) apply(s *Snapshot) error {
	n := s.Here()
	for i, twin := range Renamed(o.Rules, o.From, o.To) {
		if !slices.Contains(n.Rules, o.Rules[i]) {
			return refuse("rule "+o.Rules[i].Selector, ErrNotFound)
		}
		if !slices.Contains(n.Rules, twin) {
			n.Rules = append(n.Rules, twin)
		}
	}
	return nil
}

func (o DeleteRules) apply(s *Snapshot) error {
	n := s.Here()
	for _, r := range o.Rules {
		if i := slices.Index(n.Rules, r); i >= 0 {
			n.Rules = slices.Delete(n.Rules, i, i+1)
		}
	}
	return nil
}
