package fence

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// folders says for each folder which others of this module it may import, tests
// aside. A new folder gets its line here, with the reason in the review.
var folders = map[string][]string{
	"cmd/drawbridge":   {"internal/cli", "internal/machine/guest"}, // this binary is the guest's /init too
	"internal/model":   {},
	"internal/spec":    {"internal/model"},
	"internal/trace":   {"internal/model"}, // the way of a packet through a snapshot; pure
	"internal/verify":  {"internal/model"},
	"internal/nft":     {},                                 // the words of rules, and their text; pure
	"internal/portsec": {"internal/model", "internal/nft"}, // one source of rules for kernel and plan; pure
	"internal/forward": {"internal/model", "internal/nft"}, // as portsec, for what is forwarded
	"internal/plan":    {"internal/model", "internal/spec", "internal/nft", "internal/portsec", "internal/forward"},
	"internal/iproute": {"internal/model"}, // another source of snapshots beside kernel; pure
	"internal/draw":    {"internal/model", "internal/plan", "internal/trace"},

	"internal/draw/svg":         {"internal/model", "internal/draw"},
	"internal/draw/term":        {"internal/model", "internal/draw"},
	"internal/draw/text":        {"internal/model", "internal/draw"},
	"internal/draw/png":         {"internal/model", "internal/draw", "internal/draw/svg"}, // paints by its style sheet
	"internal/draw/html":        {"internal/model", "internal/draw", "internal/draw/svg"}, // a page around it
	"internal/draw/mermaid":     {"internal/model", "internal/draw"},
	"internal/draw/dot":         {"internal/model", "internal/draw"},
	"internal/draw/drawio":      {"internal/model", "internal/draw", "internal/draw/svg"},
	"internal/draw/geometry":    {"internal/draw"}, // for tests: whether a scene's parts are in each other's way
	"internal/draw/story":       {"internal/model", "internal/plan", "internal/draw", "internal/draw/svg", "internal/draw/term"},
	"internal/draw/walkthrough": {"internal/model", "internal/draw"},

	// They declare what they need of the kernel as small interfaces of their own.
	"internal/apply":       {"internal/model", "internal/plan", "internal/verify"},
	"internal/kernel":      {"internal/model", "internal/nft", "internal/portsec", "internal/forward"},
	"internal/kernel/fake": {"internal/model"},
	"internal/manager":     {"internal/model"},
	"internal/preflight":   {"internal/model", "internal/manager"},                                                          // tells who manages the uplink
	"internal/doctor":      {"internal/model", "internal/plan", "internal/preflight", "internal/manager", "internal/snoop"}, // judges by the facts that these have words for
	"internal/probe":       {"internal/model"},
	"internal/snoop":       {"internal/model"},
	"internal/keeper":      {"internal/model"},
	"internal/broker":      {"internal/model", "internal/plan"}, // decides by what is owned
	"internal/persist":     {"internal/model", "internal/plan"}, // what is ours, in a manager's words; pure
	"internal/etc":         {"internal/persist"},                // writes those files among others'

	// A machine and the lab are made of namespaces, taps and veths of their own: they
	// use the kernel as cli does, never netlink.
	"internal/child":             {"internal/model"}, // what machines' and services' processes have in common
	"internal/machine":           {"internal/model", "internal/kernel", "internal/child", "internal/machine/..."},
	"internal/machine/agent":     {"internal/model"},
	"internal/machine/guest":     {"internal/model", "internal/kernel", "internal/machine/agent"},
	"internal/machine/initrd":    {"internal/machine/guest"}, // what a UML and a QEMU boot from
	"internal/machine/namespace": {"internal/model", "internal/kernel", "internal/machine/guest", "internal/machine/procs", "internal/machine/agent"},
	"internal/machine/procs":     {"internal/model"},
	"internal/machine/qemu":      {"internal/model", "internal/kernel", "internal/machine/guest", "internal/machine/initrd", "internal/machine/procs"},
	"internal/machine/uml":       {"internal/model", "internal/machine/guest", "internal/machine/initrd", "internal/machine/procs", "internal/machine/agent"},
	// The servers of networks are processes with namespaces and sockets, as machines are.
	"internal/service":       {"internal/model", "internal/kernel", "internal/child", "internal/service/..."},
	"internal/service/lease": {"internal/model"},
	"internal/service/dhcp4": {"internal/model", "internal/service/lease"},
	"internal/service/ra":    {"internal/model"},
	"internal/service/dns":   {"internal/model"},
	"internal/service/relay": {"internal/model"},
	"internal/lab":           {"internal/model", "internal/kernel", "internal/lab/..."},
	"internal/lab/demo":      {"internal/model", "internal/draw/walkthrough", "internal/machine/uml", "internal/lab", "internal/lab/flow"},
	"internal/lab/flow":      {},
	"internal/lab/booted":    {}, // hosts with real managers: for tests, bench, and 'persist verify'
	"internal/lab/router":    {},

	// The wiring.
	"internal/cli":               {"internal/..."},
	"internal/testnet":           {"internal/model", "internal/kernel", "internal/lab/booted"},
	"internal/testbrowser":       {},
	"internal/testwiring":        {"internal/model", "internal/draw/walkthrough"},
	"internal/fence":             {},
	"internal/tools/testsummary": {},
	"internal/tools/gallery":     {"internal/model", "internal/trace", "internal/iproute", "internal/draw", "internal/draw/svg", "internal/draw/png", "internal/draw/walkthrough"},                                                                                               // draws docs/gallery
	"internal/tools/bench":       {"internal/model", "internal/kernel", "internal/draw", "internal/draw/svg", "internal/draw/term", "internal/lab/flow", "internal/machine/guest", "internal/machine/initrd", "internal/machine/uml", "internal/lab/booted", "internal/service"}, // measures observing apart from drawing
}

