package spec

import (
	_ "embed" // the example
	"fmt"
	"strings"
)

//go:embed example.yaml
var example []byte

// Example is a file that shows the keys in use.
func Example() []byte { return append([]byte(nil), example...) }

// Reference is the reference of the file in Markdown, docs/file.md.
func Reference() []byte {
	var b strings.Builder
	b.WriteString("# drawbridge.yaml\n\n<!-- Made from internal/spec/table.go by `make golden`; do not edit. -->\n\n")
	b.WriteString(root.doc + "\n\n")
	b.WriteString("`drawbridge schema` prints the JSON schema of the file, for editors: with the YAML language server, begin the file with\n" +
		"`# yaml-language-server: $schema=drawbridge.schema.json`. A file is one YAML document; anchors, aliases and `<<` work.\n\n")
	fmt.Fprintf(&b, "```yaml\n%s```\n", example)
	for _, o := range objects() {
		title := "The file"
		if o != &root {
			title = strings.ToUpper(o.what[:1]) + o.what[1:]
			title = fmt.Sprintf("%s: %s", title, o.place())
		}
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if o != &root {
			b.WriteString(o.doc + "\n\n")
		}
		b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
		for i := range o.keys {
			k := &o.keys[i]
			def := k.def
			if k.word(def) != nil {
				def = "`" + def + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, k.shape(), def, k.meaning())
		}
		o.words(&b)
	}
	b.WriteString("\n" + namesReference)
	return []byte(b.String())
}

// place is where an object's keys stand: networks.NAME.
func (o *object) place() string {
	for _, parent := range objects() {
		for _, k := range parent.keys {
			if k.entry != o {
				continue
			}
			if parent == &root {
				return "`" + k.name + ".NAME`"
			}
			return strings.TrimSuffix(parent.place(), "`") + "." + k.name + ".NAME`"
		}
	}
	return ""
}

func (k *key) meaning() string {
	doc := k.doc
	if k.notYet != "" {
		doc += " *Not in this version.*"
	}
	if len(k.examples) > 0 {
		doc += " Example: `" + k.examples[0] + "`."
	}
	return strings.ReplaceAll(doc, "|", `\|`)
}

// words explains the words of an object's keys.
func (o *object) words(b *strings.Builder) {
	for _, k := range o.keys {
		for i, w := range k.words {
			if i == 0 {
				b.WriteString("\n")
			}
			doc := w.doc
			if w.notYet {
				doc += " *Not in this version.*"
			}
			fmt.Fprintf(b, "- `%s: %s`: %s\n", k.name, w.name, doc)
		}
	}
}

const namesReference = `## Names

- A link (a bridge, an uplink, a tap, a NIC): 1 to 15 bytes, no white space, none of ` + "`/ : % , = \" ' \\`" + `, not ` + "`.`, `..`, `lo`, `all` or `default`" + `.
- A machine: letters, digits and hyphens, 32 at most; it is the guest's host name. With ` + "`count:`, `%d` (or `%02d`)" + ` stands for the number; without it the number comes last: web1, web2.
- A network: letters, digits, ` + "`-`, `_` and `.`" + `, 63 at most.
`
