package spec

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// fields are the values of a mapping by key, those only that the file gives.
type fields map[string]value

// get returns a value that can be used; given tells whether the file has the key
// at all, also with a value that was refused: then no default is put in its place.
func (f fields) get(name string) (v value, given bool) {
	v, given = f[name]
	return v, given
}

// entry is one name of a table with its object.
type entry struct {
	at     // the name's
	name   string
	fields fields
	bad    bool // no mapping: refused already
}

// object reads a mapping by its table of keys; ok tells whether it is one.
func (p *parser) object(n *yaml.Node, a at, o *object) (out fields, ok bool) {
	out = fields{}
	n, ok = p.resolve(n, a)
	if !ok {
		return out, false
	}
	if n.Kind != yaml.MappingNode {
		ok = n.Tag == "!!null" // "web:" is a web with nothing but defaults
		if !ok {
			p.errorf(a, CodeType, "write its keys below it: "+strings.Join(o.keyNames(), ", "), "%s is a mapping of keys, not %s", o.what, describe(n))
		}
		return out, ok
	}
	for _, pair := range p.pairs(n, a) {
		k := o.key(pair.name)
		here := a.under(pair.name, pair.value.Pos)
		switch {
		case k == nil && o == &root && strings.HasPrefix(pair.name, "x-"):
		case k == nil:
			p.unknown(a.under(pair.name, pair.Pos), pair.name, o)
		case k.notYet != "":
			p.errorf(a.under(pair.name, pair.Pos), CodeNotYet, "leave it out", "not there yet: %s", k.notYet)
			out[k.name] = value{at: here, bad: true}
		default:
			out[k.name] = p.value(k, pair.node, here)
		}
	}
	return out, true
}

// table reads a mapping of names of the user's choice to objects.
func (p *parser) table(k *key, n *yaml.Node, a at) []entry {
	if n.Kind != yaml.MappingNode {
		if n.Tag != "!!null" {
			p.errorf(a, CodeType, "write it as NAME: {...}, one name a line", "%s is a mapping of names to %ss, not %s", k.name, strings.TrimPrefix(strings.TrimPrefix(k.entry.what, "an "), "a "), describe(n))
		}
		return nil
	}
	var out []entry
	for _, pair := range p.pairs(n, a) {
		e := entry{at: a.under(pair.name, pair.Pos), name: pair.name}
		if problem, hint := k.names.check(pair.name); problem != "" {
			p.errorf(e.at, k.names.code(pair.name), hint, "%s", problem)
		}
		var ok bool
		e.fields, ok = p.object(pair.node, a.under(pair.name, pair.value.Pos), k.entry)
		e.bad = !ok
		out = append(out, e)
	}
	return out
}

// pair is one key of a mapping with its value.
type pair struct {
	Pos   // the key's
	name  string
	node  *yaml.Node
	value struct{ Pos }
}

// pairs lists a mapping's keys, each once, with what << merges into it. A key's own
// value goes before a merged one (yaml.org/type/merge.html).
func (p *parser) pairs(n *yaml.Node, a at) []pair {
	var out, merged []pair
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, ok := p.resolve(n.Content[i], a)
		if !ok {
			return out
		}
		pos := p.pos(n.Content[i])
		if kn.Kind != yaml.ScalarNode || kn.Tag == "!!null" || kn.Value == "" {
			p.errorf(at{pos, a.path}, CodeType, "begin the line with a name and a colon", "a key without a name")
			continue
		}
		name := kn.Value
		if line, twice := lines[name]; twice {
			p.errorf(a.under(name, pos), CodeDuplicate, "take one of the two out", "%s stands here twice; the first is in line %d", quote(name), line)
			continue
		}
		lines[name] = pos.Line
		if kn.Tag == "!!merge" {
			merged = append(merged, p.merge(n.Content[i+1], at{pos, a.path}, []*yaml.Node{n})...)
			continue
		}
		out = append(out, p.pair(pos, name, n.Content[i+1]))
	}
	for _, m := range merged {
		if _, own := lines[m.name]; !own {
			lines[m.name] = m.Line
			out = append(out, m)
		}
	}
	return out
}