// pure folders do no I/O, have no clock and no environment: what they give depends on
// what they are given alone, and their tests need no rights.
var pure = []string{"internal/model", "internal/spec", "internal/plan", "internal/verify", "internal/nft", "internal/portsec", "internal/trace", "internal/forward", "internal/iproute", "internal/draw/...", "internal/kernel/fake", "internal/doctor", "internal/persist"}

// inputOutput are the packages that a pure folder may not import.
var inputOutput = []string{"os", "os/...", "net", "net/http", "net/http/...", "net/rpc", "net/smtp", "syscall", "log", "log/...", "io/ioutil", "math/rand", "math/rand/v2", "crypto/rand", "runtime/debug", "flag", "plugin"}

// clock are the parts of package time that tell or take time.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// fenced are the packages that few may import, and why those.
var fenced = []struct {
	imports []string
	folders map[string]string // by folder: the reason
	reason  string
}{
	{
		[]string{"github.com/mdlayher/netlink/...", "github.com/vishvananda/netlink/...", "github.com/jsimonetti/rtnetlink/..."},
		map[string]string{"internal/kernel": "observes and carries operations out"},
		"netlink is for internal/kernel alone: nobody else knows that links have numbers",
	},
	{
		[]string{"github.com/cilium/ebpf/..."},
		map[string]string{"internal/kernel": "the program that holds the wire at the cutover"},
		"programs are loaded into the kernel by internal/kernel alone",
	},
	{
		[]string{"golang.org/x/sys/unix"},
		map[string]string{
			"internal/apply":             "the guard's memory, locked",
			"internal/kernel":            "taps by ioctl, namespaces, capabilities",
			"internal/lab":               "namespaces, mounts, the supervisor's processes",
			"internal/lab/demo":          "the terminal's width",
			"internal/lab/flow":          "packets with their time of arrival",
			"internal/machine":           "processes, consoles and their descriptors",
			"internal/machine/guest":     "mounts, reboot and signals: it is the guest's init",
			"internal/machine/initrd":    "the modes of an archive's files",
			"internal/machine/namespace": "a process in a namespace of its own",
			"internal/machine/procs":     "process groups, and their end; the rights of a user, and of a thread",
			"internal/machine/qemu":      "descriptors given to a QEMU, locks of images",
			"internal/machine/uml":       "personality, pseudo-terminals, tap offloads",
			"internal/child":             "locks, and descriptors that are inherited",
			"internal/service":           "the rights of a server, taken from it",
			"internal/service/dhcp4":     "packet sockets that were opened by somebody else",
			"internal/service/ra":        "a socket bound to one link",
			"internal/service/relay":     "packet sockets that were opened by somebody else",
			"internal/service/dns":       "sockets on addresses that are not there yet",
			"internal/broker":            "peers' credentials, descriptors over sockets",
			"internal/cli":               "signals that it forwards, and the terminal",
			"internal/probe":             "a packet that is not to be fragmented",
			"internal/testnet":           "namespaces of its tests",
		},
		"system calls are for those who handle processes and descriptors",
	},
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		allowed, known := folders[s.dir]
		if !known {
			t.Errorf("%s: the folder %s is not in the fence: give it its line in internal/fence/imports_test.go", s.path, s.dir)
			continue
		}
		for _, path := range s.imports() {
			own, ofModule := strings.CutPrefix(path, module+"/")
			switch {
			case s.test: // tests wire for themselves
			case ofModule && !in(own, allowed):
				t.Errorf("%s imports %s; %s may import %s", s.path, own, s.dir, orNothing(allowed))
			case s.dir == "internal/model" && !isStandard(path):
				t.Errorf("%s imports %s: the model is of the standard library only", s.path, path)
			case in(s.dir, pure) && in(path, inputOutput):
				t.Errorf("%s imports %s: %s does no I/O, so that it can be tested without rights", s.path, path, s.dir)
			}
			for _, f := range fenced {
				if in(path, f.imports) && f.folders[s.dir] == "" && !s.test {
					t.Errorf("%s imports %s: %s", s.path, path, f.reason)
				}
			}
		}
	}
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing of this module"
	}
	return strings.Join(list, ", ")
}

