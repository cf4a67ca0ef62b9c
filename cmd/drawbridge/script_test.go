package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"

	"github.com/rogpeppe/go-internal/testscript"
)

// build makes the real, static binary: it is also what runs as /init in a UML.
func build(t *testing.T) (dir string) {
	t.Helper()
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
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	bin := build(t)
	for _, file := range scripts {
		t.Run(filepath.Base(file), func(t *testing.T) {
			host, lan := site(t)
			testscript.Run(t, testscript.Params{
				Files:               []string{file},
				RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("HOST", host.Name())
					env.Setenv("LAN", lan.Name())
					env.Values[memoryKey{}] = map[string]state{}
					return nil
				},
				Condition: condition,
				Cmds:      map[string]func(*testscript.TestScript, bool, []string){"holdtap": holdTap, "remember": remember, "as-before": asBefore, "login": login},
			})
		})
	}
}

// condition is what a script may ask for in brackets: [vlan], this kernel makes VLANs.
func condition(name string) (bool, error) {
	if name != "vlan" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return exec.Command("unshare", "-n", "sh", "-c", "ip link add a type veth peer name b && ip link add link a name a.5 type vlan id 5").Run() == nil, nil
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
