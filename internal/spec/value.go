package spec

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"drawbridge/internal/model"

	"go.yaml.in/yaml/v4"
)

// value is what a key has: by its kind, one of the fields below is set.
type value struct {
	at
	bad bool // refused already; nothing else may be said about it

	text     string // also a word, a name, a user
	isWord   bool   // text is one of the key's words
	size     int64
	count    int
	flag     bool
	mac      model.MAC
	address  netip.Addr
	duration time.Duration
	prefixes []placed
	texts    []placedText
	entries  []entry
	allowed  []allowedItem
	pool     [2]netip.Addr
	publish  []Publish
	// addresses are those of a list.
	addresses []netip.Addr
}

// placed is a prefix and where it stands.
type placed struct {
	at
	netip.Prefix
}

type placedText struct {
	at
	text string
}

func prefixesOf(list []placed) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, p.Prefix)
	}
	return out
}

// value reads what stands behind a key.
func (p *parser) value(k *key, n *yaml.Node, a at) value {
	v := value{at: a}
	n, ok := p.resolve(n, a)
	if !ok {
		v.bad = true
		return v
	}
	switch k.kind {
	case kindTable:
		v.entries = p.table(k, n, a)
	case kindTexts:
		v.texts, v.bad = p.texts(n, a, " \t\n\x00")
	case kindLines:
		v.texts, v.bad = p.texts(n, a, "\n\x00")
	case kindPrefixes:
		p.prefixes(k, n, &v)
	case kindAllow:
		p.allowed(k, n, &v)
	case kindPublish:
		p.publishes(k, n, &v)
	case kindServers:
		p.servers(k, n, &v)
	case kindFlag:
		v.bad = n.Kind != yaml.ScalarNode || n.Tag != "!!bool"
		v.flag = strings.EqualFold(n.Value, "true")
		if v.bad {
			p.errorf(a, CodeType, "write true or false", "%s is true or false, not %s", k.name, describe(n))
		}
	default:
		v.bad = !p.scalar(k, n, &v)
	}
	return v
}

// scalar reads one word or number by the key's kind.
func (p *parser) scalar(k *key, n *yaml.Node, v *value) bool {
	number := n.Kind == yaml.ScalarNode && n.Tag == "!!int"
	numberIsFine := k.kind == kindSize || k.kind == kindUser || k.kind == kindCount || k.kind == kindRate || k.kind == kindFrames
	if !isText(n) && (!number || !numberIsFine) {
		hint := ""
		switch {
		case n.Kind == yaml.ScalarNode && n.Tag != "!!null" && (k.kind == kindText || k.kind == kindLink || k.kind == kindNetwork):
			hint = "put it in quotes if it is meant"
		case k.examples != nil:
			hint = "for example " + k.name + ": " + k.examples[0]
		case k.words != nil:
			hint = "one of " + strings.Join(k.wordsOfToday(), ", ")
		}
		p.errorf(v.at, CodeType, hint, "%s is %s, not %s", k.name, k.kind.what(), describe(n))
		return false
	}
	v.text = n.Value
	if w := k.word(n.Value); w != nil {
		v.isWord = true
		if w.notYet {
			p.notYet(k, v.at, w.name)
		}
		return !w.notYet
	}
	problem, hint := k.read(v)
	if problem != "" {
		p.errorf(v.at, k.code(v.text), hint, "%s", problem)
	}
	return problem == ""
}

func (p *parser) notYet(k *key, a at, word string) {
	p.errorf(a, CodeNotYet, "in this version: "+strings.ReplaceAll(k.shape(), "`", ""), "%s is not there yet", word)
}

