// Package iproute reads what ip(8) and bridge(8) of iproute2 print as JSON (version 4.20
// and later) into a snapshot, so that a picture can be made of a machine that only its
// text has come from.
//
// In: a bundle: one text of such outputs, or files of them. Out: a model.Snapshot, and
// what was missing. It is pure: it opens nothing itself.
//
// A bundle is one text. A line "### COMMAND" says what comes below it, in the command's
// own words ("### ip -d -j link"); without such a line, JSON tells by its keys what it
// is. "### netns NAME" begins another network namespace. [Collector] is a shell script
// that prints such a text; output that a person has put together by hand does as well.
package iproute

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

const marker = "### "

// The parts of a bundle.
const (
	partLink       = "ip -d -j link"
	partAddress    = "ip -d -j addr"
	partRoute      = "ip -d -j route show table all"
	partRoute6     = "ip -6 -d -j route show table all"
	partRule       = "ip -j rule"
	partRule6      = "ip -6 -j rule"
	partNeighbour  = "ip -d -j neigh"
	partBridgeLink = "bridge -d -j link"
	partVLAN       = "bridge -d -j vlan"
	partFDB        = "bridge -d -j fdb"
	partNetns      = "ip -j netns list"
	partHostname   = "hostname"
	partSystem     = "os-release"
	partSysctl     = "sysctl"
	partHolders    = "holders"
	partMachines   = "machines"
	partCollector  = "collector" // the collector's first line
	partEnd        = "end"       // and its last
)

// wanted are the parts without which a picture lacks something, and what.
var wanted = []struct{ part, lacks string }{
	{partLink, "the interfaces' kinds"},
	{partAddress, "addresses"},
	{partRoute, "routes, and with them the gateway"},
}

// section is one output, and where in the bundle it begins, for error messages.
type section struct {
	part string
	text []byte
	file string
	line int
}

// namespace collects the sections of one network namespace.
type namespace struct {
	name     string
	sections []section
	far      []linkRow // halves of veth pairs whose other half is elsewhere
	lower    []linkRow // those whose lower link is elsewhere
}

func (n *namespace) all(part string) []section {
	var out []section
	for _, s := range n.sections {
		if s.part == part && len(bytes.TrimSpace(s.text)) > 0 { // where nothing was said, nothing is known
			out = append(out, s)
		}
	}
	return out
}

// begins tells whether there is such a section, be it empty.
func (n *namespace) begins(part string) bool {
	return slices.ContainsFunc(n.sections, func(s section) bool { return s.part == part })
}

// File is one file of a bundle. Its name says what it holds where it has no marker
// line: "ip-link.json", "bridge-fdb.json", "netns/blue/ip-addr.json".
type File struct {
	Name string
	Data []byte
}

// ErrNotBundle is wrapped where a text is nothing that ip or bridge printed.
var ErrNotBundle = errors.New("not the JSON of ip(8) or bridge(8)")

// Read makes the snapshot of a bundle. missing tells in words what the bundle does not
// have; the picture is made of what it has.
func Read(files ...File) (s model.Snapshot, missing []string, err error) {
	spaces := []*namespace{{}}
	for _, f := range files {
		if spaces, err = split(spaces, f); err != nil {
			return s, nil, err
		}
	}
	if last := spaces[len(spaces)-1]; spaces[0].begins(partCollector) && !last.begins(partEnd) {
		missing = append(missing, "what comes after the last line: the collector's text is cut off")
	}
	for i, ns := range spaces {
		n, lacks, err := ns.read()
		if err != nil {
			return s, nil, err
		}
		for _, l := range lacks {
			if i > 0 {
				l += " of the namespace " + ns.name
			}
			missing = append(missing, l)
		}
		s.Namespaces = append(s.Namespaces, n)
	}
	if len(spaces[0].all(partLink))+len(spaces[0].all(partAddress)) == 0 {
		return s, nil, fmt.Errorf("%w: there is no output of 'ip -d -j link' or 'ip -d -j addr' in it", ErrNotBundle)
	}
	s.Host, s.System = spaces[0].host(), model.SystemName(spaces[0].text(partSystem))
	if err := pairVeths(&s, spaces); err != nil {
		return s, nil, err
	}
	findLower(&s, spaces)
	s.Sort()
	return s, missing, nil
}

// split cuts a file into sections.
func split(spaces []*namespace, f File) ([]*namespace, error) {
	part := partOfFile(f.Name)
	current := spaces[0]
	if dir, rest, ok := strings.Cut(strings.TrimPrefix(f.Name, "./"), "netns/"); ok && !strings.Contains(dir, "netns") {
		name, _, _ := strings.Cut(rest, "/")
		spaces, current = enter(spaces, name)
	}
	begin := section{part: part, file: f.Name, line: 1}
	flush := func() error {
		text := bytes.TrimSpace(begin.text)
		if len(text) == 0 && begin.part == "" {
			return nil
		}
		if begin.part != "" {
			current.sections = append(current.sections, begin)
			return nil
		}
		parts, err := guess(begin)
		current.sections = append(current.sections, parts...)
		return err
	}
	line := 0
	for row := range bytes.Lines(f.Data) {
		line++
		text := strings.TrimRight(string(row), "\r\n")
		if !strings.HasPrefix(text, marker) {
			begin.text = append(begin.text, row...)
			continue
		}
		if err := flush(); err != nil {
			return spaces, err
		}
		head := strings.Fields(text[len(marker):])
		begin = section{file: f.Name, line: line + 1, part: "?"}
		switch {
		case len(head) == 2 && head[0] == "netns":
			spaces, current = enter(spaces, head[1])
			begin.part = ""
		case len(head) > 0:
			begin.part = partOf(head)
		}
	}
	return spaces, flush()
}

