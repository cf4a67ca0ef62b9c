package spec

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

func TestSchemaIsUpToDate(t *testing.T) {
	golden(t, "../../docs/schema/drawbridge.schema.json", Schema())
}

func TestReferenceIsUpToDate(t *testing.T) {
	golden(t, "../../docs/file.md", Reference())
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("drawbridge.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("drawbridge.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestSchemaAgrees: schema and parser refuse the same files, but for what a schema
// cannot see.
func TestSchemaAgrees(t *testing.T) {
	schema := compiled(t)
	list := map[string][]byte{"the example": Example()}
	for _, file := range files(t) {
		list[file] = read(t, file)
		// One mistake of a file may hide another: try its parts too.
		for i, part := range parts(list[file]) {
			list[file+" part "+string(rune('a'+i%26))+strings.Repeat("'", i/26)] = part
		}
	}
	for name, data := range list {
		_, found := Parse(name, data)
		var value any
		if has(found, CodeSyntax) || yaml.Load(data, &value, yaml.WithUniqueKeys(false)) != nil {
			continue
		}
		value, plain := asJSON(value)
		if !plain {
			continue // keys that JSON has no words for
		}
		err := schema.Validate(value)
		refused := has(found, CodeUnknown) || has(found, CodeType) || has(found, CodeValue)
		if refused != (err != nil) {
			t.Errorf("%s: the parser refuses it: %v; the schema: %v\n%s\n%s", name, refused, err, data, found.Text(false))
		}
	}
}

// parts makes small files of a file: each entry of each table alone, and for
// machines each NIC alone.
func parts(data []byte) [][]byte {
	var doc yaml.Node
	if yaml.Load(data, &doc, yaml.WithUniqueKeys(false)) != nil || bytes.ContainsAny(data, "&!") {
		return nil
	}
	var out [][]byte
	add := func(path []string, key, value *yaml.Node) {
		wrapped := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{key, value}}
		for i := len(path) - 1; i >= 0; i-- {
			wrapped = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[i]}, wrapped}}
		}
		if text, err := yaml.Dump(wrapped); err == nil {
			out = append(out, text)
		}
	}
	var each func(n *yaml.Node, path []string)
	each = func(n *yaml.Node, path []string) {
		if n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			add(path, n.Content[i], n.Content[i+1])
			if len(path) < 5 && n.Content[i].Kind == yaml.ScalarNode {
				each(n.Content[i+1], append(path[:len(path):len(path)], n.Content[i].Value))
			}
		}
	}
	each(doc.Content[0], nil)
	return out
}

func has(found Diagnostics, code Code) bool {
	for _, d := range found {
		if d.Code == code {
			return true
		}
	}
	return false
}

// asJSON turns what YAML gives into what JSON can hold.
func asJSON(v any) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			converted, ok := asJSON(e)
			if !ok || k == "" {
				return nil, false
			}
			v[k] = converted
		}
	case map[any]any:
		return nil, false
	case []any:
		for i, e := range v {
			converted, ok := asJSON(e)
			if !ok {
				return nil, false
			}
			v[i] = converted
		}
	case nil, bool, string, int, int64, uint64, float64:
	default:
		return nil, false
	}
	return v, true
}
