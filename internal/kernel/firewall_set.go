package kernel

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// nftSet is a set or a map with its elements.
type nftSet struct {
	flags    uint32
	keySize  int
	elements []setElement
	// whole: they could be read, and belong to the set for longer than this packet.
	whole bool
}

// setElement is an element of a set; of a map, with its verdict or its data.
type setElement struct {
	key, last       []byte // last of an interval that says so itself (a concatenation)
	end             bool   // the first value that is no longer in an interval
	any             bool   // what no other element has
	verdict, target string
	data            []byte
}

// NFT_SET_* of linux/netfilter/nf_tables.h.
const (
	setInterval = 0x4
	setEval     = 0x20
	setObject   = 0x40
)

func parseSet(b []byte) nftSet {
	return nftSet{flags: getBE32(findAttr(b, unix.NFTA_SET_FLAGS)), keySize: int(min(getBE32(findAttr(b, unix.NFTA_SET_KEY_LEN)), 4*cells)), whole: true}
}

func parseElement(e []byte) (x setElement, counts bool) {
	const last, expressions, catchAll = 10, 11, 2 // NFTA_SET_ELEM_KEY_END, _EXPRESSIONS, NFT_SET_ELEM_CATCHALL
	flags := getBE32(findAttr(e, unix.NFTA_SET_ELEM_FLAGS))
	x = setElement{
		key: findAttr(findAttr(e, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE), last: findAttr(findAttr(e, last), unix.NFTA_DATA_VALUE),
		end: flags&unix.NFT_SET_ELEM_INTERVAL_END != 0, any: flags&catchAll != 0,
	}
	data := findAttr(e, unix.NFTA_SET_ELEM_DATA)
	if v := findAttr(data, unix.NFTA_DATA_VERDICT); v != nil {
		x.verdict, x.target = parseVerdict(v)
	}
	x.data = findAttr(data, unix.NFTA_DATA_VALUE)
	counts = true
	if one := findAttr(e, unix.NFTA_SET_ELEM_EXPR); one != nil {
		counts = onlyCounts(one)
	}
	_ = walk(findAttr(e, expressions), func(_ uint16, v []byte) { counts = counts && onlyCounts(v) })
	return x, counts
}

// entry is what one element stands for: the values from one to another.
type entry struct {
	setElement
	from, to []byte
}

// entries are a set's, in the order of their values, and the one for all the others; ok is
// false where they are not to be known.
func (s *nftSet) entries() (list []entry, other *setElement, ok bool) {
	// One that packets are put into is another one by the time a packet comes.
	if !s.whole || s.flags&(setEval|setObject) != 0 {
		return nil, nil, false
	}
	sorted := slices.Clone(s.elements)
	slices.SortStableFunc(sorted, func(a, b setElement) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return btoi(b.end) - btoi(a.end) // where one ends, another begins
	})
	for i, e := range sorted {
		switch {
		case e.any:
			other = &e
		case len(e.key) != s.keySize:
			return nil, nil, false
		case e.end:
		case e.last != nil:
			if len(e.last) != len(e.key) {
				return nil, nil, false
			}
			list = append(list, entry{e, e.key, e.last})
		case s.flags&setInterval == 0:
			list = append(list, entry{e, e.key, e.key})
		default: // up to the next one's start, which says that it ends this one; or for good
			to := bytes.Repeat([]byte{0xff}, len(e.key))
			if i+1 < len(sorted) {
				to, _ = before(sorted[i+1].key)
			}
			list = append(list, entry{e, e.key, to})
		}
	}
	return list, other, true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lookup asks whether something is in a set, or takes from a map what it has for it.
func (d *decoder) lookup(b []byte, rest []expression) (done bool) {
	name := getString(findAttr(b, unix.NFTA_LOOKUP_SET))
	set := d.ruleset.set(nftID{d.table.family, d.table.table, name})
	entries, other, ok := set.entries()
	fields, masked, named := d.regs.fields(getBE32(findAttr(b, unix.NFTA_LOOKUP_SREG)), set.keySize)
	dreg := findAttr(b, unix.NFTA_LOOKUP_DREG)
	words := make([]string, 0, len(entries))
	for _, e := range entries {
		words = append(words, d.entryWords(fields, e))
	}
	m := model.FirewallMatch{Key: keyOf(fields), Values: words}
	if !ok || !named || masked != nil || m.Key == "" {
		return d.blind(name, dreg)
	}
	if dreg != nil {
		return d.choose(getBE32(dreg), m.Key, entries, words, other, rest)
	}
	m.Not = getBE32(findAttr(b, unix.NFTA_LOOKUP_FLAGS))&unix.NFT_LOOKUP_F_INV != 0
	if other != nil {
		m.Values = []string{"*"}
	}
	d.ask(m)
	return false
}

// blind is a look-up that is not understood: of a map, anything may come out.
func (d *decoder) blind(name string, dreg []byte) (done bool) {
	if dreg == nil {
		d.unknown("set " + name)
		return false
	}
	d.unknown("map " + name)
	if getBE32(dreg) == unix.NFT_REG_VERDICT {
		return d.ends(model.MatchUnknown+"map "+name, "")
	}
	d.regs.put(getBE32(dreg), loaded{fields: []field{{key: model.MatchUnknown + "map", size: 4 * cells}}})
	return false
}

// choose splits the rule into one for each element of a map.
func (d *decoder) choose(dreg uint32, key string, entries []entry, words []string, other *setElement, rest []expression) (done bool) {
	one := func(m model.FirewallMatch, e setElement) {
		branch := *d
		branch.ask(m)
		if dreg != unix.NFT_REG_VERDICT {
			branch.regs.put(dreg, loaded{fields: []field{{size: len(e.data)}}, data: e.data})
			branch.run(rest)
			return
		}
		if e.verdict == "continue" || e.verdict == "" {
			branch.run(rest)
			return
		}
		branch.ends(e.verdict, e.target)
	}
	if len(*d.out)+len(entries) > mostRules {
		return d.blind("with many elements", findAttrReg(dreg))
	}
	for i, e := range entries {
		one(model.FirewallMatch{Key: key, Values: []string{words[i]}}, e.setElement)
	}
	if other != nil {
		one(model.FirewallMatch{Key: key, Not: true, Values: words}, *other)
	}
	return true
}

// findAttrReg is a register as an attribute has it.
func findAttrReg(reg uint32) []byte {
	return []byte{byte(reg >> 24), byte(reg >> 16), byte(reg >> 8), byte(reg)}
}

// keyOf is what several fields are called together; "" where one is not known.
func keyOf(fields []field) string {
	var names []string
	for _, f := range fields {
		if !f.known() || f.key == "ct status" {
			return ""
		}
		names = append(names, f.key)
	}
	return strings.Join(names, model.Together)
}

// entryWords writes an entry: of a concatenation, each field's part of it.
func (d *decoder) entryWords(fields []field, e entry) string {
	if len(fields) == 1 {
		return d.span(fields[0], e.from, e.to)
	}
	padded := 0
	for _, f := range fields {
		padded += 4 * cellsOf(f.size)
	}
	var parts []string
	at := 0
	for _, f := range fields {
		if at+f.size > len(e.from) || at+f.size > len(e.to) {
			return model.MatchUnknown
		}
		parts = append(parts, d.span(f, e.from[at:at+f.size], e.to[at:at+f.size]))
		if len(e.from) == padded { // each field begins a register
			at += 4 * cellsOf(f.size)
		} else {
			at += f.size
		}
	}
	return strings.Join(parts, model.Together)
}
