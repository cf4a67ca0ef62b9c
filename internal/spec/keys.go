package spec

import "slices"

// kind is what a key's value may be.
type kind int

const (
	kindTable    kind = iota // a mapping: names to objects
	kindWord                 // one of the key's words
	kindText                 // any text
	kindTexts                // a list of words
	kindLines                // a list of texts of one line each
	kindFlag                 // true or false
	kindSize                 // bytes: 64M
	kindCount                // a whole number, 1 or more
	kindLink                 // a link's name, or one of the key's words
	kindNetwork              // the name of a network of this file
	kindUser                 // a user's or group's name or number
	kindMAC                  // 02:11:22:33:44:55
	kindAddress              // an IP address
	kindSubnet               // a prefix without host bits
	kindPrefixes             // one address with its prefix length or a list, or one of the key's words
	kindHost                 // an IP address or a name
	kindHostPort             // 198.18.0.1:80
	kindURL                  // http:// or https://
	kindDuration             // 500ms
	kindAllow                // words, MAC addresses, IP addresses and subnets: one or a list
	kindRate                 // bits a second: 100M
	kindFrames               // frames a second
	kindPool                 // 198.18.7.100-198.18.7.199
	kindZone                 // the name of a domain
	kindServers              // IP addresses: one or a list, or one of the key's words
	kindPublish              // 8080:80, one or a list
	kindAny                  // not looked at: the key is not there yet
)

// key is one key of the file: all that the parser, the schema and the reference
// know about it.
type key struct {
	name string
	kind kind
	doc  string
	// words that may be the value: for kindWord the only ones.
	words []word
	// def is the default in words, "" for none.
	def string
	// examples are YAML flow values.
	examples []string
	// entry is what a kindTable's names stand for, names the rule for the names.
	entry *object
	names nameRule
	// notYet says what the key will do; "" for a key that this version carries out.
	notYet string
	// instead are words that people write when they mean this key.
	instead []string
}

// word is a word with a meaning.
type word struct {
	name, doc string
	notYet    bool
}

// object is a mapping with known keys.
type object struct {
	name string // in the schema's $defs
	what string // "a network"
	doc  string
	keys []key
}

// key finds a key by name, nil if the object has none of that name.
func (o *object) key(name string) *key {
	for i := range o.keys {
		if o.keys[i].name == name {
			return &o.keys[i]
		}
	}
	return nil
}

// meant finds the key that people mean by a word of theirs, nil if there is none.
func (o *object) meant(wrong string) *key {
	for i := range o.keys {
		if slices.Contains(o.keys[i].instead, wrong) {
			return &o.keys[i]
		}
	}
	return nil
}

func (o *object) keyNames() []string {
	var out []string
	for _, k := range o.keys {
		out = append(out, k.name)
	}
	return out
}

func (k *key) word(name string) *word {
	for i := range k.words {
		if k.words[i].name == name {
			return &k.words[i]
		}
	}
	return nil
}

// wordsOfToday are the words that this version carries out.
func (k *key) wordsOfToday() []string {
	var out []string
	for _, w := range k.words {
		if !w.notYet {
			out = append(out, w.name)
		}
	}
	return out
}

func (k *key) wordNames() []string {
	var out []string
	for _, w := range k.words {
		out = append(out, w.name)
	}
	return out
}

// nameRule is the rule for the names of a table.
type nameRule int

const (
	nameOfNetwork nameRule = iota
	nameOfMachine          // it is the guest's host name, and a folder's
	nameOfLink             // what the kernel accepts
)
