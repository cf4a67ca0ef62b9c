package spec

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// member and members are a JSON object that keeps its order: an editor offers the
// keys as the table has them.
type member struct {
	name  string
	value any
}

type members []member

// MarshalJSON writes the members in their order.
func (m members) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{e.name, e.value} {
			if j == 1 {
				b.WriteByte(':')
			}
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return nil, err
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// The patterns of single values; \s and classes as ECMA-262 and Go both read them.
const (
	textPattern    = `^.*\S.*$`
	linkPattern    = `^[^-\s/:%,="'\\][^\s/:%,="'\\]{0,14}$`
	networkPattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`
	machinePattern = `^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$|^[A-Za-z0-9-]{0,31}%(0[1-9])?d[A-Za-z0-9-]{0,31}$`
	countPattern   = `^[0-9]+$`
	userPattern    = `^[^-:\s/,][^:\s/,]*$`
	sizePattern    = `^[0-9]+ *([kKmMgG][iI]?)?[bB]?$`
	macPattern     = `^[0-9A-Fa-f][02468ACEace]([:-][0-9A-Fa-f]{2}){5}$`
	octet          = `(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])`
	addressPattern = `^(` + octet + `(\.` + octet + `){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$`
	hostPattern    = `^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$`
	portPattern    = `^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]):[0-9]{1,5}$`
	urlPattern     = `^https?://[^\s/].*$`
	timePattern    = `^[0-9]{1,5}(ms|s)$`
	ratePattern    = `^[0-9]{1,12} *[kKmMgG]?(bits?(/s)?|b/s|bps)?$`
	framesPattern  = `^[0-9]{1,8}$`
	allowPattern   = `^([0-9A-Fa-f][02468ACEace]([:-][0-9A-Fa-f]{2}){5}|` + octet + `(\.` + octet + `){3}(/([0-9]|[12][0-9]|3[0-2]))?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?)$`
	poolPattern    = `^` + octet + `(\.` + octet + `){3} *- *` + octet + `(\.` + octet + `){3}$`
	zonePattern    = `^\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?$`
	publishPattern = `^(\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]:|` + octet + `(\.` + octet + `){3}:)?[0-9]{1,5}(:[0-9]{1,5})?(/([tT][cC][pP]|[uU][dD][pP]))?$`
	prefixPattern  = `^(` + octet + `(\.` + octet + `){3}/([0-9]|[12][0-9]|3[0-2])|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/[0-9]{1,3})$`
)

// Schema is the JSON Schema (draft 2020-12) of the file, for editors that complete
// and check while one types. It sees what is wrong with a key or value by itself;
// what does not go together only [Parse] sees.
func Schema() []byte {
	out := members{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", "urn:drawbridge:file"},
		{"title", "drawbridge.yaml"},
	}
	out = append(out, root.schema()...)
	var defs members
	for _, o := range objects()[1:] {
		defs = append(defs, member{o.name, o.schema()})
	}
	out = append(out, member{"$defs", defs})
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		panic(err) // the table holds nothing but strings
	}
	return b.Bytes()
}

func (o *object) schema() members {
	var properties members
	for i := range o.keys {
		properties = append(properties, member{o.keys[i].name, o.keys[i].schema()})
	}
	out := members{{"description", o.doc}}
	if o == &root {
		out = append(out, member{"type", "object"}, member{"patternProperties", members{{"^x-", true}}})
	} else {
		out = append(out, member{"type", []string{"object", "null"}})
	}
	return append(out, member{"properties", properties}, member{"additionalProperties", false})
}

func (k *key) schema() members {
	out := members{{"description", k.describe()}}
	out = append(out, k.values()...)
	if w := k.word(k.def); w != nil {
		out = append(out, member{"default", k.def})
	}
	var examples []any
	for _, text := range k.examples {
		var v any
		if err := yaml.Load([]byte(text), &v); err == nil {
			examples = append(examples, v)
		}
	}
	if examples != nil {
		out = append(out, member{"examples", examples})
	}
	return out
}

// describe is the key's doc with its default.
func (k *key) describe() string {
	doc := k.doc
	if k.notYet != "" {
		doc += " Not in this version."
	}
	if k.def != "" {
		doc += " Default: " + k.def + "."
	}
	return doc
}