func (p *parser) pair(pos Pos, name string, n *yaml.Node) pair {
	out := pair{Pos: pos, name: name, node: n}
	out.value.Pos = p.pos(n)
	return out
}

// merge lists what a << brings in: a mapping's keys, or those of a list of mappings,
// the first of which wins. inside are the mappings that it is merged into.
func (p *parser) merge(n *yaml.Node, a at, inside []*yaml.Node) []pair {
	n, ok := p.resolve(n, a)
	if !ok {
		return nil
	}
	if slices.Contains(inside, n) || len(inside) > maxDepth {
		p.errorf(a, CodeSyntax, "take the << out of the mapping that it is in", "<< leads back to itself")
		return nil
	}
	inside = append(inside[:len(inside):len(inside)], n)
	if n.Kind == yaml.MappingNode {
		var out, inner []pair
		for i := 0; i+1 < len(n.Content); i += 2 {
			kn := n.Content[i]
			if kn.Tag == "!!merge" {
				inner = append(inner, p.merge(n.Content[i+1], a, inside)...)
			} else if kn.Kind == yaml.ScalarNode && kn.Value != "" {
				out = append(out, p.pair(p.pos(kn), kn.Value, n.Content[i+1]))
			}
		}
		return append(out, inner...)
	}
	if len(inside) == 2 && n.Kind == yaml.SequenceNode {
		var out []pair
		for _, c := range n.Content {
			out = append(out, p.merge(c, a, inside)...)
		}
		return out
	}
	p.errorf(a, CodeType, "write <<: *anchor, or <<: [*one, *other]", "<< merges mappings, not %s", describe(n))
	return nil
}

// resolve follows aliases, and counts: a small file may stand for a huge one by
// aliases of aliases.
func (p *parser) resolve(n *yaml.Node, a at) (*yaml.Node, bool) {
	p.nodes++
	if p.nodes > maxNodes {
		if p.nodes == maxNodes+1 {
			p.errorf(a, CodeSyntax, "", "the file stands for more than %d values", maxNodes)
		}
		return nil, false
	}
	for hops := 0; n.Kind == yaml.AliasNode; hops++ {
		if n.Alias == nil || hops > maxDepth {
			p.errorf(a, CodeSyntax, "", "an alias that leads nowhere: *%s", n.Value)
			return nil, false
		}
		n = n.Alias
	}
	return n, true
}

// unknown reports a key that the table does not have, with the one that was meant.
func (p *parser) unknown(a at, name string, o *object) {
	hint := "the keys of " + o.what + ": " + strings.Join(o.keyNames(), ", ")
	if k := o.meant(name); k != nil {
		hint = fmt.Sprintf("%s's key for that is %s", o.what, k.name)
	} else if near := nearest(name, o.keyNames()); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if other := homeOf(name, o); other != nil {
		hint = fmt.Sprintf("%s is a key of %s; %s", name, other.what, hint)
	}
	p.errorf(a, CodeUnknown, hint, "unknown key %s", quote(name))
}

// homeOf finds the object that has a key, where it is not this one.
func homeOf(name string, not *object) *object {
	for _, o := range objects() {
		if o != not && o.key(name) != nil {
			return o
		}
	}
	return nil
}

// objects are all objects of the file, the file itself first.
func objects() []*object {
	out := []*object{&root}
	for i := 0; i < len(out); i++ {
		for _, k := range out[i].keys {
			if k.entry != nil {
				out = append(out, k.entry)
			}
		}
	}
	return out
}

// describe says what stands there instead of what belongs there.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "the date " + clip(n.Value)
	case "!!bool":
		return "the truth value " + n.Value
	case "!!int", "!!float":
		return "the number " + clip(n.Value)
	case "!!str":
		return "the text " + quote(n.Value)
	default:
		return "a value with the tag " + clip(n.Tag)
	}
}

func quote(s string) string { return fmt.Sprintf("%q", clip(s)) }

// clip keeps a message to a line's length, whatever the file holds.
func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}
