package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

var update = flag.Bool("update", false, "write the dumps and goldens of rulesets anew, from this kernel and its nft and iptables")

// The dump of a ruleset is kept as lines: KIND FAMILY HEX, and of elements
// KIND FAMILY TABLE SET HEX.
func writeDump(d nftDump, elements map[nftID][]nftMessage) []byte {
	var out bytes.Buffer
	for _, part := range []struct {
		kind string
		list []nftMessage
	}{{"table", d.tables}, {"chain", d.chains}, {"set", d.sets}, {"rule", d.rules}} {
		for _, m := range part.list {
			fmt.Fprintln(&out, part.kind, m.family, hex.EncodeToString(m.attrs))
		}
	}
	ids := make([]nftID, 0, len(elements))
	for id := range elements {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b nftID) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, id := range ids {
		for _, m := range elements[id] {
			fmt.Fprintln(&out, "element", id.family, id.table, id.name, hex.EncodeToString(m.attrs))
		}
	}
	return out.Bytes()
}

func readDump(text []byte) (d nftDump, elements map[nftID][]nftMessage) {
	elements = map[nftID][]nftMessage{}
	to := map[string]*[]nftMessage{"table": &d.tables, "chain": &d.chains, "set": &d.sets, "rule": &d.rules}
	for line := range strings.Lines(string(text)) {
		w := strings.Fields(line)
		if len(w) < 3 {
			continue
		}
		attrs, _ := hex.DecodeString(w[len(w)-1])
		m := nftMessage{w[1], attrs}
		if list := to[w[0]]; list != nil {
			*list = append(*list, m)
		} else if len(w) == 5 {
			id := nftID{w[1], w[2], w[3]}
			elements[id] = append(elements[id], m)
		}
	}
	return d, elements
}

func ofDump(elements map[nftID][]nftMessage) func(nftID) ([]nftMessage, error) {
	return func(id nftID) ([]nftMessage, error) { return elements[id], nil }
}

func onlyLoopback(index uint32) string { return map[uint32]string{1: "lo"}[index] }

// words is a ruleset as a reader of a trace sees it.
func rulesetWords(r *model.Ruleset) string {
	var out strings.Builder
	for _, c := range r.Chains {
		fmt.Fprint(&out, c.Words())
		if c.Hook != "" {
			fmt.Fprintf(&out, " (%s %s %d %s drop=%t)", c.Type, c.Hook, c.Priority, strings.Join(c.Devices, ","), c.Drop)
		}
		fmt.Fprintln(&out)
		for _, rule := range c.Rules {
			fmt.Fprintln(&out, "\t"+rule.String())
		}
	}
	return out.String()
}