// values is what the schema says of the key's value.
func (k *key) values() members {
	var forms []any
	for _, w := range k.words {
		doc := w.doc
		if w.notYet {
			doc += " Not in this version."
		}
		forms = append(forms, members{{"const", w.name}, {"description", doc}})
	}
	text := func(pattern string) members { return members{{"type", "string"}, {"pattern", pattern}} }
	single := text(k.pattern())
	switch k.kind {
	case kindTable:
		return members{{"type", []string{"object", "null"}}, {"propertyNames", k.names.schema()}, {"additionalProperties", members{{"$ref", "#/$defs/" + k.entry.name}}}}
	case kindWord:
	case kindTexts:
		forms = append(forms, members{{"type", "array"}, {"items", text(`^\S+$`)}})
	case kindLines:
		forms = append(forms, members{{"type", "array"}, {"items", text(textPattern)}})
	case kindFlag:
		forms = append(forms, members{{"type", "boolean"}})
	case kindSize:
		forms = append(forms, single, members{{"type", "integer"}, {"minimum", 0}})
	case kindCount:
		forms = append(forms, single, members{{"type", "integer"}, {"minimum", 0}})
	case kindLink:
		forms = append(forms, nameOfLink.schema())
	case kindUser:
		forms = append(forms, single, members{{"type", "integer"}, {"minimum", 0}})
	case kindPrefixes:
		forms = append(forms, single, members{{"type", "array"}, {"items", single}, {"minItems", 1}})
	case kindPublish:
		item := members{{"anyOf", []any{single, members{{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}}}}}
		return members{{"anyOf", []any{single, members{{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}}, members{{"type", "array"}, {"items", item}}}}}
	case kindServers:
		forms = append(forms, single, members{{"type", "array"}, {"items", single}, {"minItems", 1}})
	case kindRate, kindFrames:
		forms = append(forms, single, members{{"type", "integer"}, {"minimum", 0}})
	case kindAllow:
		item := members{{"anyOf", append(forms[:len(forms):len(forms)], single)}}
		return members{{"anyOf", []any{item, members{{"type", "array"}, {"items", item}, {"minItems", 1}}}}}
	case kindAny:
		return nil
	default:
		forms = append(forms, single)
	}
	if len(forms) == 1 {
		return forms[0].(members)
	}
	return members{{"anyOf", forms}}
}

// pattern is what one text of the kind looks like.
func (k *key) pattern() string {
	switch k.kind {
	case kindText:
		return textPattern
	case kindSize:
		return sizePattern
	case kindCount:
		return countPattern
	case kindLink:
		return linkPattern
	case kindNetwork:
		return networkPattern
	case kindUser:
		return userPattern
	case kindMAC:
		return macPattern
	case kindAddress, kindServers:
		return addressPattern
	case kindPool:
		return poolPattern
	case kindZone:
		return zonePattern
	case kindPublish:
		return publishPattern
	case kindHost:
		return hostPattern
	case kindHostPort:
		return portPattern
	case kindURL:
		return urlPattern
	case kindDuration:
		return timePattern
	case kindRate:
		return ratePattern
	case kindFrames:
		return framesPattern
	case kindAllow:
		return allowPattern
	case kindSubnet, kindPrefixes:
		return prefixPattern
	default:
		return ""
	}
}

func (r nameRule) pattern() string {
	switch r {
	case nameOfNetwork:
		return networkPattern
	case nameOfMachine:
		return machinePattern
	default:
		return linkPattern
	}
}

func (r nameRule) schema() members {
	out := members{{"type", "string"}, {"pattern", r.pattern()}}
	if r == nameOfLink {
		out = append(out, member{"not", members{{"enum", reservedLinks}}})
	}
	return out
}

// code tells a value that is not written right, which the schema refuses too, from
// one that is, and cannot be used all the same.
func (k *key) code(text string) Code {
	if k.kind == kindLink {
		return nameOfLink.code(text)
	}
	if k.kind != kindWord && regexp.MustCompile(k.pattern()).MatchString(text) {
		return CodeUnfit
	}
	return CodeValue
}

func (r nameRule) code(name string) Code {
	if regexp.MustCompile(r.pattern()).MatchString(name) && (r != nameOfLink || !slices.Contains(reservedLinks, name)) {
		return CodeUnfit
	}
	return CodeValue
}

// reservedLinks are the names that checkLinkName refuses as a whole.
var reservedLinks = []string{".", "..", "all", "default", "lo"}

// shape says in the reference what a value looks like.
func (k *key) shape() string {
	var out []string
	for _, w := range k.wordsOfToday() {
		out = append(out, "`"+w+"`")
	}
	switch k.kind {
	case kindTable:
		out = append(out, "names, each with keys of "+k.entry.what)
	case kindWord:
	case kindTexts:
		out = append(out, "a list of words")
	case kindLines:
		out = append(out, "a list of lines")
	case kindFlag:
		out = append(out, "`true` or `false`")
	case kindPrefixes:
		out = append(out, "an address with its prefix length, or a list")
	case kindAllow:
		out = append(out, "a MAC address, an IP address, a subnet, or a list")
	case kindText:
		if k.words == nil {
			out = append(out, k.kind.what())
		}
	case kindAny:
		return "not in this version"
	default:
		out = append(out, k.kind.what())
	}
	return strings.Join(out, ", ")
}