// TestNoClock: a pure package that asks for the time gives another result tomorrow.
func TestNoClock(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !in(s.dir, pure) || !slices.Contains(s.imports(), "time") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
				t.Errorf("%s: time.%s: %s has no clock; take the time as an argument", s.set.Position(n.Pos()), sel.Sel.Name, s.dir)
			}
			return true
		})
	}
}

// TestNoHoles: a line for what is gone is a hole in the fence.
func TestNoHoles(t *testing.T) {
	there := map[string]bool{}
	imported := map[string][]string{}
	for _, s := range sources(t) {
		there[s.dir] = true
		imported[s.dir] = append(imported[s.dir], s.imports()...)
	}
	planned := []string{"internal/draw/text", "internal/draw/png"}
	for dir := range folders {
		if !there[dir] && !slices.Contains(planned, dir) {
			t.Errorf("%s is in the fence, and does not exist", dir)
		}
	}
	for _, f := range fenced {
		for dir := range f.folders {
			if _, known := folders[dir]; !known {
				t.Errorf("%s has a reason in the fence, and no line", dir)
			}
			if !slices.ContainsFunc(imported[dir], func(path string) bool { return in(path, f.imports) }) {
				t.Errorf("%s may import %s by the fence, and does not: take its reason out", dir, f.imports[0])
			}
		}
	}
}

// TestDepguardAgrees: the linter's fences are these.
func TestDepguardAgrees(t *testing.T) {
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]struct {
						Files []string
						Deny  []struct{ Pkg string }
					}
				}
			}
		}
	}
	if err := yaml.Load([]byte(read(t, ".golangci.yml")), &config); err != nil {
		t.Fatal(err)
	}
	rules := config.Linters.Settings.Depguard.Rules
	// open are the folders that a rule lets through.
	open := func(rule string) []string {
		var out []string
		for _, f := range rules[rule].Files {
			if dir, ok := strings.CutPrefix(f, "!**/"); ok {
				dir, _ = strings.CutSuffix(dir, "/**")
				out = append(out, dir+"/...", dir)
			}
		}
		return out
	}
	for rule, i := range map[string]int{"netlink": 0, "unix": 2} {
		if len(rules[rule].Files) == 0 {
			t.Errorf(".golangci.yml has no depguard rule %s", rule)
		}
		for dir := range fenced[i].folders {
			if !in(dir, open(rule)) {
				t.Errorf("depguard's rule %s does not let %s through, and the fence does", rule, dir)
			}
		}
		for _, dir := range open(rule) {
			if strings.HasSuffix(dir, "/...") {
				continue
			}
			if fenced[i].folders[dir] == "" {
				t.Errorf("depguard's rule %s lets %s through, and the fence does not", rule, dir)
			}
		}
	}
	for dir, allowed := range folders {
		uses := in("internal/kernel", allowed)
		if dir != "internal/kernel" && uses != in(dir, open("wiring")) && !in(dir, []string{"internal/kernel/..."}) && uses {
			t.Errorf("depguard's rule wiring does not let %s use internal/kernel, and the fence does", dir)
		}
	}
}