// loadRuleset runs a script of nft(8) or of iptables in a namespace of its own, and dumps
// what the kernel has of it.
func loadRuleset(t *testing.T, path string) (nftDump, map[nftID][]nftMessage) {
	t.Helper()
	name := fmt.Sprintf("dbtest-rules-%d-%s", os.Getpid(), strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	if err := CreateNamespace(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := DeleteNamespace(name); err != nil {
			t.Error(err)
		}
	})
	script, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	err = Enter("/run/netns/"+name, func() error {
		shell := exec.Command("sh", "-ec", strings.NewReplacer("iptables ", "iptables-nft ", "ip6tables ", "ip6tables-nft ").Replace(string(script)))
		if strings.HasSuffix(path, ".nft") {
			shell = exec.Command("nft", "-f", path)
		}
		out, err := shell.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := OpenNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	r := nftReader{kernel: k, ctx: context.Background()}
	d, err := r.read()
	if err != nil {
		t.Fatal(err)
	}
	elements := map[nftID][]nftMessage{}
	for _, s := range d.sets {
		id := nftID{s.family, getString(findAttr(s.attrs, unix.NFTA_SET_TABLE)), getString(findAttr(s.attrs, unix.NFTA_SET_NAME))}
		if elements[id], err = r.setElements(id); err != nil {
			t.Fatal(err)
		}
	}
	return d, elements
}

// Rules as nft(8) and iptables-nft write them, dumped from a kernel: what is made of them. (What
// this kernel and these tools make, internal/trace tries with packets.)
func TestRulesets(t *testing.T) {
	scripts, err := filepath.Glob("testdata/ruleset/*.*t")
	if err != nil || len(scripts) < 6 {
		t.Fatal(err, scripts)
	}
	for _, path := range scripts {
		base := strings.TrimSuffix(path, filepath.Ext(path))
		t.Run(filepath.Base(base), func(t *testing.T) {
			if *update {
				d, elements := loadRuleset(t, path)
				golden := rulesetWords(d.decode(ofDump(elements), onlyLoopback))
				if err := errors.Join(os.WriteFile(base+".dump", writeDump(d, elements), 0o644), os.WriteFile(base+".golden", []byte(golden), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			dump, err := os.ReadFile(base + ".dump")
			if err != nil {
				t.Fatal(err)
			}
			golden, err := os.ReadFile(base + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 { // the dump is of such a machine
				d, elements := readDump(dump)
				if got := rulesetWords(d.decode(ofDump(elements), onlyLoopback)); got != string(golden) {
					t.Errorf("of the dump:\n%s", difference(string(golden), got))
				}
			}
		})
	}
}

// difference lists the lines that only one of two texts has.
func difference(want, got string) string {
	var out strings.Builder
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range a {
		if !slices.Contains(b, l) {
			fmt.Fprintln(&out, "-", l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			fmt.Fprintln(&out, "+", l)
		}
	}
	return out.String()
}

// FuzzRuleset: whatever nf_tables may tell, nothing panics, and nothing grows without a
// limit; and a rule that is not wholly understood is never told as if it were.
func FuzzRuleset(f *testing.F) {
	dumps, _ := filepath.Glob("testdata/ruleset/*.dump")
	for _, path := range dumps {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		d, elements := readDump(text)
		for _, r := range d.rules {
			var set nftID
			_ = walk(findAttr(r.attrs, unix.NFTA_RULE_EXPRESSIONS), func(_ uint16, e []byte) {
				if getString(findAttr(e, unix.NFTA_EXPR_NAME)) == "lookup" {
					set = nftID{r.family, getString(findAttr(r.attrs, unix.NFTA_RULE_TABLE)), getString(findAttr(findAttr(e, unix.NFTA_EXPR_DATA), unix.NFTA_LOOKUP_SET))}
				}
			})
			var sets, list []byte
			for _, s := range d.sets {
				id := nftID{s.family, getString(findAttr(s.attrs, unix.NFTA_SET_TABLE)), getString(findAttr(s.attrs, unix.NFTA_SET_NAME))}
				if id == set {
					sets = s.attrs
				}
			}
			if of := elements[set]; len(of) > 0 {
				list = of[0].attrs
			}
			f.Add(byte(slices.Index(fuzzFamilies, r.family)), r.attrs, sets, list)
		}
	}
	f.Fuzz(func(t *testing.T, family byte, rule, set, elements []byte) {
		name := fuzzFamilies[int(family)%len(fuzzFamilies)]
		table := getString(findAttr(rule, unix.NFTA_RULE_TABLE))
		chain := &message{}
		chain.str(unix.NFTA_CHAIN_TABLE, table)
		chain.str(unix.NFTA_CHAIN_NAME, getString(findAttr(rule, unix.NFTA_RULE_CHAIN)))
		d := nftDump{tables: []nftMessage{{name, nil}}, chains: []nftMessage{{name, chain.b}}, sets: []nftMessage{{name, set}}, rules: []nftMessage{{name, rule}}}
		got := d.decode(func(nftID) ([]nftMessage, error) { return []nftMessage{{name, elements}}, nil }, onlyLoopback)
		_ = parseChain(name, rule)
		n := 0
		for _, c := range got.Chains {
			n += len(c.Rules)
			for _, r := range c.Rules {
				_ = r.String()
				if r.Sets != "" && r.Verdict != "" {
					t.Errorf("a rule that writes decides as well: %+v", r)
				}
			}
		}
		if n > 2*mostRules {
			t.Errorf("%d rules", n)
		}
	})
}

var fuzzFamilies = []string{"inet", "ip", "ip6", "bridge", "netdev", "arp"}

// What is not understood is never surely true: a look at the instructions that this kernel, or
// any, may have and this program does not know.
func TestCannotSay(t *testing.T) {
	drop := func(m *message) {
		m.nest(unix.NFTA_LIST_ELEM, func() {
			m.str(unix.NFTA_EXPR_NAME, "immediate")
			m.nest(unix.NFTA_EXPR_DATA, func() {
				m.attr(unix.NFTA_IMMEDIATE_DREG, []byte{0, 0, 0, unix.NFT_REG_VERDICT})
				m.nest(unix.NFTA_IMMEDIATE_DATA, func() {
					m.nest(unix.NFTA_DATA_VERDICT, func() { m.attr(unix.NFTA_VERDICT_CODE, []byte{0, 0, 0, nftPolicyDrop}) })
				})
			})
		})
	}
	named := func(name string, fill func(m *message)) func(m *message) {
		return func(m *message) {
			m.nest(unix.NFTA_LIST_ELEM, func() {
				m.str(unix.NFTA_EXPR_NAME, name)
				m.nest(unix.NFTA_EXPR_DATA, func() { fill(m) })
			})
		}
	}
	nothing := func(*message) {}
	be := func(n byte) []byte { return []byte{0, 0, 0, n} }
	compareWith := func(reg byte, v []byte) func(m *message) {
		return named("cmp", func(m *message) {
			m.attr(unix.NFTA_CMP_SREG, be(reg))
			m.attr(unix.NFTA_CMP_OP, be(unix.NFT_CMP_EQ))
			m.nest(unix.NFTA_CMP_DATA, func() { m.attr(unix.NFTA_DATA_VALUE, v) })
		})
	}
	source := named("payload", func(m *message) {
		m.attr(unix.NFTA_PAYLOAD_DREG, be(1))
		m.attr(unix.NFTA_PAYLOAD_BASE, be(unix.NFT_PAYLOAD_NETWORK_HEADER))
		m.attr(unix.NFTA_PAYLOAD_OFFSET, be(12))
		m.attr(unix.NFTA_PAYLOAD_LEN, be(4))
	})
	inSet := named("lookup", func(m *message) {
		m.str(unix.NFTA_LOOKUP_SET, "s")
		m.attr(unix.NFTA_LOOKUP_SREG, be(1))
	})
	address := []byte{198, 18, 0, 9}
	for _, c := range []struct {
		name  string
		steps []func(m *message)
		want  string
	}{
		{"known", []func(m *message){source, compareWith(1, address), drop}, "ip saddr 198.18.0.9 drop"},
		{"a question", []func(m *message){named("socket", nothing), drop}, "[socket] drop"},
		{"a question that loads over what was loaded", []func(m *message){source, named("hash", nothing), compareWith(1, address), drop}, "[hash] [cmp] drop"},
		{"an instruction of a kernel to come", []func(m *message){source, compareWith(1, address), named("frob", nothing), drop}, "ip saddr 198.18.0.9 [frob] [frob]"},
		{"a register that nothing was loaded into", []func(m *message){compareWith(2, address), drop}, "[cmp] drop"},
		{"half of a register", []func(m *message){source, compareWith(9, address), drop}, "[cmp] drop"},
		{"a value longer than the field", []func(m *message){source, compareWith(1, append(address, address...)), drop}, "[cmp] drop"},
		{"a set that cannot be read", []func(m *message){source, inSet, drop}, "[set s] drop"},
		{"flows that are offloaded", []func(m *message){named("flow_offload", nothing), drop}, "drop"},
	} {
		m := &message{}
		for _, s := range c.steps {
			s(m)
		}
		r := rulesetDecoder{elements: func(nftID) ([]nftMessage, error) { return nil, unix.EBUSY }, link: onlyLoopback, sets: map[nftID]*nftSet{{"ip", "t", "s"}: {keySize: 4, whole: true}}}
		var got []string
		for _, rule := range r.decodeRule(nftID{"ip", "t", "c"}, m.b) {
			got = append(got, rule.String())
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	r := rulesetDecoder{link: onlyLoopback}
	if got := r.decodeRule(nftID{"ip", "t", "c"}, []byte{0xff, 0xff, 0, 0}); len(got) != 1 || !strings.HasPrefix(got[0].Verdict, model.MatchUnknown) {
		t.Errorf("a rule that is cut off: %v", got)
	}
}