func enter(spaces []*namespace, name string) ([]*namespace, *namespace) {
	if i := slices.IndexFunc(spaces[1:], func(n *namespace) bool { return n.name == name }); i >= 0 {
		return spaces, spaces[i+1]
	}
	n := &namespace{name: name}
	return append(spaces, n), n
}

// partOf knows a command in any of its spellings: "ip --json -details a show" is
// partAddress. "?" is what is not known, which is left out.
func partOf(words []string) string {
	program, six, object := words[0], false, ""
	if i := strings.LastIndexByte(program, '/'); i >= 0 {
		program = program[i+1:]
	}
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-n" || w == "-netns":
			i++
		case w == "-6" || w == "-family" && i+1 < len(words) && words[i+1] == "inet6":
			six = true
		case strings.HasPrefix(w, "-"):
		case object == "":
			object = w
		}
	}
	is := func(full string) bool { return object != "" && strings.HasPrefix(full, object) }
	pick := func(part, part6 string) string {
		if six {
			return part6
		}
		return part
	}
	switch program {
	case "ip":
		switch {
		case is("link"):
			return partLink
		case is("address"):
			return partAddress
		case is("route"):
			return pick(partRoute, partRoute6)
		case object == "rule" || object == "ru":
			return pick(partRule, partRule6)
		case object == "netns":
			return partNetns
		case is("neighbour"), is("neighbor"):
			return partNeighbour
		}
	case "bridge":
		switch {
		case is("link"):
			return partBridgeLink
		case is("vlan"):
			return partVLAN
		case is("fdb"):
			return partFDB
		}
	case "nft":
		return partNft
	case "iptables-save":
		return partIptables
	case "wg":
		return partWireguard
	case partLeases, partActive, partHostname, partSystem, partSysctl, partHolders, partMachines, partCollector, partEnd:
		return program
	}
	return "?"
}

// partOfFile reads a file's name as a command: "ip-6-route.json", "bridge_fdb.txt".
// "" for a name that says nothing.
func partOfFile(name string) string {
	base := name[strings.LastIndexByte(name, '/')+1:]
	base, _, _ = strings.Cut(base, ".")
	words := strings.FieldsFunc(base, func(r rune) bool { return r == '-' || r == '_' || r == ' ' })
	for i, w := range words {
		if i > 0 && w == "6" {
			words[i] = "-6"
		}
		if len(w) > 1 && i > 0 && strings.HasSuffix(w, "6") { // route6
			words[i] = strings.TrimSuffix(w, "6")
			words = append(words, "-6")
		}
	}
	if base == "os-release" {
		return partSystem
	}
	if len(words) == 0 {
		return ""
	}
	if p := partOf(words); p != "?" {
		return p
	}
	return ""
}

// guess tells by its keys what each JSON document of a text is.
func guess(s section) ([]section, error) {
	var out []section
	dec := json.NewDecoder(bytes.NewReader(s.text))
	for {
		var doc json.RawMessage
		at := s.line + bytes.Count(s.text[:dec.InputOffset()], []byte("\n"))
		if err := dec.Decode(&doc); err != nil {
			if len(bytes.TrimSpace(s.text[min(int(dec.InputOffset()), len(s.text)):])) == 0 {
				return out, nil
			}
			return nil, s.wrong(err, dec.InputOffset())
		}
		var rows []map[string]json.RawMessage
		if json.Unmarshal(doc, &rows) != nil {
			return nil, fmt.Errorf("%s: %w", s.at(at), ErrNotBundle)
		}
		if part := partByKeys(rows); part != "" {
			out = append(out, section{part: part, text: doc, file: s.file, line: at})
		}
	}
}

func partByKeys(rows []map[string]json.RawMessage) string {
	for _, r := range rows {
		has := func(keys ...string) bool {
			return !slices.ContainsFunc(keys, func(k string) bool { _, ok := r[k]; return !ok })
		}
		switch {
		case has("ifname", "addr_info", "link_type"):
			return partAddress
		case has("ifname", "link_type"):
			return partLink
		case has("ifname", "vlans"):
			return partVLAN
		case has("ifname", "state", "cost"), has("ifname", "state", "priority"):
			return partBridgeLink
		case has("name", "id"):
			return partNetns
		case has("nftables"):
			return partNft
		case has("mac"):
			return partFDB
		case has("priority", "src"), has("priority", "srclen"):
			return partRule
		case has("dst", "flags"):
			return partRoute
		case has("dst", "state"), has("dst", "proxy"):
			return partNeighbour
		}
	}
	return ""
}

func (s section) at(line int) string {
	if s.file == "" {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("%s:%d", s.file, line)
}

// wrong says where in the bundle its JSON breaks off.
func (s section) wrong(err error, offset int64) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) {
		offset = typ.Offset
	}
	line := s.line + bytes.Count(s.text[:min(max(int(offset), 0), len(s.text))], []byte("\n"))
	what := s.part
	if what == "" {
		what = "the JSON"
	}
	return fmt.Errorf("%s: %s: %w", s.at(line), what, err)
}

// rows decodes a section's JSON array. iproute2 prints an empty object for what it
// filtered out, and nothing at all where there is nothing (before 5.0).
func rows[T any](n *namespace, part string) ([]T, error) {
	var out []T
	for _, s := range n.all(part) {
		if string(bytes.TrimSpace(s.text)) == "[" {
			continue // bridge(8) opens the array before the kernel refuses (no VLAN filtering in it)
		}
		dec := json.NewDecoder(bytes.NewReader(s.text))
		for len(bytes.TrimSpace(s.text[dec.InputOffset():])) > 0 {
			var more []T
			if err := dec.Decode(&more); err != nil {
				return nil, s.wrong(err, dec.InputOffset())
			}
			out = append(out, more...)
		}
	}
	return out, nil
}
