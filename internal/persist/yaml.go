package persist

import (
	"go.yaml.in/yaml/v4"
)

// Nodes, rather than values: what is the user's keeps the words that it was written in.

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// text is a scalar that is no number and no truth value, whatever it looks like.
func text(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: s, Style: yaml.DoubleQuotedStyle}
}

func list(members ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Content: members, Style: yaml.FlowStyle}
}

// mapping takes keys and nodes in turn.
func mapping(pairs ...any) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(pairs); i += 2 {
		if v, ok := pairs[i+1].(*yaml.Node); ok && v != nil {
			set(m, pairs[i].(string), v)
		}
	}
	return m
}

// get is the value of a key, nil where there is none.
func get(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// set adds a key, or replaces its value.
func set(m *yaml.Node, key string, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = v
			return
		}
	}
	m.Content = append(m.Content, scalar(key), v)
}

// under is the mapping of a key, made where it is missing.
func under(m *yaml.Node, key string) *yaml.Node {
	if v := get(m, key); v != nil {
		return v
	}
	v := mapping()
	set(m, key, v)
	return v
}

// merge adds a later file to an earlier one: mappings key by key, lists one after the
// other, all else replaced.
func merge(a, b *yaml.Node) *yaml.Node {
	switch {
	case a == nil || a.Kind != b.Kind:
		return b
	case a.Kind == yaml.MappingNode:
		out := &yaml.Node{Kind: yaml.MappingNode, Content: append([]*yaml.Node(nil), a.Content...)}
		for i := 0; i+1 < len(b.Content); i += 2 {
			key := b.Content[i].Value
			set(out, key, merge(get(out, key), b.Content[i+1]))
		}
		return out
	case a.Kind == yaml.SequenceNode:
		return &yaml.Node{Kind: yaml.SequenceNode, Style: a.Style, Content: append(append([]*yaml.Node(nil), a.Content...), b.Content...)}
	default:
		return b
	}
}