// read turns v.text into what the key's kind says. It returns what is wrong with it.
func (k *key) read(v *value) (problem, hint string) {
	switch k.kind {
	case kindWord:
		hint = "one of " + strings.Join(k.wordsOfToday(), ", ")
		if near := nearest(v.text, k.wordNames()); near != "" {
			hint = "did you mean " + near + "?"
		}
		return fmt.Sprintf("no such %s: %s", k.name, quote(v.text)), hint
	case kindText:
		if strings.TrimSpace(v.text) == "" || strings.ContainsAny(v.text, "\x00\n") {
			return k.name + " is empty, or more than one line", ""
		}
	case kindLink:
		return nameOfLink.check(v.text)
	case kindNetwork:
		return nameOfNetwork.check(v.text)
	case kindUser:
		if v.text == "" || strings.ContainsAny(v.text, ": \t\n/,") || v.text[0] == '-' {
			return "not the name of a user or group: " + quote(v.text), "a name as in the first column of getent passwd or getent group, or a number"
		}
	case kindSize:
		v.size, problem, hint = parseSize(v.text)
	case kindCount:
		v.count, problem, hint = parseCount(v.text)
	case kindMAC:
		v.mac, problem, hint = parseMAC(v.text)
	case kindAddress:
		v.address, problem, hint = parseAddress(v.text)
	case kindHost:
		return parseHost(v.text)
	case kindHostPort:
		return parseHostPort(v.text)
	case kindURL:
		return parseURL(v.text)
	case kindDuration:
		v.duration, problem, hint = parseDuration(v.text)
	case kindRate:
		v.size, problem, hint = parseRate(v.text)
	case kindFrames:
		v.size, problem, hint = parseFrames(v.text)
	case kindPool:
		v.pool, problem, hint = parsePool(v.text)
	case kindZone:
		return parseZone(v.text)
	case kindSubnet:
		var prefix netip.Prefix
		prefix, problem, hint = parseSubnet(v.text)
		v.prefixes = []placed{{v.at, prefix}}
	}
	return problem, hint
}

// what a kind is, for "memory is a size, not a list".
func (k kind) what() string {
	switch k {
	case kindWord:
		return "a word"
	case kindSize:
		return "a size in bytes"
	case kindCount:
		return "a whole number"
	case kindLink:
		return "the name of a link"
	case kindNetwork:
		return "the name of a network"
	case kindUser:
		return "a name or a number"
	case kindMAC:
		return "a MAC address"
	case kindAddress:
		return "an IP address"
	case kindSubnet:
		return "a subnet"
	case kindHost:
		return "an IP address or a name"
	case kindHostPort:
		return "a host and a port"
	case kindURL:
		return "a URL"
	case kindDuration:
		return "a time"
	case kindRate:
		return "bits a second"
	case kindFrames:
		return "a number"
	case kindPool:
		return "a range of addresses"
	case kindZone:
		return "the name of a domain"
	case kindServers:
		return "an IP address or a list"
	case kindPublish:
		return "a port, or a list"
	default:
		return "a text"
	}
}

func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!str"
}

// texts reads a list of texts without the characters of not.
func (p *parser) texts(n *yaml.Node, a at, not string) (out []placedText, bad bool) {
	what, hint := "word", "make it items of their own"
	if !strings.Contains(not, " ") {
		what, hint = "line", "write it as one line"
	}
	if n.Kind != yaml.SequenceNode {
		p.errorf(a, CodeType, "write it as a list: [one, two]", "a list of %ss belongs here, not %s", what, describe(n))
		return nil, true
	}
	for i, c := range n.Content {
		here := a.item(i, p.pos(c))
		c, ok := p.resolve(c, here)
		switch {
		case !ok:
			return nil, true
		case !isText(c):
			p.errorf(here, CodeType, "put it in quotes if it is meant", "a %s belongs here, not %s", what, describe(c))
			bad = true
		case strings.TrimSpace(c.Value) == "" || strings.ContainsAny(c.Value, not):
			p.errorf(here, CodeValue, hint, "%s is not one %s", quote(c.Value), what)
			bad = true
		default:
			out = append(out, placedText{here, c.Value})
		}
	}
	return out, bad
}

// each reads one value, or each of a list of them; read tells whether it is well. An empty
// list is refused where there is a hint what to do instead.
func (p *parser) each(k *key, n *yaml.Node, v *value, instead string, read func(c *yaml.Node, here at, inList bool) bool) {
	items, list := []*yaml.Node{n}, n.Kind == yaml.SequenceNode
	if list {
		items = n.Content
	}
	if len(items) == 0 && instead != "" {
		p.errorf(v.at, CodeValue, "leave the key out, or "+instead, "%s: an empty list", k.name)
		v.bad = true
	}
	for i, c := range items {
		here := v.at
		if list {
			here = v.item(i, p.pos(c))
		}
		c, ok := p.resolve(c, here)
		if !ok || !read(c, here, list) {
			v.bad = true
		}
	}
}

// fine tells whether there is no problem with a text, and tells of the problem.
func (p *parser) fine(k *key, n *yaml.Node, here at, problem, hint string) bool {
	if problem != "" {
		p.errorf(here, k.code(n.Value), hint, "%s", problem)
	}
	return problem == ""
}

