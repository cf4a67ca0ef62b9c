package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testnet.UMLInit()
	if filepath.Base(os.Args[0]) == strangerName {
		holdForever(os.Args[1], os.Args[2])
	}
	if filepath.Base(os.Args[0]) == askerName {
		keepAsking(os.Args[1])
	}
	os.Exit(m.Run())
}

// built is where the binary is already, in a UML: there is no Go in there.
const built = "DRAWBRIDGE_TEST_BUILT"

// build makes the real, static binary: it is also what runs as /init in a UML.
func build(t *testing.T) (dir string) {
	t.Helper()
	if dir = os.Getenv(built); dir != "" {
		return dir
	}
	// The linker leaves the program out of the test's own binary, for nothing here calls it, and
	// go test would take an old result for one of what is built now. It goes by the folders
	// that a test has read.
	if err := filepath.WalkDir("../../internal", func(string, os.DirEntry, error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// Every testdata/*.txtar is an exercise with the real program on the real kernel: a host
// (namespace $HOST, 198.18.0.5/24 and 2001:db8::5/64 on eth0) and a neighbour that is also
// its gateway ($LAN, 198.18.0.1 and 2001:db8::1 on host0), in namespaces of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/*.txtar")
}

// Those of testdata/modules need links that not every kernel makes, this machine's perhaps
// not: they run in a User-Mode Linux, with the modules loaded, and on its older kernel.
func TestModuleScripts(t *testing.T) {
	const all = "testdata/modules/*.txtar"
	if testnet.InsideUML() {
		runScripts(t, all)
		return
	}
	testnet.Require(t)
	t.Parallel()
	out := testnet.InUML(t, "^TestModuleScripts$", []string{"ipv6", "tun", "veth", "bridge", "8021q", "macvlan", "macvtap", "bonding", "br_netfilter", "iptable_filter", "xt_conntrack"}, built+"="+build(t))
	scripts, err := filepath.Glob(all)
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, s := range scripts {
		if !strings.Contains(out, "--- PASS: TestModuleScripts/"+filepath.Base(s)) {
			t.Errorf("%s did not run in the UML:\n%s", s, out)
		}
	}
}

func runScripts(t *testing.T, pattern string) {
	t.Helper()
	scripts, err := filepath.Glob(pattern)
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	bin := build(t)
	for _, file := range scripts {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			host, lan := site(t)
			testscript.Run(t, testscript.Params{
				Files:               []string{file},
				RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("HOST", host.Name())
					if self, err := os.Executable(); err != nil || os.Symlink(self, filepath.Join(env.WorkDir, strangerName)) != nil {
						return fmt.Errorf("%s: %w", strangerName, err)
					}
					env.Setenv("LAN", lan.Name())
					env.Setenv("KERNEL", guestKernel())
					env.Values[memoryKey{}] = map[string]state{}
					// What a failed script leaves, a machine above all, would outlive its namespace.
					env.Defer(func() {
						_ = exec.Command(filepath.Join(bin, "drawbridge"), "down", "--netns", host.Name(), "--yes").Run()
					})
					return nil
				},
				Condition: condition,
				Cmds:      map[string]func(*testscript.TestScript, bool, []string){"holdtap": holdTap, "remember": remember, "settled": settled, "as-before": asBefore, "login": login, "ask": ask, "offloadtap": offloadTap, "holdqueue": holdQueue, "waitfor": waitFor},
			})
		})
	}
}

// condition is what a script may ask for in brackets: [xtables], this kernel still has the
// iptables that nf_tables took the place of; [nat], its nftables can translate addresses; [qemu], there is a QEMU, and a kernel for its
// guest ($KERNEL).
func condition(name string) (bool, error) {
	switch name {
	case "nat":
		k, err := kernel.Open()
		if err != nil {
			return false, err
		}
		defer k.Close()
		if err = k.CanForward(); err != nil && os.Getenv("CI") == "true" {
			return false, err
		}
		return err == nil, nil
	case "xtables":
	case "qemu":
		_, err := exec.LookPath("qemu-system-x86_64")
		there := err == nil && guestKernel() != ""
		if !there && os.Getenv("CI") == "true" {
			return false, errors.New("needs qemu-system-x86_64, and a kernel in bin/packages (scripts/need.sh test)")
		}
		return there, nil
	default:
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return exec.Command("unshare", "-n", "iptables-legacy", "-L", "-n").Run() == nil, nil
}

// settled is the script command "settled NAMESPACE": waits until all that is up has its
// carrier and, but for a bridge's and a bond's port, its link-local address for good. A bond
// has its carrier when it first looks at its members, and its address a second after that.
func settled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: settled NAMESPACE")
	}
	var unsettled string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		out, err := exec.Command("ip", "-n", args[0], "-o", "link", "show", "up").Output()
		ts.Check(err)
		unsettled = ""
		for line := range strings.Lines(string(out)) {
			name, _, _ := strings.Cut(strings.Fields(line)[1], "@")
			name = strings.TrimSuffix(name, ":")
			addresses, err := exec.Command("ip", "-n", args[0], "-6", "-o", "addr", "show", "dev", name).Output()
			ts.Check(err)
			switch {
			case strings.Contains(line, "NO-CARRIER") || strings.Contains(line, "LOWERLAYERDOWN"):
				unsettled = line
			case bytes.Contains(addresses, []byte("tentative")):
				unsettled = string(addresses)
			case name == "lo" || strings.Contains(line, " master "):
			case !bytes.Contains(addresses, []byte("scope link")):
				unsettled = name + " has no link-local address"
			}
		}
		if unsettled == "" {
			return
		}
	}
	ts.Fatalf("%s does not settle: %s", args[0], unsettled)
}

// guestKernel is the one that scripts/need.sh fetches, "" for none.
func guestKernel() string {
	files, _ := filepath.Glob("../../bin/packages/linux-image-cloud-*/boot/vmlinuz-*")
	if len(files) == 0 {
		return ""
	}
	path, err := filepath.Abs(files[0])
	if err != nil {
		return ""
	}
	return path
}

// holdTap is the script command "holdtap NAMESPACE TAP": a process has it open.
func holdTap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: holdtap NAMESPACE TAP")
	}
	release, err := testnet.HoldTap(args[0], args[1])
	ts.Check(err)
	ts.Defer(release)
}

func site(t *testing.T) (host, lan *testnet.Net) {
	t.Helper()
	testnet.RequireTap(t)
	host, lan = testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "host0")
	address := func(s string) model.Address {
		return model.Address{Prefix: netip.MustParsePrefix(s), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}
	}
	gateway := func(dst, via string) model.Route {
		r := model.Route{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix(dst), Protocol: "static", Scope: "global",
			NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr(via)}}}
		if !r.Is4() {
			r.Metric = 1024
		}
		return r
	}
	lan.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{address("198.18.0.1/24"), address("2001:db8::1/64")}})
	host.Must(
		model.AddAddresses{Link: "eth0", Addresses: []model.Address{address("198.18.0.5/24"), address("2001:db8::5/64")}},
		model.AddRoutes{Routes: []model.Route{gateway("0.0.0.0/0", "198.18.0.1"), gateway("::/0", "2001:db8::1")}},
	)
	// Duplicate address detection of the link-local addresses takes its second: a dump that
	// is compared with a later one must not show it.
	testnet.Eventually(t, func() error {
		for _, a := range append(host.Look().Addresses, lan.Look().Addresses...) {
			if a.Flags.Tentative {
				return fmt.Errorf("%s is still tentative", a.Prefix)
			}
		}
		return nil
	})
	return host, lan
}
