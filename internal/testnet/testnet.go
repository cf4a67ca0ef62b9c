// Package testnet makes network namespaces for tests, and takes them away again.
//
// A test that needs the real kernel calls [Require] or [New]; where the rights lack it
// is skipped with the reason, and fails where CI=true. Nothing here touches a link that
// the test did not make. Addresses in tests are of 198.18.0.0/15 and 2001:db8::/32.
package testnet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/lab/booted"
	"drawbridge/internal/model"
)

// Net is a network namespace of a test.
type Net struct {
	*kernel.Kernel
	t testing.TB
}

var available = sync.OnceValue(func() error {
	name := randomName("probe")
	if err := kernel.CreateNamespace(name); err != nil {
		return err
	}
	return kernel.DeleteNamespace(name)
})

var tapsAvailable = sync.OnceValue(func() error {
	name := randomName("probe")
	if err := kernel.CreateNamespace(name); err != nil {
		return err
	}
	k, err := kernel.OpenNamed(name)
	if err == nil {
		err = errors.Join(k.CanMakeTap(), k.Close())
	}
	return errors.Join(err, kernel.DeleteNamespace(name))
})

// Require skips the test, with the reason, where network namespaces cannot be made,
// or fails it where the environment says CI=true.
func Require(t testing.TB) {
	t.Helper()
	if err := available(); err != nil {
		lacking(t, fmt.Sprintf("needs the right to make network namespaces (root, or a user namespace): %v", err))
	}
	t.Attr("drawbridge", "real-kernel") // counted by internal/tools/testsummary
}

// RequireTap is [Require], for tests that make taps.
func RequireTap(t testing.TB) {
	t.Helper()
	Require(t)
	if err := tapsAvailable(); err != nil {
		lacking(t, fmt.Sprintf("needs taps: %v", err))
	}
}

// RequireBooted is [Require], for tests that boot a host with systemd in namespaces.
func RequireBooted(t testing.TB) {
	t.Helper()
	Require(t)
	if err := booted.Check(); err != nil {
		lacking(t, err.Error())
	}
}

// RequirePackage is for tests of programs that scripts/packages.sh fetches; find looks
// for one.
func RequirePackage(t testing.TB, find func() error) {
	t.Helper()
	if err := find(); err != nil {
		lacking(t, err.Error())
	}
}

// RequireCommand is for tests of programs that a package of the system brings, and
// returns the program's path.
func RequireCommand(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacking(t, fmt.Sprintf("needs %s (apt install --no-install-recommends %s)", name, pkg))
	}
	return path
}

var securityAvailable = sync.OnceValue(func() error {
	name := randomName("probe")
	if err := kernel.CreateNamespace(name); err != nil {
		return err
	}
	k, err := kernel.OpenNamed(name)
	if err == nil {
		var snoop bool
		if snoop, err = k.CanSecure(); err == nil && !snoop {
			err = errors.New("this kernel has no egress hook (CONFIG_NETFILTER_EGRESS)")
		}
		err = errors.Join(err, k.Close())
	}
	return errors.Join(err, kernel.DeleteNamespace(name))
})

// RequireSecurity is [Require], for tests that secure ports.
func RequireSecurity(t testing.TB) {
	t.Helper()
	Require(t)
	if err := securityAvailable(); err != nil {
		lacking(t, fmt.Sprintf("needs nftables in the kernel: %v", err))
	}
}

func lacking(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// randomName keeps two runs at once, and two users of one machine, apart.
func randomName(hint string) string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	hint = strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, hint)
	if len(hint) > 40 {
		hint = hint[:40]
	}
	return "dbtest-" + hint + "-" + hex.EncodeToString(b)
}

// New makes a namespace with its loopback up, which goes with the test.
func New(t testing.TB) *Net {
	t.Helper()
	Require(t)
	name := randomName(t.Name())
	if err := kernel.CreateNamespace(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kernel.DeleteNamespace(name); err != nil {
			t.Error(err)
		}
	})
	k, err := kernel.OpenNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	n := &Net{Kernel: k, t: t}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Must carries operations out, and ends the test at the first that fails.
func (n *Net) Must(ops ...model.Operation) {
	n.t.Helper()
	for _, op := range ops {
		if _, err := n.Do(context.Background(), op); err != nil {
			n.t.Fatalf("%s %s: %v", op.Op(), op.Object(), err)
		}
	}
}

// Look observes the namespace.
func (n *Net) Look() *model.Namespace {
	n.t.Helper()
	ns, err := n.Observe(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	return &ns
}

// Veth makes a pair, link here and peer there, both up, and waits until they are.
func (n *Net) Veth(link string, there *Net, peer string) {
	n.t.Helper()
	n.Must(model.CreateVeth{Name: link, Peer: model.Ref{Namespace: there.Name(), Name: peer}}, model.SetUp{Link: link, Up: true})
	there.Must(model.SetUp{Link: peer, Up: true})
	n.Must(model.WaitUp{Link: link, Timeout: 5000})
}

// Inside runs fn on a thread inside the namespace; see [kernel.Enter].
func (n *Net) Inside(fn func() error) {
	n.t.Helper()
	if err := kernel.Enter("/run/netns/"+n.Name(), fn); err != nil {
		n.t.Fatal(err)
	}
}

// Eventually waits up to 5 s for fn to be content, and ends the test with its last
// complaint otherwise.
func Eventually(t testing.TB, fn func() error) {
	t.Helper()
	Within(t, 5*time.Second, fn)
}

// Patience is the limit for what waits for other programs on a busy machine.
const Patience = 30 * time.Second

// Within is [Eventually] with another limit.
func Within(t testing.TB, limit time.Duration, fn func() error) {
	t.Helper()
	err := errors.New("never asked")
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = fn(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