// prefixes reads a word, an address with its length, or a list of such addresses.
func (p *parser) prefixes(k *key, n *yaml.Node, v *value) {
	p.each(k, n, v, "give an address", func(c *yaml.Node, here at, inList bool) bool { return p.prefix(k, c, here, inList, v) })
}

func (p *parser) prefix(k *key, n *yaml.Node, here at, inList bool, v *value) bool {
	example := "for example " + k.name + ": " + k.examples[0]
	if !isText(n) {
		p.errorf(here, CodeType, example, "%s is an address with its prefix length, or a list of them, not %s", k.name, describe(n))
		return false
	}
	if w := k.word(n.Value); w != nil {
		switch {
		case inList:
			p.errorf(here, CodeValue, fmt.Sprintf("write %s: %s, or addresses only", k.name, w.name), "%s does not go into a list", w.name)
		case w.notYet:
			p.notYet(k, here, w.name)
		default:
			v.text, v.isWord = w.name, true
			return true
		}
		return false
	}
	prefix, err := netip.ParsePrefix(n.Value)
	if err != nil {
		p.badPrefix(k, n.Value, here, example)
		return false
	}
	problem, hint := checkHostPrefix(prefix)
	v.prefixes = append(v.prefixes, placed{here, prefix})
	return p.fine(k, n, here, problem, hint)
}

func (p *parser) badPrefix(k *key, text string, here at, hint string) {
	var message string
	if addr, err := netip.ParseAddr(text); err == nil {
		message = text + " lacks its prefix length"
		bits := 24
		if addr.Is6() {
			bits = 64
		}
		hint = fmt.Sprintf("write %s/%d, or whatever the network's length is", text, bits)
	} else {
		message = fmt.Sprintf("not an address with a prefix length: %s", quote(text))
		if near := nearest(text, k.wordNames()); near != "" {
			hint = "did you mean " + near + "?"
		}
	}
	p.errorf(here, k.code(text), hint, "%s", message)
}

// The parsers of single values return what is wrong, and a hint.

func parseAddress(s string) (netip.Addr, string, string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		if prefix, perr := netip.ParsePrefix(s); perr == nil {
			return a, s + " has a prefix length; an address alone belongs here", "write " + prefix.Addr().String()
		}
		return a, "not an IP address: " + quote(s), "for example 198.18.0.1 or 2001:db8::1"
	case a.Zone() != "":
		return a, "an address with a zone: " + quote(s), "leave the % and what follows out"
	case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), a.Is4In6():
		return a, s + " is not the address of one host", ""
	}
	return a, "", ""
}

func parseSubnet(s string) (netip.Prefix, string, string) {
	n, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return n, "not a subnet: " + quote(s), "for example 198.18.7.0/24 or 2001:db8:7::/64"
	case n.Masked() != n:
		return n, fmt.Sprintf("%s has host bits", s), "write " + n.Masked().String()
	case n.Addr().IsMulticast(), n.Addr().IsLoopback(), n.Addr().IsUnspecified(), n.Addr().Is4In6():
		return n, s + " is no subnet of hosts", ""
	case n.Addr().BitLen()-n.Bits() < 2:
		return n, s + " has no room for the host and a machine", "a /30 or larger (IPv6: /126)"
	}
	return n, "", ""
}

// checkHostPrefix refuses what cannot be the address of one host in a subnet.
func checkHostPrefix(n netip.Prefix) (problem, hint string) {
	a := n.Addr()
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), a.Is4In6(), a.Is4() && a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a.String() + " is not the address of one host", ""
	case n.Bits() == 0:
		return n.String() + ": a prefix length of 0 is the whole internet", "write the network's length: " + a.String() + "/24"
	case a.BitLen()-n.Bits() < 2:
		return "", "" // RFC 3021, RFC 6164: both addresses of a /31 are hosts; a /32 is one
	case n.Masked().Addr() == a:
		return fmt.Sprintf("%s is the address of the network itself", n), fmt.Sprintf("the first host there is %s/%d", a.Next(), n.Bits())
	case a.Is4() && lastOf(n) == a:
		return fmt.Sprintf("%s is the network's broadcast address", n), fmt.Sprintf("the last host there is %s/%d", a.Prev(), n.Bits())
	}
	return "", ""
}

// lastOf is the last address of an IPv4 prefix.
func lastOf(n netip.Prefix) netip.Addr {
	b := n.Masked().Addr().As4()
	for i := n.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
