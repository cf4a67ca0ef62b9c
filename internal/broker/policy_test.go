package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

var accounts = Accounts{
	User: func(name string) (uint32, error) {
		return map[string]uint32{"alice": 1000, "bob": 1001}[name], map[bool]error{false: errors.New("no such user")}[name == "alice" || name == "bob"]
	},
	Group: func(name string) (uint32, error) {
		if name != "kvm" {
			return 0, errors.New("no such group")
		}
		return 104, nil
	},
}

func policy(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy("broker.yaml", []byte(text), accounts)
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

const examplePolicy = `
rules:
  - {users: [bob], networks: ['*'], taps: 0}
  - users: [alice, 1002]
    networks: [lan]
    taps: 2
    macs: ["02:aa:00:00:00:00/24"]
    addresses: [198.18.0.96/28, "2001:db8::77"]
  - {groups: [kvm], networks: [br1]}
bridge_helper: {taps: 3}
`

func TestPolicy(t *testing.T) {
	p := policy(t, examplePolicy)
	if p.Helper.ACL != DefaultACL || p.Helper.Taps != 3 {
		t.Errorf("helper %+v", p.Helper)
	}
	for _, tc := range []struct {
		peer            Peer
		network, bridge string
		taps            int // -1: no rule
	}{
		{Peer{UID: 1000}, "lan", "br0", 2},
		{Peer{UID: 1002}, "lan", "br0", 2},
		{Peer{UID: 1000}, "br0", "br0", -1}, // by the name that the policy has
		{Peer{UID: 1000}, "other", "br1", -1},
		{Peer{UID: 1000, Groups: []uint32{100, 104}}, "private", "br1", DefaultTaps},
		{Peer{UID: 1001, Groups: []uint32{104}}, "private", "br1", 0}, // the first rule decides
		{Peer{UID: 0}, "lan", "br0", -1},
	} {
		taps := -1
		if r := p.find(tc.peer, tc.network, tc.bridge); r != nil {
			taps = r.Taps
		}
		if taps != tc.taps {
			t.Errorf("%+v on %s: %d taps, want %d", tc.peer, tc.network, taps, tc.taps)
		}
	}
}

func TestAPolicysMistakesAreAllTold(t *testing.T) {
	_, err := ParsePolicy("broker.yaml", []byte(`
rules:
  - {users: [carol], networks: [lan]}
  - {groups: [wheel], networks: [lan], taps: -1}
  - {users: [alice], macs: ["01:00:5e:00:00:00/24"], addresses: [nonsense]}
  - {networks: ["la n"]}
bridge_helper: {taps: 5000}
`), accounts)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`rule 1: user "carol": there is none`, `rule 2: group "wheel": there is none`, "rule 2: taps: -1", "rule 3: macs:", `rule 3: addresses: "nonsense"`,
		"rule 3: no network is named", "rule 4: nobody is named", `rule 4: network "la n": not a name`, "bridge_helper: taps: 5000",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q:\n%v", want, err)
		}
	}
	for _, text := range []string{"rules: 5", "rulez: []", "rules: [{users: [alice], networks: [lan], mac: x}]", "rules: []\nrules: []", "\x00", "- a", "rules: []\n---\nrules: []\n"} {
		if _, err := ParsePolicy("broker.yaml", []byte(text), accounts); err == nil {
			t.Errorf("%q is a policy", text)
		}
	}
}

func TestAnEmptyPolicyLetsNobody(t *testing.T) {
	for _, text := range []string{"", "rules: []", "# nothing"} {
		if p := policy(t, text); p.find(Peer{UID: 0}, "lan", "br0") != nil || p.Helper != nil {
			t.Errorf("%q lets somebody", text)
		}
	}
}

// files answers like a file system; "" may not be read.
func files(m map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		text, ok := m[path]
		switch {
		case !ok:
			return nil, fs.ErrNotExist
		case text == "":
			return nil, fs.ErrPermission
		}
		return []byte(text), nil
	}
}

func TestBridgeHelpersAccessFile(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   map[string]string
		allowed string // of br0 br1
	}{
		{"allow one", map[string]string{"c": "allow br0\n"}, "br0"},
		{"allow all", map[string]string{"c": "# all\n\n  allow   all  \n"}, "br0 br1"},
		{"a denial wins, wherever it stands", map[string]string{"c": "deny br1\nallow all\n"}, "br0"},
		{"deny all wins over everything", map[string]string{"c": "allow br0\ndeny all\n"}, ""},
		{"nothing is denied", map[string]string{"c": "\n"}, ""},
		{"include", map[string]string{"c": "include /etc/alice\n", "/etc/alice": "allow br1"}, "br1"},
		{"include of what may not be read", map[string]string{"c": "allow br0\ninclude /etc/bob\ninclude /none\n", "/etc/bob": ""}, "br0"},
		{"include of what breaks off keeps what came before", map[string]string{"c": "include x\n", "x": "allow br0\nnonsense here\nallow br1\n"}, "br0"},
		{"include of itself", map[string]string{"c": "allow br0\ninclude c\n"}, "br0"},
		{"tabs", map[string]string{"c": "\tallow\tbr0\n"}, "br0"},
		{"no newline at the end", map[string]string{"c": "allow br1"}, "br1"},
		{"CR LF", map[string]string{"c": "allow br0\r\n"}, "br0"},
		{"a comment behind makes another name, as in QEMU", map[string]string{"c": "allow br0 # mine\n"}, ""},
	} {
		acl, err := ReadACL("c", files(tc.files))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		var allowed []string
		for _, br := range []string{"br0", "br1"} {
			if acl.Allows(br) {
				allowed = append(allowed, br)
			}
		}
		if got := strings.Join(allowed, " "); got != tc.allowed {
			t.Errorf("%s: allows %q, want %q", tc.name, got, tc.allowed)
		}
	}
	for name, m := range map[string]map[string]string{
		"missing": {}, "unreadable": {"c": ""}, "one word": {"c": "allow\n"}, "unknown": {"c": "permit br0\n"},
	} {
		if acl, err := ReadACL("c", files(m)); err == nil || acl.Allows("br0") {
			t.Errorf("%s: error %v, allows br0: %t", name, err, acl.Allows("br0"))
		}
	}
}

// FuzzACL: any file is read or refused, in bounded time, and a denial is never overruled.
func FuzzACL(f *testing.F) {
	f.Add("allow br0\ndeny br1\ninclude b\n", "allow all\n")
	f.Add("include a\ninclude b\n", "include a\ninclude b\n")
	f.Add("allow\tall", "deny all")
	f.Fuzz(func(t *testing.T, a, b string) {
		asked := 0
		acl, err := ReadACL("a", func(path string) ([]byte, error) {
			if asked++; asked > maxIncludes {
				return nil, fmt.Errorf("asked %d times", asked)
			}
			return []byte(map[string]string{"a": a, "b": b}[path]), nil
		})
		if asked > maxIncludes {
			t.Fatal("asked without end")
		}
		if err == nil && acl.Allows("br0") && (acl.denyAll || acl.deny["br0"]) {
			t.Fatal("a denial was overruled")
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(examplePolicy))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("broker.yaml", data, accounts)
		if err != nil {
			return
		}
		for _, r := range p.Rules {
			if r.Taps < 0 || r.Taps > mostTaps {
				t.Fatalf("%+v", r)
			}
		}
	})
}
